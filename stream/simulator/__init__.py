"""A simulated fleet: municipalities whose vehicles drive, and trackers that report them."""
