"""The six municipalities' towns: where simulated depots stand and visits take place.

Coordinates are those of the towns' centres, WGS 84 degrees, good to some hundred metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Town(NamedTuple):
    """A town and its centre in degrees."""

    name: str
    lat: float
    lon: float


class Area(NamedTuple):
    """A municipality: the towns with a depot, and others that are visited."""

    name: str
    depot_towns: tuple[Town, ...]
    other_towns: tuple[Town, ...]

    @property
    def towns(self) -> tuple[Town, ...]:
        """All towns, those with a depot first."""
        return self.depot_towns + self.other_towns


AREAS: Final[Mapping[str, Area]] = MappingProxyType(
    {
        "syddjurs": Area(
            "Syddjurs",
            (
                Town("Hornslet", 56.3155, 10.3203),
                Town("Rønde", 56.3020, 10.4750),
                Town("Ebeltoft", 56.1944, 10.6821),
                Town("Ryomgård", 56.3837, 10.5020),
                Town("Kolind", 56.3633, 10.5926),
            ),
            (
                Town("Mørke", 56.3353, 10.3763),
                Town("Tirstrup", 56.2983, 10.6989),
                Town("Nimtofte", 56.4272, 10.5690),
                Town("Balle", 56.2886, 10.7877),
            ),
        ),
        "favrskov": Area(
            "Favrskov",
            (
                Town("Hadsten", 56.3283, 10.0493),
                Town("Hinnerup", 56.2661, 10.0633),
                Town("Hammel", 56.2575, 9.8631),
                Town("Ulstrup", 56.3890, 9.7942),
            ),
            (
                Town("Søften", 56.2390, 10.0840),
                Town("Thorsø", 56.2962, 9.7939),
                Town("Hadbjerg", 56.3340, 10.0990),
            ),
        ),
        "aarhus": Area(
            "Aarhus",
            (
                Town("Rådhuset", 56.1526, 10.2031),
                Town("Tilst", 56.1886, 10.1163),
                Town("Viby", 56.1304, 10.1610),
                Town("Lystrup", 56.2375, 10.2378),
                Town("Beder", 56.0611, 10.2122),
            ),
            (
                Town("Brabrand", 56.1546, 10.1097),
                Town("Risskov", 56.1850, 10.2280),
                Town("Hasselager", 56.1047, 10.0966),
                Town("Skødstrup", 56.2660, 10.3090),
            ),
        ),
        "roskilde": Area(
            "Roskilde",
            (
                Town("Roskilde", 55.6415, 12.0803),
                Town("Viby Sjælland", 55.5492, 12.0228),
                Town("Jyllinge", 55.7531, 12.1063),
                Town("Himmelev", 55.6590, 12.1050),
            ),
            (
                Town("Gadstrup", 55.5735, 12.0960),
                Town("Svogerslev", 55.6360, 12.0180),
            ),
        ),
        "slagelse": Area(
            "Slagelse",
            (
                Town("Slagelse", 55.4028, 11.3546),
                Town("Korsør", 55.3299, 11.1387),
                Town("Skælskør", 55.2506, 11.2935),
                Town("Dalmose", 55.2950, 11.4265),
            ),
            (
                Town("Havrebjerg", 55.4508, 11.3170),
                Town("Boeslunde", 55.3010, 11.2820),
            ),
        ),
        "soenderborg": Area(
            "Sønderborg",
            (
                Town("Sønderborg", 54.9138, 9.7922),
                Town("Nordborg", 55.0573, 9.7408),
                Town("Gråsten", 54.9192, 9.5952),
                Town("Augustenborg", 54.9466, 9.8670),
            ),
            (
                Town("Broager", 54.8893, 9.6733),
                Town("Guderup", 54.9870, 9.8710),
                Town("Dybbøl", 54.9080, 9.7430),
            ),
        ),
    }
)
