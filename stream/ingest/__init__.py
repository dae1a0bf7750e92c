"""The vendors' door: HTTP in, Kafka out, an answer only when Kafka has it."""
