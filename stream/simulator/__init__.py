"""A simulated fleet: municipalities whose vehicles drive, and trackers that report them."""

from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedDay, SimulatedFleet, Simulation, simulate
from stream.simulator.towns import AREAS
from stream.simulator.truth import DayTruth, TrueIdle, TrueTrip

__all__ = [
    "AREAS",
    "DayTruth",
    "SimulatedDay",
    "SimulatedFleet",
    "Simulation",
    "SimulationConfig",
    "TrueIdle",
    "TrueTrip",
    "simulate",
]
