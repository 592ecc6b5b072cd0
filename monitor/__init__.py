"""record -> summary -> verdict: reads the prediction log, counts, and says how each version is doing."""
