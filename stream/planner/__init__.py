"""The planner: a process of its own that plans on schedule, on drift and on demand."""
