"""The prediction log: spool format, writer, reader, and the proof that nothing is missing."""
