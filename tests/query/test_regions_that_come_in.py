"""One check for regions, whichever way they come in: ingest, uploads, tables of users, literals of ADQL."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model import DeviationKind, shape_columns
from hven.model.errors import SourceError, UserError
from hven.model.types import parse_type
from hven.query import uploads
from hven.site.auth import Principal
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import load_core_fixtures, require_core_fixtures

TEXTS = {
    "CIRCLE ICRS 10 20 0.5": True,
    "Polygon ICRS 1 1 2 1 2 2": True,
    "polygon 1 1 2 1 2 2": True,
    "Union ICRS (Circle 1 2 3 Polygon 1 1 2 1 2 2)": True,
    "Polygon UNKNOWNFrame 0 0 1 0 1 1": True,
    "Position ICRS 1 2": True,
    "RANGE 359.9 20 -5 15": True,
    "CIRCLE 10 20 1": True,
    "CIRCLE NaN NaN NaN": False,
    "Circle ICRS 1 2": False,
    "Circle ICRS 1 2 -3": False,
    "Circle ICRS 1 2 181": False,
    "Circle ICRS 1 91 1": False,
    "Polygon 1 2 3 4": False,
    "Polygon ICRS 1 1 2 1 2": False,
    "Polygon ICRS 1 1 2 1 2 95": False,
    "Polygon NOFRAME 1 1 2 1 2 2": False,
    "Ellipse ICRS 1 2 3 1 0": False,
    "((((": False,
    "nonsense": False,
}
POLYGONS = [
    ([1.0, 1, 2, 1, 2, 2], True),
    ([1.0, 2, 3, 4], False),
    ([1.0, 1, 2, 1, 2, np.nan], False),
    ([1.0, 1, 2, 1, 2], False),
    ([1.0, 1, 2, 1, 2, 91], False),
]
CIRCLES = [
    ([1.0, 2, 3], True),
    ([1.0, 2, -3], False),
    ([1.0, 95, 3], False),
    ([np.nan] * 3, False),
    ([1.0, np.inf, 1], False),
]
COLLECTION = """\
collection: r
title: Regions
tables:
  t:
    max_rejects: 1.0
    primary: id
    source: {kind: parquet, files: a.parquet}
    columns: {id: {type: int32}, region: {type: "adql:REGION"}, polygon: {type: polygon}, circle: {type: circle}}
"""


def table():
    count = len(TEXTS)
    polygons = [POLYGONS[at % len(POLYGONS)] for at in range(count)]
    circles = [CIRCLES[at % len(CIRCLES)] for at in range(count)]
    good = [
        text and polygon and circle
        for text, (_, polygon), (_, circle) in zip(TEXTS.values(), polygons, circles, strict=True)
    ]
    made = pa.table(
        {
            "id": pa.array(range(count), pa.int32()),
            "region": list(TEXTS),
            "polygon": pa.array([numbers for numbers, _ in polygons], pa.list_(pa.float64())),
            "circle": pa.array([numbers for numbers, _ in circles], pa.list_(pa.float64(), 3)),
        }
    )
    return made, good


@pytest.fixture
def site(tmp_path):
    made, _ = table()
    pq.write_table(made, tmp_path / "a.parquet")
    with open_site_with_uningested_files(
        tmp_path / "site", COLLECTION, {"a.parquet": (tmp_path / "a.parquet").read_bytes()}
    ) as opened:
        yield opened


def votable(path, kind, cells):
    """Write a column of one xtype."""
    words = parse_type(kind)
    rows = "".join(f"<TR><TD>{cell}</TD></TR>" for cell in cells)
    path.write_text(
        f'<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="r" datatype="{words.datatype}" arraysize="{words.arraysize}" xtype="{kind}"/>'
        f"<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return path


def test_ingest_rejects_them(site):
    report = ingest_collection(site, "r")
    _, good = table()
    with query.run_query("SELECT id FROM r.t ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
        rows = [row["id"] for batch in result.iterate_batches() for row in batch.to_pylist()]
    assert rows == [at for at, right in enumerate(good) if right]
    assert report.tables["r.t"].rejected == len(good) - sum(good)


@pytest.mark.parametrize(
    ("kind", "cases"),
    [
        ("adql:REGION", list(TEXTS.items())),
        ("shape", [(text, right) for text, right in TEXTS.items() if "UNKNOWN" not in text]),
        ("polygon", [(" ".join(map(str, numbers)), right) for numbers, right in POLYGONS if len(numbers) % 2 == 0]),
        ("circle", [(" ".join(map(str, numbers)), right) for numbers, right in CIRCLES]),
    ],
)
def test_uploads_make_them_null_and_say_so(site, tmp_path, kind, cases):
    path = votable(tmp_path / "u.vot", kind, [cell for cell, _ in cases])
    uploaded = uploads.read_uploads([uploads.UploadReference(name="u", uri="param:f")], {"f": path}, site.settings)
    ((_, rows),) = uploaded.values()
    assert [cell is not None for cell in rows.column("r").to_pylist()] == [right for _, right in cases]
    deviations = uploaded.deviations["u"]
    assert {item.kind for item in deviations} == {DeviationKind.GEOMETRY}
    assert sum(item.count for item in deviations) == sum(not right for _, right in cases)
    assert min(item.row for item in deviations) == 1 + [right for _, right in cases].index(False)
    assert len(uploads.list_upload_warnings(uploaded)) == len(deviations)
    with query.run_query(
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.u WHERE r IS NULL", OWNER_PRINCIPAL, site=site, uploads=uploaded
    ) as result:
        assert next(iter(result.iterate_batches())).to_pylist() == [{"n": sum(not right for _, right in cases)}]


def test_tables_of_users_are_refused_with_them(site, tmp_path):
    require_core_fixtures("USER_TABLES")
    site.store.users.add_account("anna")
    path = votable(tmp_path / "u.vot", "polygon", ["1 1 2 1 2 2", "1 2 3 4"])
    with pytest.raises(
        SourceError, match=r"storing the table would change its values: r: a polygon is three corners or more.*row 2"
    ):
        load_core_fixtures("USER_TABLES")["store"](site, Principal(name="anna"), "u", path)


MOCS = {"6/23510-23520": True, "0/0-11 3/": True, "6/x": False}


@pytest.mark.parametrize(("text", "right"), [*TEXTS.items(), *MOCS.items()])
def test_literals_are_refused(site, text, right):
    ingest_collection(site, "r")
    asked = "SELECT REGION('{}') AS r FROM r.t"
    with query.run_query(asked.format("CIRCLE 1 2 3"), OWNER_PRINCIPAL, site=site) as result:  # its plan is kept
        assert list(result.iterate_batches())
    if right:
        with query.run_query(asked.format(text), OWNER_PRINCIPAL, site=site) as result:
            assert next(iter(result.iterate_batches())).to_pylist()[0]["r"] is not None
        return
    with pytest.raises(UserError, match="is not a region"):
        query.run_query(asked.format(text), OWNER_PRINCIPAL, site=site)


def test_the_check_takes_columns_of_any_kind():
    """Columns without shapes have no faults; empty ones neither."""
    for kind in ("circle", "polygon", "adql:REGION", "shape", "multishape", "string", "point", "int32"):
        words = parse_type(kind)
        assert list(shape_columns.find_invalid_shapes(pa.array([None, None], words.arrow), words)) == []
        assert list(shape_columns.find_invalid_shapes(pa.array([], words.arrow), words)) == []
