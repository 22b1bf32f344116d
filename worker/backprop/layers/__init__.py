"""What a layer is, and one file a kind of it."""
