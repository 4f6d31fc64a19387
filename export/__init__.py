"""The export stage: checkpoint in, verified ONNX model folder out (`tfm export`)."""
