"""The seam where plans are kept: compare-and-set on the revision, and the full history."""
