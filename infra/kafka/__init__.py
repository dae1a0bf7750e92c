"""Kafka: client options, topics, and how far the stream is behind."""
