"""How fast this package is beside what one would use instead, measured on the machine at hand.

`python -m benchmarks` runs every part and writes RESULTS.md; each part also runs by itself.
"""
