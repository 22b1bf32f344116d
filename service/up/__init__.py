"""One command, everything: the broker, the API and the workers of one machine, started and stopped in order."""
