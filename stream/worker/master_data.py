"""Master data as a batch needs it: made once from a fleet, asked for each vehicle."""

from __future__ import annotations

from infra.database.fleet.master_data import FleetSnapshot
from infra.kafka.client import Topics
from processors.depot_index import DepotIndex
from processors.trackers import Tracker
from stream.worker.fold.vehicle import VehicleFold
from stream.worker.unit_of_work import UnitOfWork


class MasterData:
    """A fleet as the fold needs it: made once from master data, asked for each vehicle."""

    def __init__(self, fleet: FleetSnapshot) -> None:
        self.fleet = fleet
        self._places = {
            municipality_id: DepotIndex(depots) for municipality_id, depots in fleet.depots.items()
        }
        self._nowhere = DepotIndex()
        self.trackers = {
            tracker_id: Tracker(tracker_id, assignments)
            for tracker_id, assignments in fleet.trackers.items()
        }
        """Those that were ever assigned, by the id that they send."""
        self.vendors = dict(fleet.vendors)
        """Who may report an id that is sent; grows as ids are seen for the first time."""

    def fold(self, vehicle_id: str, topics: Topics, work: UnitOfWork) -> VehicleFold:
        """Return the fold of a vehicle of a municipality that is entered."""
        vehicle = self.fleet.vehicle(vehicle_id)
        return VehicleFold(
            vehicle,
            self.fleet.homes.get(vehicle_id, ()),
            self._places.get(vehicle.municipality_id, self._nowhere),
            self.fleet.municipalities[vehicle.municipality_id].rules,
            topics,
            work,
            self.vendors,
        )
