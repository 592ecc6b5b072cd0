"""Records -> exact integer counts: decode, fold, join, save."""
