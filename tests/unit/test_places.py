"""Depots as circles and polygons: which one holds a point, and what is no depot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyproj import Geod

from processors.depot_index import DepotIndex, index_depots
from processors.geodesy import Point, distance_m
from schemas.fleet.master_data import Depot

_WGS84 = Geod(ellps="WGS84")


def _depot(name: str, lat: float, lon: float, **more: Any) -> Depot:
    return Depot(
        depot_id=f"odder/{name}",
        municipality_id="odder",
        name=name,
        lat=lat,
        lon=lon,
        capacity=1,
        **more,
    )


def _square(lat: float, lon: float, half: float) -> list[tuple[float, float]]:
    return [
        (lat - half, lon - half),
        (lat - half, lon + half),
        (lat + half, lon + half),
        (lat + half, lon - half),
    ]


@given(
    lat=st.floats(-89.9, 89.9),
    lon=st.floats(-180, 180),
    radius_m=st.sampled_from((1.0, 200.0, 3_000.0, 40_000.0, 900_000.0)),
    bearing_deg=st.floats(0, 360),
    share=st.sampled_from((0.0, 0.5, 0.69, 0.8, 0.98, 0.9999, 1.0001, 1.02, 1.5, 3.0)),
)
def test_a_circle_holds_what_is_within_its_radius_wherever_on_earth(
    lat: float, lon: float, radius_m: float, bearing_deg: float, share: float
) -> None:
    east, north, _ = _WGS84.fwd(lon, lat, bearing_deg, radius_m * share)
    point = Point(north, east)
    within = distance_m(Point(lat, lon), point) <= radius_m
    entry = DepotIndex([_depot("one", lat, lon, radius_m=radius_m)]).at(point)
    assert entry == ("odder/one" if within else None)


def test_a_polygon_holds_what_it_encloses_and_its_radius_does_not_count() -> None:
    yard = _depot("yard", 55.97, 10.15, radius_m=5_000.0, polygon=_square(55.97, 10.15, 0.001))
    places = DepotIndex([yard])
    assert places.at(Point(55.9709, 10.1509)) == "odder/yard"
    assert places.at(Point(55.971, 10.15)) == "odder/yard"  # its rim is part of it
    assert places.at(Point(55.9711, 10.15)) is None
    corner = [
        (0.0, 0.0),
        (0.0, 0.004),
        (0.001, 0.004),
        (0.001, 0.001),
        (0.004, 0.001),
        (0.004, 0.0),
    ]
    bent = _depot("bent", 55.97, 10.15, polygon=[(55.97 + n, 10.15 + e) for n, e in corner])
    assert DepotIndex([bent]).at(Point(55.9735, 10.1505)) == "odder/bent"
    assert DepotIndex([bent]).at(Point(55.9735, 10.1535)) is None


def test_of_several_depots_the_drawn_one_then_the_nearest_then_the_first_id_counts() -> None:
    here = Point(55.97, 10.15)
    far = _depot("far", 55.9705, 10.15)
    near = _depot("near", 55.9701, 10.15)
    twin = _depot("twin", 55.9701, 10.15)
    drawn = _depot("drawn", 55.972, 10.15, polygon=_square(55.97, 10.15, 0.003))
    wide = _depot("a-wide-one", 55.9704, 10.15, radius_m=60_000.0)
    for several, expected in (
        ([far, near], "odder/near"),
        ([twin, near, far], "odder/near"),
        ([wide, far, near], "odder/near"),
        ([far, near, drawn], "odder/drawn"),
    ):
        for ordered in (several, several[::-1]):
            assert index_depots(ordered).at(here) == expected


def test_depots_as_places_are_still_the_depots() -> None:
    depots = [_depot("one", 55.97, 10.15), _depot("two", 55.98, 10.15)]
    places = DepotIndex(depots)
    assert list(places) == depots
    assert (len(places), places[1], places[:1]) == (2, depots[1], (depots[0],))
    assert index_depots(places) is places
    assert DepotIndex().at(Point(0.0, 0.0)) is None


@pytest.mark.parametrize(
    ("polygon", "text"),
    [
        ([(55.97, 10.15), (55.971, 10.15), (55.97, 10.15)], "has 2 different corners; give"),
        (
            [(55.97, 10.15), (55.971, 10.151), (55.971, 10.15), (55.97, 10.151)],
            r"crosses or touches itself .*Self-intersection\[10\.1505 55\.9705\].*in the order",
        ),
        ([(55.97, 10.15), (55.971, 10.15), (55.972, 10.15)], "crosses or touches itself"),
        (
            [(10.15, 55.97), (10.15, 55.971), (10.151, 55.97)],
            r"corner \(10\.15, 55\.97\), \d+ km from .*limit is 10 km.*as \(lat, lon\)",
        ),
        ([(95.0, 10.15), (55.971, 10.15), (55.97, 10.151)], "less than or equal to 90"),
        ([(55.97, 190.0), (55.971, 10.15), (55.97, 10.151)], "less than or equal to 180"),
    ],
)
def test_what_is_no_polygon_is_refused_with_value_and_remedy(
    polygon: list[tuple[float, float]], text: str
) -> None:
    with pytest.raises(ValidationError, match=text):
        _depot("yard", 55.97, 10.15, polygon=polygon)


def test_a_ring_that_is_closed_is_a_polygon_too() -> None:
    ring = _square(55.97, 10.15, 0.001)
    closed = _depot("yard", 55.97, 10.15, polygon=[*ring, ring[0]])
    assert DepotIndex([closed]).at(Point(55.97, 10.15)) == "odder/yard"
    assert Depot.model_validate_json(closed.model_dump_json()) == closed
