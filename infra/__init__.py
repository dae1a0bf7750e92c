"""What it stands on: database, Kafka, Grafana, embedded servers and settings."""
