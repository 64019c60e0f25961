"""A small catalogue for tests of the binder and the SQL writer."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa

from hven.adql.scope import StaticTableCatalogue
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT32, FLOAT64, INT32, INT64, REGION, STRING, TIMESTAMP, ColumnType

STARS = Table(
    schema="sky", name="stars",
    columns=(
        Column(name="id", type=INT64, ucd="meta.id;meta.main", required=True, description="Number"),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", description="Right ascension", display="%.6f"),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
        Column(name="rmag", type=FLOAT32, unit="mag", ucd="phot.mag;em.opt.R"),
        Column(name="name", type=STRING, ucd="meta.id"),
        Column(name="flag", type=ColumnType("unsignedByte"), ucd="meta.code"),
        Column(name="seen", type=TIMESTAMP, ucd="time.epoch"),
        Column(name="variable", type=BOOLEAN),
        Column(name="footprint", type=REGION),
        Column(name="secret", type=INT32, hidden=True),
    ),
)  # fmt: skip
PHOTOMETRY = Table(
    schema="sky", name="photometry",
    columns=(Column(name="id", type=INT64, ucd="meta.ref", required=True), Column(name="flux", type=FLOAT64, unit="Jy", ucd="phot.flux"), Column(name="name", type=INT32)),
)  # fmt: skip
LABELS = Table(
    schema="sky",
    name="labels",
    columns=(Column(name="id", type=INT64), Column(name="Name", type=STRING), Column(name='odd "one"', type=STRING)),
)
BRIGHT = Table(
    schema="sky", name="bright", view="SELECT id, rmag, name || ' (bright)' AS label FROM sky.stars WHERE rmag < 3",
    columns=(Column(name="id", type=INT64), Column(name="rmag", type=FLOAT32, unit="mag", description="Of the bright ones"), Column(name="label", type=STRING)),
)  # fmt: skip
BROKEN = Table(schema="sky", name="broken", view="SELECT idd FROM sky.stars", columns=(Column(name="idd", type=INT64),))
OUROBOROS = Table(schema="sky", name="ouroboros", view="SELECT * FROM sky.ouroboros", columns=())
TWINS = (
    Table(schema="sky", name="twin", columns=(Column(name="x"),)),
    Table(schema="lab", name="twin", columns=(Column(name="x"),)),
)
CATALOGUE = StaticTableCatalogue([STARS, PHOTOMETRY, LABELS, BRIGHT, BROKEN, OUROBOROS, *TWINS])
SQL_NAMES = {table.qualified_name: f'"{table.qualified_name}"' for table in (STARS, PHOTOMETRY, LABELS, *TWINS)}


def _make_datetime(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)


ROWS = [
    (STARS, pa.table({
        "id": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
        "ra": [10.0, 10.2, 200.0, 359.9, None, 10.0],
        "dec": [20.0, 20.1, -45.0, 0.0, None, 89.9],
        "rmag": pa.array([1.5, 2.5, 3.5, 4.5, None, 2.0], pa.float32()),
        "name": ["Sirius", "Vega", "Deneb's", 'A"b', None, "Vega"],
        "flag": pa.array([200, 100, 1, 0, None, 255], pa.uint8()),
        "seen": pa.array([_make_datetime(2020, 5, 1), _make_datetime(2021, 5, 1), _make_datetime(2020, 12, 31, 23, 59, 59), None, _make_datetime(1999, 1, 1), _make_datetime(2020, 1, 1)], pa.timestamp("us")),
        "variable": [True, False, None, True, False, True],
        "footprint": ["CIRCLE 10 20 1", "POLYGON 9.9 19 11 19 11 21 9.9 21", None, "CIRCLE ICRS 0 0 1", "junk", "CIRCLE 200 -45 1"],
        "secret": pa.array([0, 0, 0, 0, 0, 0], pa.int32()),
    })),
    (PHOTOMETRY, pa.table({"id": pa.array([1, 1, 2, 7], pa.int64()), "flux": [1.0, 5.0, 2.0, 9.0], "name": pa.array([1, 2, 3, 4], pa.int32())})),
    (LABELS, pa.table({"id": pa.array([1, 3], pa.int64()), "Name": ["alf CMa", "alf Cyg"], 'odd "one"': ["x", "y"]})),
]  # fmt: skip
