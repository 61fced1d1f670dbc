"""Loops that train beside `foundry train`, one a file: `python -m benchmarks.contenders`.

None but `bare_step` imports this package's own code; each is what one would write instead.
"""
