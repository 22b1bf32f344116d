"""Bytes -> a typed table -> one matrix: readers, sources, profiles, roles, encoders, splits, and the store of uploads.

May import specs, settings and errors.
"""
