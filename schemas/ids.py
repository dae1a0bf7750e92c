"""Identifiers: every id of a municipality's things starts with the municipality's own.

`syddjurs/car-017` is vehicle `car-017` of municipality `syddjurs`. A vendor names its vehicles
without the prefix; the gateway adds the prefix of the vendor's key, so that a vendor cannot even
express another municipality's vehicle (law 4).
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import StringConstraints

MUNICIPALITY_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"
LOCAL_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,80}$"
SCOPED_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,39}/[A-Za-z0-9._:-]{1,80}$"

MunicipalityId = Annotated[str, StringConstraints(pattern=MUNICIPALITY_PATTERN)]
"""Lower-case name of a municipality, such as `syddjurs`."""

LocalId = Annotated[str, StringConstraints(pattern=LOCAL_PATTERN)]
"""An id as a vendor or a coordinator writes it, unique within one municipality."""

ScopedId = Annotated[str, StringConstraints(pattern=SCOPED_PATTERN)]
"""`<municipality_id>/<local id>`: unique within the installation."""


def scoped(municipality_id: str, local_id: str) -> str:
    """Return the installation-wide id of a municipality's own id."""
    return f"{municipality_id}/{local_id}"


def municipality_of(scoped_id: str) -> str:
    """Return the municipality that a scoped id belongs to."""
    return scoped_id.partition("/")[0]


def local_part(scoped_id: str) -> str:
    """Return the id as the municipality itself writes it."""
    return scoped_id.partition("/")[2]
