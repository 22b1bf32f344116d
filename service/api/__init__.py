"""The HTTP routes of our own API, one file for each resource: each parses, calls, answers."""
