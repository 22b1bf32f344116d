"""One trained network: built from a specification, read from the record, predicting, and as a file of each format.

May import data, records, backprop, specs, settings and errors.
"""
