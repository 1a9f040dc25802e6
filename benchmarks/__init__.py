"""Measurements: each module runs the alternatives side by side and prints a table; `python -m benchmarks` runs them all."""
