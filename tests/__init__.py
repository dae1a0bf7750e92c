"""What the product promises, run."""
