"""Benchmarks print ratios from one run; they never assert wall time. ``make bench``."""
