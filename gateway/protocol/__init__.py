"""The wire protocols: bytes <-> named tensors; every rejection names field and reason."""
