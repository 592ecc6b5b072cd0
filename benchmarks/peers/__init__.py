"""Other servers for ONNX models, measured beside Pointsman with the same files."""
