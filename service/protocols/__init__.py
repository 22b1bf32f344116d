"""What clients of other servers speak: tensors, bodies and errors as they send and expect them. Routes are in api/."""
