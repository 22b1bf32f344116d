"""Losses, each joined with the activation before it: from the last z to the loss of each row and dL/dz."""
