"""VOTables that do not hold what they seem to: cut off by their service, several tables, an empty first one, widths that are wrong."""

from __future__ import annotations

import base64
import io

import numpy as np
import pyarrow as pa
import pytest

from hven.formats import ResultStatus, TableMetadata, parquet
from hven.formats.votable import list_votable_tables, read_votable
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import INT32, ColumnType
from hven.query._table_files import open_table_file
from hven.sources import SourceContext, votable
from hven.sources import parquet as parquet_source
from shared import shared

OVERFLOW = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'


def table(rows, *, fields=("id", "v"), name="t"):
    head = "".join(f'<FIELD name="{field}" datatype="int"/>' for field in fields)
    body = "".join("<TR>" + "".join(f"<TD>{value}</TD>" for value in row) + "</TR>" for row in rows)
    return f'<TABLE name="{name}">{head}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE>'


def document(*parts, kind="results"):
    return f'<VOTABLE version="1.4"><RESOURCE type="{kind}">{"".join(parts)}</RESOURCE></VOTABLE>'


def source_rows(tmp_path, text, **options):
    (tmp_path / "a.vot").write_text(text)
    source = votable.open(
        votable.Options.model_validate({"files": "a.vot", **options}), SourceContext(directory=tmp_path)
    )
    return pa.Table.from_batches(
        list(source.read_batches([column.name for column in source.list_columns()]))
    ).to_pylist()


@pytest.mark.parametrize("parts", [(table([(1, 2)]), OVERFLOW), (OVERFLOW, table([(1, 2)])), (OVERFLOW, table([]))])
def test_an_answer_that_was_cut_off_is_an_error(tmp_path, parts):
    with pytest.raises(SourceError, match=r"a.vot: the result was truncated \(QUERY_STATUS=OVERFLOW\)"):
        source_rows(tmp_path, document(*parts))


def test_a_status_of_ok_is_none(tmp_path):
    assert source_rows(tmp_path, document('<INFO name="QUERY_STATUS" value="OK"/>', table([(1, 2)]))) == [
        {"id": 1, "v": 2}
    ]


def test_who_asks_page_by_page_reads_what_there_is():
    found = read_votable(io.BytesIO(document(table([(1, 2)]), OVERFLOW).encode()))
    assert sum(batch.num_rows for batch in found.batches) == 1
    assert found.is_truncated


def test_rows_that_go_on_in_a_second_table_are_not_missed(tmp_path):
    second = table([(3, 4, 5)], fields=("id", "v", "w")).replace('<TABLE name="t"', '<TABLE ID="t2"')
    both = document(table([(1, 2)]).replace(' name="t"', ""), second)
    with pytest.raises(
        SourceError, match="a second TABLE with rows begins here, with mostly the same FIELDs as the first TABLE"
    ):
        source_rows(tmp_path, both)
    assert source_rows(tmp_path, both, table=0) == [{"id": 1, "v": 2}]
    assert source_rows(tmp_path, both, table="t2") == [{"id": 3, "v": 4, "w": 5}]
    named = document(table([(1, 2)]), table([(3, 4)], name="another"))
    assert source_rows(tmp_path, named) == [{"id": 1, "v": 2}]
    same = document(table([(1, 2)]), table([(3, 4, 5)], fields=("id", "v", "w")))
    with pytest.raises(SourceError, match="a second TABLE with rows begins"):
        source_rows(tmp_path, same)
    other = document(table([(1, 2)]), table([(7,)], fields=("flag",)))
    assert source_rows(tmp_path, other) == [{"id": 1, "v": 2}]
    assert source_rows(tmp_path, document(table([(1, 2)]), table([], fields=("id", "v", "w")))) == [{"id": 1, "v": 2}]


@pytest.mark.parametrize(
    "empty",
    [
        "<DATA><TABLEDATA></TABLEDATA></DATA>",
        "<DATA><TABLEDATA/></DATA>",
        "<DATA><TABLEDATA>\n \n</TABLEDATA></DATA>",
        '<DATA><BINARY2><STREAM encoding="base64"> </STREAM></BINARY2></DATA>',
        "",
    ],
)
def test_the_first_table_with_rows_is_read(tmp_path, empty):
    text = f'<VOTABLE version="1.4"><RESOURCE><TABLE name="x"><FIELD name="a" datatype="int"/>{empty}</TABLE></RESOURCE><RESOURCE>{table([(7,)], fields=("b",), name="y")}</RESOURCE></VOTABLE>'
    assert source_rows(tmp_path, text) == [{"b": 7}]
    assert [item.has_data for item in list_votable_tables(io.BytesIO(text.encode()))] == [False, True]
    assert [
        offer.is_default for offer in votable.list_source_tables({"files": "a.vot"}, SourceContext(directory=tmp_path))
    ] == [
        False,
        True,
    ]


