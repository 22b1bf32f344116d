"""Bytes -> typed table -> one matrix: readers, sources, profiles, roles, encoders, splits, and the store of uploads."""
