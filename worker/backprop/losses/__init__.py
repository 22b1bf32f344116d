"""The losses, each joined with the activation before it. May import activations, arrays and worker.errors."""
