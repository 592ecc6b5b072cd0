"""Training data -> the frozen bins that everything is counted in."""
