"""What it costs: side by side, in one run, as ratios. Nothing here is a test."""
