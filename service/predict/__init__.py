"""Predictions by any route: the request's body -> rows, the cache of predictors, the network's outputs -> an answer."""
