"""One script for each peer; each runs with the Python of its own environment and imports nothing of Pointsman."""
