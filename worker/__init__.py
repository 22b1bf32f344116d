"""What to train, how, and the record of it. Never imports `service`; knows nothing of HTTP."""
