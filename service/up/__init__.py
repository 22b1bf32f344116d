"""The one-machine mode: one command that starts and stops the broker, the API and the worker in order."""
