"""Cases that others have reported: the judge of a folder, and those that are right stay right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from bench.cases import judge, main

CASES: Final = Path(__file__).resolve().parents[2] / "../shared/cases"
_RIGHT: Final = sorted(CASES.glob("p*"))
_PARKED: Final = [
    {"vehicle_id": "car-1", "recorded_at": f"2026-06-02T04:{minute:02}:00Z", "lat": 56.3226,
     "lon": 10.4461, "speed_mps": 0.0, "ignition": False}
    for minute in (0, 10)
]  # fmt: skip


def case(folder: Path, pushed: Sequence[object], /, **expected: list[float]) -> Path:
    folder.mkdir()
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in pushed))
    (folder / "expected.json").write_text(json.dumps({"depot": True, **expected}))
    return folder


def test_a_case_is_right_within_its_bounds_and_wrong_beside_them(tmp_path: Path) -> None:
    right = case(tmp_path / "right", _PARKED, parked_s=[600, 600], trips=[0, 0])
    assert judge(right).wrong == []
    assert main([str(right)]) == 0
    wrong = case(tmp_path / "wrong", _PARKED, parked_s=[601, 700], trips=[0, 0])
    assert judge(wrong).wrong == ["parked_s 600 not within 601 and 700"]
    assert main([str(tmp_path)]) == 1


def test_an_event_is_judged_at_the_receipt_that_it_names(tmp_path: Path) -> None:
    early, late = _PARKED
    ahead = {**late, "received_at": "2026-05-01T04:10:00Z"}
    folder = case(tmp_path / "ahead", [early, ahead], events=[2, 2], parked_s=[0, 0])
    assert judge(folder).wrong == []


def test_a_figure_that_nobody_knows_makes_a_case_wrong(tmp_path: Path) -> None:
    folder = case(tmp_path / "unknown", _PARKED, no_such_figure=[0, 1])
    assert judge(folder).wrong == ["no_such_figure is missing"]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no case"):
        main([str(tmp_path)])


@pytest.mark.skipif(not _RIGHT, reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize("folder", _RIGHT, ids=lambda folder: folder.name)
def test_what_was_right_stays_right(folder: Path) -> None:
    assert judge(folder).wrong == []
