"""An example of a file of visits."""

from __future__ import annotations

from typing import Final

ROUTES: Final = """{
  "municipality_id": "odder",
  "depots": [
    {"depot_id": "odder/town-hall", "lat": 55.9731, "lon": 10.1530}
  ],
  "vehicles": [
    {"vehicle_id": "odder/car-017", "vehicle_type": "car",
     "start_depot_id": "odder/town-hall", "end_depot_id": "odder/town-hall",
     "shift_from": "2026-03-02T07:00:00+01:00", "shift_to": "2026-03-02T15:00:00+01:00",
     "max_duration_s": 25200, "competences": ["nurse"], "fixed_dkk": 100, "dkk_per_km": 0.9},
    {"vehicle_id": "odder/bike-004", "vehicle_type": "e_bike",
     "start_depot_id": "odder/town-hall", "end_depot_id": "odder/town-hall",
     "shift_from": "2026-03-02T07:00:00+01:00", "shift_to": "2026-03-02T12:00:00+01:00",
     "dkk_per_km": 0.1}
  ],
  "visits": [
    {"visit_id": "odder/visit-1", "lat": 55.9652, "lon": 10.1648,
     "earliest_at": "2026-03-02T07:30:00+01:00", "latest_at": "2026-03-02T08:30:00+01:00",
     "service_s": 1200, "competences": ["nurse"]},
    {"visit_id": "odder/visit-2", "lat": 55.9760, "lon": 10.1402,
     "earliest_at": "2026-03-02T08:00:00+01:00", "latest_at": "2026-03-02T10:00:00+01:00",
     "service_s": 1800},
    {"visit_id": "odder/visit-3", "lat": 55.9401, "lon": 10.2013,
     "earliest_at": "2026-03-02T09:00:00+01:00", "latest_at": "2026-03-02T13:00:00+01:00",
     "service_s": 2700, "unserved_dkk": 500}
  ]
}"""
