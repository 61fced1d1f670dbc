"""Loops that train beside `foundry train`, one a file: `python -m benchmarks.contenders`.

Only `bare_step` imports this package's own code; the others are its alternatives.
"""
