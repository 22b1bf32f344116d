"""The HTTP routes, one file a resource: each parses, calls, answers."""
