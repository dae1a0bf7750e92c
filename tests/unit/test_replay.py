"""Recorded files become native events as declared, or a clear error."""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

from schemas.events.fix import NativeFix
from stream.cli.edge import Edge
from stream.cli.run.replay import replay
from stream.ingest_client import VendorClient
from stream.replay.mapping import FieldMapping, MappingError, ReplayError, load_mapping
from stream.replay.push import push_files
from stream.replay.reader import NO_POSITION, EventFields, ReadCounts, read_events
from tests.unit.test_vendor import running

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
_COLUMNS = {"vehicle_id": "unit", "recorded_at": "t", "lat": "lat", "lon": "lon"}
_AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def _mapping(**values: Any) -> FieldMapping:
    columns = {**_COLUMNS, **values.pop("columns", {})}
    return FieldMapping.model_validate({"columns": columns, **values})


def _read(path: Path, mapping: FieldMapping, counts: ReadCounts | None = None) -> list[EventFields]:
    return list(read_events([path], mapping, counts))


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fixes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_values_are_taken_as_they_stand(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'unit,t,lat,lon,x\n007,2026-03-02T09:00:00+01:00,56.3,10.4,"a,b"\n')
    assert _read(path, _mapping()) == [
        {"vehicle_id": "007", "recorded_at": _AT, "lat": 56.3, "lon": 10.4}
    ]


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("2026-03-02T08:00:00Z", {}),
        ("2026-03-02T08:00:00.000+0000", {}),
        ("2026-03-02 08:00:00", {"timezone": "UTC"}),
        ("2026-03-02 09:00:00", {"timezone": "Europe/Copenhagen"}),
        (str(int(_AT.timestamp())), {"time_format": "unix_s"}),
        (str(int(_AT.timestamp() * 1000)), {"time_format": "unix_ms"}),
    ],
)
def test_times_are_read_as_declared(tmp_path: Path, written: str, declared: dict[str, str]) -> None:
    path = _csv(tmp_path, f"unit,t,lat,lon\na,{written},56.3,10.4\n")
    (fix,) = _read(path, _mapping(**declared))
    assert fix["recorded_at"] == _AT


def test_a_time_without_offset_needs_a_declared_zone(tmp_path: Path) -> None:
    path = _csv(tmp_path, "unit,t,lat,lon\na,2026-03-02 08:00:00,56.3,10.4\n")
    with pytest.raises(ReplayError, match=r"row 1.*--timezone"):
        _read(path, _mapping())


@pytest.mark.parametrize(
    ("field", "unit", "expected"),
    [
        ("speed_mps", "km/h", 10.0),
        ("speed_mps", "knots", 18.52),
        ("odometer_m", "km", 36_000.0),
        ("soc_fraction", "percent", 0.36),
        ("speed_mps", "m/s", 36.0),
    ],
)
def test_units_become_ours(tmp_path: Path, field: str, unit: str, expected: float) -> None:
    path = _csv(tmp_path, "unit,t,lat,lon,v\na,2026-03-02T08:00:00Z,56.3,10.4,36\n")
    (fix,) = _read(path, _mapping(columns={field: "v"}, units={field: unit}))
    assert fix[field] == pytest.approx(expected)


def test_rows_without_a_position_are_left_out_and_counted(tmp_path: Path) -> None:
    path = _csv(
        tmp_path,
        "unit,t,lat,lon\na,2026-03-02T08:00:00Z,,\nb,2026-03-02T08:00:00Z,56.3,10.4\n",
    )
    reading = ReadCounts()
    fixes = _read(path, _mapping(), reading)
    assert [fix["vehicle_id"] for fix in fixes] == ["b"]
    assert (reading.rows, reading.skipped[NO_POSITION], reading.events) == (2, 1, 1)


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = _csv(tmp_path, "vehicle,t,lat,lon\na,2026-03-02T08:00:00Z,56.3,10.4\n")
    with pytest.raises(ReplayError, match=r"no column unit; it has vehicle, t, lat, lon.*--map"):
        _read(path, _mapping())


def test_a_value_that_is_none_is_named_with_its_row(tmp_path: Path) -> None:
    path = _csv(
        tmp_path,
        "unit,t,lat,lon\na,2026-03-02T08:00:00Z,1,2\na,2026-03-02T08:00:00Z,north,10.4\n",
    )
    with pytest.raises(ReplayError, match="row 2: lat is 'north'"):
        _read(path, _mapping())


