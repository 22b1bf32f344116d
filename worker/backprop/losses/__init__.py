"""The losses, each combined with the activation before it. May import activations, arrays and worker.errors."""
