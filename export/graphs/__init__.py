"""The ONNX graphs: PyTorch modules traced, then composed, and passes over the result."""
