"""The ONNX format: the graph of a trained network, written and read."""
