"""Predictions: from a request's body to rows, the cache of predictors, and from a network's outputs to an answer."""
