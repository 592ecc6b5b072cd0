"""Counts and statistics -> answers: summaries, reports, metrics."""
