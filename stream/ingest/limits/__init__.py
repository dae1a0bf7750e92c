"""Who may push what, and how much."""
