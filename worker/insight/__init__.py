"""Answers to questions about a trained network. May import networks, data, records, backprop and specs; no HTTP."""
