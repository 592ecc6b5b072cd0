"""The eval gate: scores of a candidate and of the champion on the same rows -> checks with their outcomes."""
