"""Counts -> statistics with intervals, and what they mean. Pure."""
