"""Connections of the data plane: bytes in and out, inside bounds."""