def test_an_ignition_column_knows_the_usual_words(tmp_path: Path) -> None:
    rows = "".join(
        f"a,2026-03-02T08:00:0{index}Z,56.3,10.4,{word}\n"
        for index, word in enumerate(("on", "False", "1", ""))
    )
    path = _csv(tmp_path, "unit,t,lat,lon,ign\n" + rows)
    fixes = _read(path, _mapping(columns={"ignition": "ign"}))
    assert [fix.get("ignition") for fix in fixes] == [True, False, True, None]


def test_gzipped_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    text = "unit,t,lat,lon\n" + "".join(
        f"a,2026-03-02T08:{minute:02}:00Z,56.3,{10 + minute / 100}\n" for minute in range(60)
    )
    plain = _csv(tmp_path, text)
    zipped = tmp_path / "fixes.csv.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    instants = [_AT + timedelta(minutes=minute) for minute in range(60)]
    parquet = tmp_path / "fixes.parquet"
    pq.write_table(
        pa.table(
            {
                "unit": ["a"] * 60,
                "t": pa.array(instants, pa.timestamp("us", "UTC")),
                "lat": [56.3] * 60,
                "lon": [10 + minute / 100 for minute in range(60)],
                "unused": [None] * 60,
            }
        ),
        parquet,
    )
    expected = _read(plain, _mapping())
    assert len(expected) == 60
    assert _read(zipped, _mapping()) == expected
    assert _read(parquet, _mapping()) == expected


def test_json_lines_may_be_ragged(tmp_path: Path) -> None:
    path = tmp_path / "fixes.jsonl"
    path.write_text(
        '{"unit": "a", "t": "2026-03-02T07:59:00Z"}\n\n'
        '{"unit": "a", "t": "2026-03-02T08:00:00Z", "lat": 56.3, "lon": 10.4}\n',
        encoding="utf-8",
    )
    reading = ReadCounts()
    assert len(_read(path, _mapping(), reading)) == 1
    assert reading.skipped[NO_POSITION] == 1


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fixes.jsonl"
    path.write_text('{"unit": "a"}\n{oops\n', encoding="utf-8")
    with pytest.raises(ReplayError, match="line 2 is not JSON"):
        _read(path, _mapping())


@pytest.mark.parametrize("name", ["fixes.xlsx", "fixes", "fixes.csv.gz"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not what its name says")
    with pytest.raises(ReplayError, match=name):
        _read(path, _mapping())


def test_events_of_one_instant_become_one_fix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = (
        (0, 56.3, "position"),
        (5, 56.4, "position"),
        (0, 56.3, "ign-on"),
        (9, 56.5, "ign-off"),
        (9, 56.5, "telemetry"),
    )
    path.write_text(
        "".join(
            f'{{"t": "2026-03-02T08:00:{second:02}Z", "lat": {lat}, "lon": 10.4, '
            f'"type": "{kind}"}}\n'
            for second, lat, kind in rows
        ),
        encoding="utf-8",
    )
    mapping = FieldMapping.model_validate(
        {
            "columns": {name: column for name, column in _COLUMNS.items() if name != "vehicle_id"},
            "constants": {"vehicle_id": "van-1"},
            "events": {"column": "type", "ignition_on": ["ign-on"], "ignition_off": ["ign-off"]},
        }
    )
    counts = ReadCounts()
    fixes = _read(path, mapping, counts)
    assert [(fix["lat"], fix.get("ignition")) for fix in fixes] == [
        (56.3, True),
        (56.4, None),
        (56.5, False),
    ]
    assert (counts.rows, counts.events, counts.merged) == (5, 3, 2)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"columns": {"speed": "v"}}, r"no field speed.*speed_mps"),
        ({"units": {"speed_mps": "furlongs"}}, r"furlongs.*km/h"),
        ({"columns": {"speed_mps": "v"}, "units": {"lat": "km"}}, "none"),
        ({"timezone": "Mars"}, "Mars"),
        ({"constants": {"lat": 91}}, "lat"),
        ({"constants": {"vehicle_id": "a b"}}, "does not match"),
        ({"speed": "km/h"}, "speed"),
        (
            {"events": {"column": "type", "ignition_on": ["a"], "ignition_off": ["a"]}},
            "cannot mean both",
        ),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(MappingError, match=says):
        load_mapping(None, overrides)


