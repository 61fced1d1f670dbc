"""Speed of this package and of its alternatives, measured on one machine.

`python -m benchmarks` runs every part and writes RESULTS.md; each part also runs by itself.
"""
