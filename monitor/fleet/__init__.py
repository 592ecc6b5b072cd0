"""Monitor workers on Kafka: partitions shared, counts published, restored and added up."""
