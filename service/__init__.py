"""The HTTP face of the worker: parse, call, answer."""
