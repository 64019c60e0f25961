"""A table and its rows for tests of searches: names with commas and slashes, nulls, angles, times."""

from __future__ import annotations

from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT64, INT32, STRING

NAMES = ["Mars", "Venus, the planet", "Moon", "67P/C-G", "a*b", None, "MARS", "Milky Way"]
ROWS = [
    {
        "id": n,
        "target_name": NAMES[n % len(NAMES)],
        "ra": (n * 37.7) % 360,
        "dec": (n * 13.3) % 160 - 80,
        "size": None if n % 11 == 0 else n / 10,
        "solar_longitude": (n * 7.3) % 360,
        "time_min": 2453005.5 + n,
        "time_max": 2453005.5 + n + 2.5,
    }
    for n in range(300)
]
TABLE = set_column_epochs(
    Table(
        schema="stars",
        name="main",
        primary=("id",),
        position=("ra", "dec"),
        columns=(
            Column(name="id", type=INT32, rank=1),
            Column(name="target_name", type=STRING, rank=1),
            Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main"),
            Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
            Column(name="size", type=FLOAT64, unit="km", ucd="phys.size"),
            Column(name="solar_longitude", type=FLOAT64, unit="deg"),
            Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"),
            Column(name="time_max", type=FLOAT64, unit="d", ucd="time.end"),
        ),
    )
)
