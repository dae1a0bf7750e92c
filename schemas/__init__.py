"""What is said on the wire and in plans: pydantic models with units in names, nothing else."""
