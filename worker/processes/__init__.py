"""Training processes: their life, and how a worker watches over them."""
