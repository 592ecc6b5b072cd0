"""The proof that nothing is missing: over the spool, and over Kafka."""
