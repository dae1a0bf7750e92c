"""How a file's columns become the fields of a fix: a declared mapping, ours by name or yours.

Mappings that we ship are the TOML files in `mappings/`; `--mapping` takes one by its name, or the
path of another. In TOML: the tables `columns`, `constants`, `units` and `events`, and the values
`time_format`, `timezone` and `optional`, as the fields of `FieldMapping` describe them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import UserError
from schemas.events.fix import FIX_FIELDS, NativeFix
from schemas.ids import LOCAL_PATTERN
from schemas.local_time import Timezone

FIELDS: Final = frozenset(NativeFix.model_fields) - {"type"}
SWITCHES: Final = frozenset(
    {"private_mode", *(field.name for field in FIX_FIELDS if field.kind is bool)}
)
"""Native fields that are true or false."""
_REQUIRED: Final = ("vehicle_id", "recorded_at", "lat", "lon")
_FACTORS: Final[Mapping[str | None, Mapping[str, float]]] = {
    "m/s": {"m/s": 1.0, "km/h": 1 / 3.6, "knots": 1852 / 3600, "mph": 0.44704},
    "m": {"m": 1.0, "km": 1000.0, "miles": 1609.344},
    "fraction": {"fraction": 1.0, "percent": 0.01},
}
UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    field.name: _FACTORS[field.unit] for field in FIX_FIELDS if field.unit in _FACTORS
}
"""Native field to its units, and the factor that turns each into ours."""
_SOME_FIX: Final = {"vehicle_id": "any", "recorded_at": "2026-01-01T00:00:00Z", "lat": 0, "lon": 0}
_TABLES: Final = ("columns", "constants", "units")


class ReplayError(UserError):
    """Files cannot be replayed as they are; the message names value and remedy."""

    exit_code = 1


class MappingError(ReplayError):
    """A mapping cannot be used."""


class IgnitionEvents(BaseModel):
    """Ignition as events: which values of a column switch it on and off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    ignition_on: tuple[str, ...]
    ignition_off: tuple[str, ...]

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        both = sorted({*self.ignition_on} & {*self.ignition_off})
        if both:
            raise ValueError(f"{', '.join(both)} cannot mean both ignition on and off")
        return self


class FieldMapping(BaseModel):
    """Which column is which field, and in what unit. Raises `pydantic.ValidationError`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str] = Field(default_factory=dict, description="Native field to column")
    optional: frozenset[str] = Field(
        default=frozenset(), description="Native fields whose column a file may lack"
    )
    constants: dict[str, Any] = Field(
        default_factory=dict, description="Native field to its value in every row, in our unit"
    )
    units: dict[str, str] = Field(default_factory=dict, description="Native field to its unit")
    time_format: Literal["iso", "unix_s", "unix_ms"] = "iso"
    timezone: Timezone | None = Field(
        default=None,
        description="IANA name, for times without offset; of an hour that comes twice when clocks "
        "go back, the first is meant",
    )
    events: IgnitionEvents | None = None

    @field_validator("columns", "constants", "optional")
    @classmethod
    def _fields_exist(cls, value: Any) -> Any:
        unknown = sorted(set(value) - FIELDS)
        if unknown:
            raise ValueError(
                f"no field {', '.join(unknown)} of a fix; there are {', '.join(sorted(FIELDS))}"
            )
        return value

    @field_validator("constants")
    @classmethod
    def _constants_fit(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "vehicle_id" in value:
            check_vehicle_id(str(value["vehicle_id"]))
        try:
            fix = NativeFix.model_validate({**_SOME_FIX, **value})
        except ValidationError as error:
            raise ValueError(_faults(error)) from error
        return {name: getattr(fix, name) for name in value}

    @field_validator("units")
    @classmethod
    def _units_exist(cls, value: dict[str, str]) -> dict[str, str]:
        for name, unit in value.items():
            units = UNITS.get(name, {})
            if unit not in units:
                raise ValueError(
                    f"no unit {unit!r} of {name}; there are {', '.join(units) or 'none'}"
                )
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        missing = [name for name in _REQUIRED if name not in {*self.columns, *self.constants}]
        if missing:
            raise ValueError(
                f"nothing says what {', '.join(missing)} is; map it to a column with "
                "--map field=column, or set it with --set field=value"
            )
        both = sorted(self.columns.keys() & self.constants.keys())
        if both:
            raise ValueError(f"{', '.join(both)} is both a column and a constant; keep one")
        without = sorted(self.units.keys() - self.columns.keys())
        if without:
            raise ValueError(f"{', '.join(without)} has a unit but no column")
        return self

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a file must have."""
        names = [column for name, column in self.columns.items() if name not in self.optional]
        if self.events is not None:
            names.append(self.events.column)
        return tuple(dict.fromkeys(names))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that are read where a file has them."""
        return tuple(dict.fromkeys((*self.needed, *self.columns.values())))


def check_vehicle_id(vehicle_id: str) -> None:
    """Raise `MappingError` for an id that the gateway would not take.

    It is not mended: two vehicles could become one.
    """
    if re.fullmatch(LOCAL_PATTERN, vehicle_id) is None:
        raise MappingError(
            f"vehicle id {vehicle_id!r} does not match {LOCAL_PATTERN}; rename it in the file, map "
            "another column with --map vehicle_id=column, or name a single vehicle with "
            "--set vehicle_id=value"
        )


def load_mapping(
    name_or_path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> FieldMapping:
    """Return a mapping: one that we ship, by its name, or a TOML file of yours.

    Without either, columns are named as the native fields, and only vehicle, time and position
    must be there. `overrides` has the shape of a mapping: its columns, constants and units are
    put over the mapping's one by one, all else as a whole. A field that is given a constant loses
    its column and the reverse.

    Raises `MappingError` with what is wrong and what there is instead.
    """
    values = _identity() if name_or_path is None else _load(str(name_or_path))
    for name, value in (overrides or {}).items():
        if name not in _TABLES:
            values[name] = value
            continue
        values[name] = {**values.get(name, {}), **value}
        if name == "columns":
            values["constants"] = _without(values.get("constants", {}), value)
            values["optional"] = sorted(set(values.get("optional", ())) - set(value))
        elif name == "constants":
            values["columns"] = _without(values.get("columns", {}), value)
            values["units"] = _without(values.get("units", {}), value)
    try:
        return FieldMapping.model_validate(values)
    except ValidationError as error:
        raise MappingError(f"the mapping does not work: {_faults(error)}") from error


def _identity() -> dict[str, Any]:
    return {
        "columns": {name: name for name in sorted(FIELDS)},
        "optional": sorted(FIELDS - {*_REQUIRED}),
    }


def _load(name_or_path: str) -> dict[str, Any]:
    shipped = resources.files("stream.replay") / "mappings"
    ours = sorted(mapping.name.removesuffix(".toml") for mapping in shipped.iterdir())
    if name_or_path in ours:
        text = (shipped / f"{name_or_path}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MappingError(
                f"no mapping {name_or_path!r}: neither one of ours ({', '.join(ours)}) nor a TOML "
                f"file that can be read ({error})"
            ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{name_or_path} is not TOML: {error}") from error


def _without(values: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'mapping'}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_url=False)
    )
