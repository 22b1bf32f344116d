"""A trained network as a file that others can run: safetensors, ONNX, and a PyTorch program. Nothing here predicts."""
