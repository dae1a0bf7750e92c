"""The real Apache Kafka, for the tests that a substitute would not settle."""
