"""The worker: from Kafka to committed rows."""
