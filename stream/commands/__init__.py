"""The commands of `fleetpulse`, a module for each kind."""
