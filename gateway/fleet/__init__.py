"""Who lives and follows which revision, on one host or many."""
