"""Valhalla and OSRM: asked as they are documented, read as they answer, refused with a remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from infra.settings import TravelSettings
from infra.travel import travel_of
from optimizer.travel import Geodesic
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.travel import Place, TravelError, TravelMatrix
from tests.road_services import ISLAND, Answer, metres, osrm, serving, valhalla

PLACES = [
    Place(56.30, 10.50),
    Place(56.35, 10.55),
    Place(56.40, 10.45),
    Place(0.0, 0.0),
    Place(57, 9),
]


def service(name: str, url: str, **values: Any) -> TravelSettings:
    return TravelSettings.model_validate({"service": name, "url": url, **values})


def expected(speed_mps: int) -> TravelMatrix:
    far = math.inf
    rows = [
        [
            far if ISLAND in (place, other) and place != other else float(metres(place, other))
            for other in PLACES
        ]
        for place in PLACES
    ]
    return TravelMatrix(rows, [[value / speed_mps for value in row] for row in rows])


@pytest.mark.parametrize(("kind", "speed_mps"), [(VehicleType.VAN, 20), (VehicleType.E_BIKE, 5)])
@pytest.mark.parametrize(
    ("name", "answer", "prefix"), [("valhalla", valhalla, "/roads"), ("osrm", osrm, "")]
)
@pytest.mark.parametrize(("at_once", "requests"), [(3, 4), (2, 9)])
def test_ways_come_in_blocks_and_in_metres_and_seconds(  # noqa: PLR0913, PLR0917
    name: str, answer: Answer, prefix: str, kind: VehicleType, speed_mps: int, at_once: int,
    requests: int,
) -> None:  # fmt: skip
    with serving(answer) as (url, asked):
        settings = service(name, url + prefix, places_per_request=at_once)
        travel_matrix = travel_of(settings, Geodesic()).matrix(PLACES, kind)
    want = expected(speed_mps)
    for entry, other in zip(travel_matrix.distance_m, want.distance_m, strict=True):
        assert entry == pytest.approx(other)
    for entry, other in zip(travel_matrix.duration_s, want.duration_s, strict=True):
        assert entry == pytest.approx(other)
    assert len(asked) == requests


@pytest.mark.parametrize(("name", "answer"), [("valhalla", valhalla), ("osrm", osrm)])
def test_a_refusal_says_what_to_change(name: str, answer: Answer) -> None:
    def too_large(path: str, body: bytes) -> tuple[int, Any]:
        return answer(path, body) if name == "osrm" else (400, {"error": "Exceeded max locations"})

    with (
        serving(too_large) as (url, asked),
        pytest.raises(TravelError, match=r"answered 400.*FLEETPULSE_TRAVEL_PLACES_PER_REQUEST"),
    ):
        travel_of(service(name, url), Geodesic()).matrix(PLACES, VehicleType.CAR)
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["valhalla", "osrm"])
@pytest.mark.parametrize(
    "entry",
    [
        b"<html>a login page</html>",
        {"code": "Ok", "distances": [[1.0]], "durations": [[1.0]], "sources_to_targets": [[]]},
        {"code": "NoTable", "distances": [[0.0] * 5] * 5, "durations": [[0.0] * 5] * 5},
        {
            "code": "Ok",
            "distances": [[-1.0] * 5] * 5,
            "durations": [[0.0] * 5] * 5,
            "sources_to_targets": [[{"distance": -1.0, "time": 0.0}] * 5] * 5,
        },
    ],
)
def test_an_answer_that_is_none_is_refused(name: str, entry: Any) -> None:
    with (
        serving(lambda _path, _body: (200, entry)) as (url, _),
        pytest.raises(TravelError, match=r"answered|rows of"),
    ):
        travel_of(service(name, url), Geodesic()).matrix(PLACES, VehicleType.CAR)


def test_a_service_that_is_away_is_named_with_the_way_around() -> None:
    with serving(osrm) as (url, _):
        pass
    with pytest.raises(TravelError, match=r"no answer from http://127.*=geodesic"):
        travel_of(service("osrm", url, timeout_s=2), Geodesic()).matrix(PLACES, VehicleType.CAR)


def test_settings_choose_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    geodesic = Geodesic()
    assert travel_of(TravelSettings(), geodesic) is geodesic
    monkeypatch.setenv("FLEETPULSE_TRAVEL_SERVICE", "osrm")
    with pytest.raises(ValidationError, match="set FLEETPULSE_TRAVEL_URL"):
        TravelSettings()
    monkeypatch.setenv("FLEETPULSE_TRAVEL_URL", "http://127.0.0.1:5000")
    assert TravelSettings().service == "osrm"


def test_the_geodesic_is_road_metres_at_the_speed_of_the_type() -> None:
    car = Geodesic().matrix(PLACES[:2], VehicleType.CAR)
    bike = Geodesic().matrix(PLACES[:2], VehicleType.BIKE)
    # 5.566 km north and 3.088 km east: 6.365 km, of road 1.3 times as much.
    assert car.distance_m[0][1] == pytest.approx(6365 * 1.3, rel=2e-3)
    assert car.duration_s[0][1] == pytest.approx(car.distance_m[0][1] / 50 * 3.6)
    assert bike.distance_m == car.distance_m
    assert bike.duration_s[1][0] == pytest.approx(car.duration_s[1][0] * 2.5)


@pytest.mark.parametrize(
    ("rows", "text"),
    [([[0.0, 1.0]], "give 1 rows of 1"), ([[-1.0]], "from 0"), ([[math.nan]], "from 0")],
)
def test_a_matrix_that_is_none_is_refused(rows: list[list[float]], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TravelMatrix(rows, rows)
