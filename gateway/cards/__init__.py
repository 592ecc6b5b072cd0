"""The card of a version: its parts gathered, put together, and told to people."""
