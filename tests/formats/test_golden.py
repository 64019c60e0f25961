"""What our documents look like, kept as whole documents: rewrite them with ``pytest --update`` and read the difference."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven import formats
from hven.formats import InfoElement, ResultStatus
from hven.model.table import Column, ColumnGroup, ReferenceFrame
from hven.model.types import parse_type
from hven.testing.format import make_all_types_batch, write_document

TEXTS = [
    ("votable-tabledata.vot", "votable", {"serialization": "TABLEDATA"}),
    ("votable-binary.vot", "votable", {"serialization": "BINARY"}),
    ("votable-binary2.vot", "votable", {"serialization": "BINARY2"}),
    ("all.csv", "csv", {}),
    ("all.tsv", "tsv", {}),
    ("all.json", "json", {}),
    ("all.txt", "text", {}),
]


@pytest.mark.parametrize(("name", "kind", "options"), TEXTS, ids=[name for name, *_ in TEXTS])
def test_every_type(golden, name, kind, options):
    columns, batch = make_all_types_batch()
    golden(f"formats/{name}", write_document(kind, columns, [batch], ResultStatus(row_count=3), options, name="sample"))


def test_a_described_table(golden):
    columns = [
        Column(
            name="ra",
            type=parse_type("float64"),
            unit="deg",
            ucd="pos.eq.ra;meta.main",
            description="Right ascension",
            frame="icrs",
            minimum=0,
            maximum=360,
        ),
        Column(
            name="dec", type=parse_type("float64"), unit="deg", ucd="pos.eq.dec;meta.main", utype="a:b.c", frame="icrs"
        ),
        Column(name="e_ra", type=parse_type("float32"), unit="mas", ucd="stat.error;pos.eq.ra"),
        Column(name="n obs", type=parse_type("int16"), null="-99", description="Number of <observations> & more"),
        Column(name="kind", type=parse_type("string[1]"), enum="kinds", link="https://x.example/{kind}?a={{b}}&c=1"),
        Column(name="at", type=parse_type("timestamp"), frame="tt"),
    ]
    arrays = [
        pa.array([1.0, None]),
        pa.array([-1.5, 2.25]),
        pa.array([0.1, None], pa.float32()),
        pa.array([None, 3], pa.int16()),
        pa.array(["s", "g"]),
        pa.array([0, None], pa.timestamp("us")),
    ]
    data = write_document(
        "votable",
        columns,
        [pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])],
        ResultStatus(overflow=True, row_count=2),
        {"serialization": "TABLEDATA"},
        name="stars",
        id="main",
        description="Stars & more",
        infos=[
            InfoElement(name="QUERY", value="SELECT * FROM stars WHERE ra < 3"),
            InfoElement(name="citation", value="doi:1", content="A & B", ucd="meta.bib"),
        ],
        frames=[
            ReferenceFrame(id="icrs", kind="coosys", system="ICRS", epoch="J2016.0"),
            ReferenceFrame(id="tt", kind="timesys", timescale="TT", refposition="TOPOCENTER"),
        ],
        groups=[
            ColumnGroup(
                name="position",
                roles={"value": "ra", "error": "e_ra"},
                description="RA with its error",
                ucd="pos.eq.ra",
            )
        ],
        params=[(Column(name="radius", type=parse_type("float64"), unit="deg", description="Search radius"), 0.1)],
        links=["https://x.example/stars"],
        enums={"kinds": {"s": "star", "g": "galaxy"}},
        descriptors_xml=[
            '<RESOURCE type="meta" utype="adhoc:service"><PARAM name="accessURL" datatype="char" arraysize="*" value="https://x.example/dl"/></RESOURCE>\n'
        ],
    )
    golden("formats/described.vot", data)


def test_an_error_document(golden):
    write_error = formats.load_format("votable").write_error
    assert write_error is not None
    golden(
        "formats/error.vot",
        write_error('line 1, column 8: no column "größe" in <stars> & co; did you mean "grosse"?\x00'),
    )
