"""What the stream keeps: progress, outbox, dead letters."""
