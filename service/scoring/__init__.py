"""The pure scoring core: state, signals, factors, score, bands and alerts of one customer account.

Standard library only. No clock, no logging, no I/O: time is an argument, effects are return values.
"""
