"""Published weights -> a thread-safe predictor with its encoders. Used by workers and by the service."""
