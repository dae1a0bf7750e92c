"""Which alerts are raised and resolved."""
