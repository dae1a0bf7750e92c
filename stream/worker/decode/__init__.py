"""From Kafka records to rows, grouped by vehicle."""
