"""The HTTP routes of our own API, one file for each resource. A route parses the request, calls, and answers."""
