"""A trained network: building it from a specification, reading it from the record, predicting, and its file formats.

May import data, records, backprop, specs, settings and errors.
"""