def test_a_mapping_must_say_what_vehicle_time_and_place_are(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[columns]\nvehicle_id = "unit"\n', encoding="utf-8")
    with pytest.raises(MappingError, match=r"recorded_at, lat, lon.*--map"):
        load_mapping(mine)
    assert load_mapping(mine, {"columns": {"recorded_at": "t", "lat": "y", "lon": "x"}}).needed == (
        "unit",
        "t",
        "y",
        "x",
    )


def test_what_is_set_on_the_command_line_replaces_what_the_mapping_says() -> None:
    van = load_mapping("tracked-van", {"columns": {"vehicle_id": "unit"}})
    assert van.columns["vehicle_id"] == "unit"
    assert "vehicle_id" not in van.constants
    still = load_mapping("tracked-van", {"constants": {"speed_mps": 0}})
    assert still.constants["speed_mps"] == 0
    assert "speed_mps" not in still.columns
    assert "speed_mps" not in still.units


def test_a_mapping_is_found_by_name_or_path(tmp_path: Path) -> None:
    assert load_mapping("cabspotting").columns["vehicle_id"] == "vehicle"
    with pytest.raises(MappingError, match="cabspotting, tracked-van"):
        load_mapping("nothing")
    mine = tmp_path / "mine.toml"
    mine.write_text("no toml", encoding="utf-8")
    with pytest.raises(MappingError, match="is not TOML"):
        load_mapping(mine)


@pytest.mark.skipif(not DATA.exists(), reason=f"recorded data are not at {DATA}")
@pytest.mark.parametrize(
    ("name", "file", "fixes", "ignitions"),
    [
        ("cabspotting", "cabs/cabs.csv.gz", 70_128, 0),
        ("tracked-van", "tracked-van/events.jsonl.gz", 1_221, 4),
    ],
)
def test_the_shipped_mappings_fit_their_files(
    name: str, file: str, fixes: int, ignitions: int
) -> None:
    events = _read(DATA / file, load_mapping(name))
    native = TypeAdapter(list[NativeFix]).validate_python(events)
    assert len(native) == fixes
    assert sum(fix.ignition is not None for fix in native) == ignitions


@pytest.mark.parametrize("speed", [0.0, 36_000.0])
def test_files_are_pushed_and_counted(tmp_path: Path, speed: float) -> None:
    path = _csv(
        tmp_path,
        "unit,t,lat,lon\n"
        + "".join(
            f"car-{number},2026-03-02T08:{minute:02}:00Z,{lat},10.4\n"
            for number, lat in ((1, 56.3), (2, 56.4), (3, 99.0))
            for minute in range(60)
        ),
    )
    entries: list[tuple[int, int]] = []
    counts = ReadCounts()

    async def main() -> list[dict[str, Any]]:
        async with running() as gateway, VendorClient(gateway.url, "fp_test") as client:
            result = await push_files(
                [path],
                _mapping(),
                client,
                speed=speed,
                counts=counts,
                progress=lambda total, read: entries.append((total.accepted, read.events)),
            )
            assert (result.accepted, result.rejected) == (120, 60)
            assert "lat" in result.reasons[0]
            return [event for body in gateway.bodies for event in body]

    taken = asyncio.run(main())
    assert (counts.rows, counts.events, counts.bytes_read) == (180, 180, path.stat().st_size)
    assert entries[-1] == (120, 180)
    if speed:
        times = [event["recorded_at"] for event in taken]
        assert len(entries) > 2, (
            "a minute of the file a tenth of a second apart is several portions"
        )
        assert times.index("2026-03-02T08:59:00+00:00") > len(times) / 2


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    app = typer.Typer(cls=Edge)
    app.command()(replay)
    app.callback()(lambda: None)
    path = _csv(tmp_path, "vehicle,t,lat,lon\n")
    run = CliRunner().invoke(app, ["replay", str(path), "--key", "fp_x", "--map", "recorded_at=t"])
    assert run.exit_code == 1
    assert "has no column vehicle_id" in " ".join(run.output.split())
    for options, says in (
        (["--map", "lat", "--key", "fp_x"], "FIELD=VALUE"),
        ([], "FLEETPULSE_VENDOR_KEY"),
    ):
        run = CliRunner().invoke(app, ["replay", str(path), *options])
        assert run.exit_code == 2
        assert says in run.output


def test_a_dry_run_reads_and_sends_nothing(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(replay)
    path = _csv(tmp_path, "unit,t,lat,lon\na,2026-03-02T08:00:00Z,56.3,10.4\na,,56.3,10.4\n")
    run = CliRunner().invoke(
        app, [str(path), "--dry-run", "--map", "vehicle_id=unit", "--map", "recorded_at=t"]
    )
    assert run.exit_code == 0
    assert "1 vehicles; 2 rows, 1 fixes" in run.output
