"""The log on local disk: written, read, recovered."""
