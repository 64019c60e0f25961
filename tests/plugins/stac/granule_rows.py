"""Rows of granules on Mars and of observations of the sky, with a fixed seed and some special cases."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hven.model.table import Column, ReferenceFrame, Table, set_column_epochs
from hven.model.types import FLOAT64, INT32, INT64, STRING, parse_type

ROWS = 200
SPECIAL = [
    {"granule_uid": "a b:c/d", "target_name": "Mars", "c1min": 350.0, "c1max": 10.0, "c2min": -5.0, "c2max": 5.0},
    {"granule_uid": "over 180", "target_name": "Mars", "c1min": 170.0, "c1max": 190.0, "c2min": 10.0, "c2max": 20.0},
    {"granule_uid": "point", "target_name": "Mars#Phobos", "c1min": 40.0, "c1max": 40.0, "c2min": 3.0, "c2max": 3.0},
    {"granule_uid": "no place", "target_name": None},
    {"granule_uid": "pole", "target_name": "Mars", "c1min": 20.0, "c1max": 40.0, "c2min": 80.0, "c2max": 90.0},
    {"granule_uid": "celestial", "target_name": "Mars", "c1min": 20.0, "c1max": 40.0, "c2min": 0.0, "c2max": 9.0, "spatial_frame_type": "celestial"},
    {"granule_uid": "quote \" '", "target_name": "Mars", "c1min": 0.0, "c1max": 360.0, "c2min": -90.0, "c2max": 90.0},
]  # fmt: skip


def build_granule_table(schema: str) -> Table:
    """Describe a table of EPN-TAP."""
    texts = ("granule_uid", "granule_gid", "obs_id", "dataproduct_type", "target_name", "target_class", "instrument_name", "instrument_host_name", "access_url", "access_format", "thumbnail_url", "spatial_frame_type")  # fmt: skip
    columns = [Column(name=name, type=STRING, required=name == "granule_uid") for name in texts]
    columns += [Column(name=name, type=FLOAT64, unit="d") for name in ("time_min", "time_max")]
    columns += [Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.bodyrc.{'lon' if name[1] == '1' else 'lat'};stat.{name[2:]}", frame="body") for name in ("c1min", "c1max", "c2min", "c2max")]  # fmt: skip
    columns += [
        Column(name="s_region", type=parse_type("region"), frame="body"),
        Column(name="processing_level", type=INT32),
        Column(name="access_estsize", type=INT64, unit="kbyte"),
        Column(name="incidence_min", type=FLOAT64, unit="deg"),
    ]
    return set_column_epochs(
        Table(
            schema=schema,
            name="epn_core",
            columns=tuple(columns),
            primary=("granule_uid",),
            frames=(ReferenceFrame(id="body", kind="coosys", system="BODY", refposition="Mars"),),
            utype="ivo://ivoa.net/std/epntap#table-2.0",
        )
    )


def build_granules(table: Table) -> pa.Table:
    """Make granules; some have a region, a time or neither."""
    random = np.random.default_rng(44)
    rows: list[dict[str, object]] = []
    for number in range(ROWS):
        west, south = float(random.integers(0, 340)), float(random.integers(-80, 70))
        begin = 2453000.5 + number
        row: dict[str, object] = {
            "granule_uid": f"g{number:04}", "granule_gid": "cal", "obs_id": f"o{number // 2}", "dataproduct_type": "im",
            "target_name": "Mars", "target_class": "planet", "instrument_name": ["OMEGA", "HRSC", "CRISM"][number % 3],
            "instrument_host_name": "Mars Express", "access_url": f"https://example.org/{number}", "access_format": "application/fits",
            "access_estsize": number, "spatial_frame_type": "body", "time_min": begin, "time_max": begin + number % 2 * 0.25,
            "c1min": west, "c1max": west + 4.0, "c2min": south, "c2max": south + 3.0, "processing_level": number % 5, "incidence_min": float(random.integers(0, 90)),
        }  # fmt: skip
        if number % 4 == 0:
            row["s_region"] = f"POLYGON {west} {south} {west + 4} {south} {west + 4} {south + 3} {west} {south + 3}"
        rows.append(row)
    rows += [{"spatial_frame_type": "body", **row} for row in SPECIAL]
    return _fill_rows(rows, table)


def build_observation_table(schema: str) -> Table:
    """Describe a table of ObsCore."""
    texts = ("obs_publisher_did", "obs_collection", "obs_id", "dataproduct_type", "target_name", "access_url", "access_format", "instrument_name")  # fmt: skip
    columns = [Column(name=name, type=STRING) for name in texts]
    columns += [Column(name=name, type=FLOAT64, unit="deg") for name in ("s_ra", "s_dec")]
    columns += [Column(name=name, type=FLOAT64, unit="d") for name in ("t_min", "t_max")]
    return set_column_epochs(
        Table(schema=schema, name="observations", columns=tuple(columns), primary=("obs_publisher_did",))
    )


def build_observations(table: Table) -> pa.Table:
    """Make observations of the sky."""
    rows: list[dict[str, object]] = [
        {
            "obs_publisher_did": f"ivo://x/y?{number}", "obs_collection": "y", "obs_id": str(number), "dataproduct_type": "image",
            "target_name": "M 31", "s_ra": 10.0 + number, "s_dec": 41.0, "t_min": 50000.0 + number, "t_max": 50000.5 + number,
        }
        for number in range(12)
    ]  # fmt: skip
    return _fill_rows(rows, table)


def _fill_rows(rows: list[dict[str, object]], table: Table) -> pa.Table:
    filled = [{column.name: row.get(column.name) for column in table.columns} for row in rows]
    return pa.Table.from_pylist(filled, pa.schema([pa.field(c.name, c.type.arrow) for c in table.columns]))