def test_an_empty_answer_stays_empty(tmp_path):
    text = f'<VOTABLE version="1.4"><RESOURCE type="results">{table([])}</RESOURCE><RESOURCE>{table([(7,)], fields=("b",))}</RESOURCE></VOTABLE>'
    found = read_votable(io.BytesIO(text.encode()))
    assert [column.name for column in found.metadata.columns] == ["id", "v"]
    assert sum(batch.num_rows for batch in found.batches) == 0


def test_the_files_of_the_trial(tmp_path):
    text = shared("trials/cases/B023-first-table-empty.vot").read_text()
    assert source_rows(tmp_path, text) == [{"b": 7}]


# -- types and widths that are wrong ----------------------------------------------------------------


def foreign_table(datatype, packed, values, size=""):
    field = f'<FIELD name="x" datatype="{datatype}"{size}><VALUES null="{values[-1]}"/></FIELD>'
    if packed is None:
        body = "<TABLEDATA>" + "".join(f"<TR><TD>{value}</TD></TR>" for value in values) + "</TABLEDATA>"
    else:
        body = f'<BINARY><STREAM encoding="base64">{base64.b64encode(packed).decode()}</STREAM></BINARY>'
    return f'<VOTABLE version="1.4"><RESOURCE><TABLE>{field}<DATA>{body}</DATA></TABLE></RESOURCE></VOTABLE>'


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("datatype", "code", "values", "kind"),
    [
        ("unsignedShort", ">u2", [0, 32_768, 65_534, 65_535], "int32"),
        ("unsignedInt", ">u4", [7, 2**31, 2**32 - 2, 2**32 - 1], "int64"),
        ("unsignedLong", ">u8", [7, 2**53 + 1, 2**63 - 1, 5], "int64"),
        ("signedByte", ">i1", [-128, -1, 127, -2], "int16"),
    ],
)
def test_types_that_votable_does_not_have(tmp_path, datatype, code, values, kind, binary):
    packed = np.array(values, code).tobytes() if binary else None
    text = foreign_table(datatype, packed, values)
    assert source_rows(tmp_path, text) == [{"x": value} for value in values[:-1]] + [{"x": None}]
    (tmp_path / "a.vot").write_text(text)
    source = votable.open(votable.Options(files=["a.vot"]), SourceContext(directory=tmp_path))
    assert str(source.list_columns()[0].type) == kind
    if binary:
        pair = foreign_table(datatype, packed, [*values[:-1], -77 if code == ">i1" else 3], ' arraysize="2"')
        assert source_rows(tmp_path, pair) == [{"x": values[:2]}, {"x": values[2:]}]


def test_an_unsigned_number_of_64_bits_that_is_too_large_is_told(tmp_path):
    packed = np.array([2**63, 1], ">u8").tobytes()
    with pytest.raises(SourceError, match="field 'x' has a number of 2\\*\\*63 or more"):
        source_rows(tmp_path, foreign_table("unsignedLong", packed, [2**63, 1]))


@pytest.mark.parametrize("size", ["2*", "2", ""])
def test_text_that_is_longer_than_its_field_says_is_written_with_a_field_that_fits(tmp_path, size):
    said = f' arraysize="{size}"' if size else ""
    text = f'<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="s" datatype="char"{said}/><DATA><TABLEDATA><TR><TD>abc</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
    (tmp_path / "a.vot").write_text(text)
    source = votable.open(votable.Options(files=["a.vot"]), SourceContext(directory=tmp_path))
    assert source.list_columns()[0].type == ColumnType("char", "*")
    with open_table_file(tmp_path / "a.vot") as (about, batches):
        assert about.columns[0].type == ColumnType("char", "*")
        assert [row["s"] for batch in batches for row in batch.to_pylist()] == ["abc"]


@pytest.mark.parametrize("overflow", [True, False])
def test_a_parquet_file_says_in_its_footer_that_it_was_cut_off(tmp_path, overflow):
    column = Column(name="id", type=INT32)
    batch = pa.RecordBatch.from_pydict({"id": pa.array([1, 2], pa.int32())})
    written = parquet.write_parquet(
        TableMetadata(columns=[column]), iter([batch]), lambda: ResultStatus(overflow=overflow, row_count=2), {}
    )
    (tmp_path / "a.parquet").write_bytes(b"".join(written))
    options = parquet_source.Options.model_validate({"files": "a.parquet"})
    source = parquet_source.open(options, SourceContext(directory=tmp_path))
    if overflow:
        with pytest.raises(SourceError, match="the table was truncated when it was written"):
            source.list_columns()
    else:
        assert [row["id"] for batch in source.read_batches() for row in batch.to_pylist()] == [1, 2]
