"""Versions in memory: loaded, tried, batched and run."""
