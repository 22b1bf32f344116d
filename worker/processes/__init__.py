"""Training processes: how they live, and how a worker watches over them."""
