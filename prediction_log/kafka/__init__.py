"""The log in Kafka: topics, messages, places, and the stream that reads them."""
