"""Specification -> network, loss, optimizer, and what they cost: the only place that knows both sides."""
