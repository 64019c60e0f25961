"""Tables of made-up stars: a public one and a private one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hven.model.table import Column, Table
from hven.model.types import FLOAT32, INT32, STRING

COLUMNS = (
    Column(name="id", type=STRING, ucd="meta.id;meta.main", description="identifier", rank=1),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main", description="right ascension", rank=1),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main", description="declination", rank=1),
    Column(name="number", type=INT32, description="a number", rank=5),
    Column(name="mag", type=FLOAT32, unit="mag", ucd="phot.mag", description="brightness", rank=15),
    Column(name="note", type=STRING, description="remarks & <more>", rank=25),
)
STARS = Table(
    schema="stars", name="main", columns=COLUMNS, position=("ra", "dec"), primary=("id",), description="Made-up stars"
)
PRIVATE_STARS = Table(
    schema="secret", name="main", columns=COLUMNS, position=("ra", "dec"), primary=("id",), access="private"
)


def build_rows(number: int = 2_000) -> pa.Table:
    made = np.random.default_rng(7)
    return pa.table(
        {
            "id": [f"s{n}" for n in range(number)],
            "ra": made.uniform(0, 360, number),
            "dec": np.degrees(np.arcsin(made.uniform(-1, 1, number))),
            "number": np.arange(number, dtype=np.int32),
            "mag": made.uniform(5, 15, number).astype(np.float32),
            "note": [None if n % 3 else f"note {n} é" for n in range(number)],
        }
    )


TABLES = {
    "stars.main": (STARS, build_rows()),
    "secret.main": (PRIVATE_STARS, build_rows()),
}  # of the site that the tests of this folder read
