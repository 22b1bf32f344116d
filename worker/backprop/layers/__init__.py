"""What a layer is, and one file for each kind. May import activations, arrays, parameters and worker.errors."""
