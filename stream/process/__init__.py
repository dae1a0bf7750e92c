"""What every process of ours has: life cycle, logs, probes, background tasks."""
