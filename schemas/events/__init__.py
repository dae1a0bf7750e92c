"""Events: what vendors push, what leaves for Kafka, and why an event is refused."""
