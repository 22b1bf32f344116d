"""Copies of the record and the storage, made while everything runs. May import records, data and migrations."""
