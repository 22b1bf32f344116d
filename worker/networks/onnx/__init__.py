"""The ONNX format: the writer and the reader of a trained network's graph."""
