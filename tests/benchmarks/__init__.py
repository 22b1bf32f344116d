"""Measurements, printed as tables: `make bench`, or one of them by its name: `python -m tests.benchmarks service`."""
