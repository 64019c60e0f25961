"""Uploads below HTTP: the parameter's forms, every type through every format and back, broken files, the corpus."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from hven import formats, query
from hven.formats import ResultStatus, TableMetadata
from hven.model import deadlines
from hven.model.errors import ParamError, SourceError, TimeLimitError, TooLargeError, UserError
from hven.model.params import UploadedFile
from hven.model.settings import QueryLimits, Settings
from hven.model.table import Column, Table
from hven.model.types import INT64
from hven.query import uploads
from hven.site import Site
from hven.testing.site import open_tiny_site
from shape_values import is_shape
from shared import shared

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))

from samples import VALUES, are_equal, tables

SETTINGS = Settings(directory=Path())


def read(content: bytes, settings_: Settings = SETTINGS) -> tuple[Table, pa.Table]:
    given_file = UploadedFile(name="x", file=io.BytesIO(content), size=len(content))
    return uploads.read_uploads(uploads.parse_upload_references(["t,param:x"]), {"x": given_file}, settings_)[
        "TAP_UPLOAD.t"
    ]


def write_upload(form: str, columns: list[Column], batches: list[pa.RecordBatch], **head: object) -> bytes:
    fmt, options = formats.select_format(form)
    rows = sum(batch.num_rows for batch in batches)
    return b"".join(
        fmt.write(TableMetadata(columns=columns, **head), iter(batches), lambda: ResultStatus(row_count=rows), options)
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("site"), {"s.t": pa.table({"n": [1, 2, 3]})}) as made:
        yield made


def run_with_uploads(
    site: Site, text: str, uploaded: Mapping[str, tuple[Table, pa.Table]]
) -> tuple[list[Column], pa.Table]:
    with query.run_query(text, site=site, uploads=uploaded) as result:
        batches = list(result.iterate_batches())
        assert result.error is None
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in result.columns])
    return list(result.columns), pa.Table.from_batches(batches, schema)


# --- the parameter


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["t,param:a"], [("t", "param:a")]),
        (["t,param:a", "u,http://h/x"], [("t", "param:a"), ("u", "http://h/x")]),
        (["t,param:a;u,param:b"], [("t", "param:a"), ("u", "param:b")]),
        (["t,param:a;", " u , PARAM:b ; v,HTTPS://h/y"], [("t", "param:a"), ("u", "PARAM:b"), ("v", "HTTPS://h/y")]),
        (["t,http://h/x?a=1,2,3&b=4"], [("t", "http://h/x?a=1,2,3&b=4")]),
        (["t,http://h/x;v=1"], [("t", "http://h/x;v=1")]),
        ([""], []),
        ([], []),
    ],
)
def test_pairs(values: list[str], expected: list[tuple[str, str]]) -> None:
    assert [(pair.name, pair.uri) for pair in uploads.parse_upload_references(values)] == expected


def test_parts_are_found_without_case_if_that_is_clear() -> None:
    def file(text: bytes) -> UploadedFile:
        return UploadedFile(name="", file=io.BytesIO(text), size=len(text))

    (pair,) = uploads.parse_upload_references(["t,param:Mine"])
    assert uploads.read_uploads([pair], {"MINE": file(b"a\n1\n")}, SETTINGS)["TAP_UPLOAD.t"][1]["a"].to_pylist() == [1]
    assert uploads.read_uploads([pair], {"MINE": file(b"a\n1\n"), "Mine": file(b"a\n2\n")}, SETTINGS)["TAP_UPLOAD.t"][
        1
    ]["a"].to_pylist() == [2]
    with pytest.raises(ParamError, match="no file 'Mine'"):
        uploads.read_uploads([pair], {"MINE": file(b"a\n1\n"), "mine": file(b"a\n2\n")}, SETTINGS)


def test_a_file_that_a_job_keeps_is_left_alone(tmp_path: Path) -> None:
    for content in (b"a\n1\n", gzip.compress(b"a\n1\n")):
        kept = tmp_path / "kept"
        kept.write_bytes(content)
        (_, rows) = uploads.read_uploads(uploads.parse_upload_references(["t,param:x"]), {"x": kept}, SETTINGS)[
            "TAP_UPLOAD.t"
        ]
        assert rows["a"].to_pylist() == [1]
        assert kept.read_bytes() == content
        assert list(tmp_path.iterdir()) == [kept]


# --- every type


@pytest.mark.parametrize("form", ["votable/td", "votable/b2", "arrow", "parquet"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(made=tables(kinds=tuple(VALUES)))
def test_every_value_comes_back_through_a_query(
    site: Site, form: str, made: tuple[list[Column], pa.RecordBatch]
) -> None:
    columns, batch = made
    uploaded = {"TAP_UPLOAD.t": read(write_upload(form, columns, [batch]))}
    found, rows = run_with_uploads(site, "SELECT * FROM TAP_UPLOAD.t", uploaded)
    for one, other in zip(found, columns, strict=True):
        same = one.type.datatype == other.type.datatype
        # as which it is written in BINARY2 and Parquet
        assert same or (one.type.datatype, other.type.datatype) == ("boolean", "bit")
        assert (one.name, one.type.xtype) == (other.name, other.type.xtype)
    for number, column in enumerate(columns):
        back, sent = rows.column(number).to_pylist(), batch.column(number).to_pylist()
        assert are_equal(back, [value if is_shape(column, value) else None for value in sent]), (column, sent, back)


def test_metadata_come_back(site: Site) -> None:
    columns = [
        Column(name="Größe", unit="m", ucd="phys.size", utype="x:y.z", description="how <big> & tall"),
        Column(name="a b", type=columns_type("int32"), ucd="meta.id"),
    ]
    batch = pa.RecordBatch.from_arrays([pa.array([1.5]), pa.array([7], pa.int32())], names=["Größe", "a b"])
    for form in ("votable", "arrow", "parquet"):
        table, rows = read(write_upload(form, columns, [batch], description="A list"))
        got = [(one.name, one.unit, one.ucd, one.utype, one.description, one.type) for one in table.columns]
        assert got == [(one.name, one.unit, one.ucd, one.utype, one.description, one.type) for one in columns]
        found, _ = run_with_uploads(
            site, 'SELECT "Größe", "a b" FROM TAP_UPLOAD.t', {table.qualified_name: (table, rows)}
        )
        assert [one.ucd for one in found] == ["phys.size", "meta.id"]


def columns_type(word: str) -> object:
    from hven.model.types import parse_type

    return parse_type(word)


# --- other people's files


def test_files_of_pyarrow_and_astropy() -> None:
    rows = pa.table(
        {
            "n": pa.array([1, None, 3], pa.uint16()),
            "word": pa.array(["a", "b", None]).dictionary_encode(),
            "long": pa.array(["x", None, "y"], pa.large_string()),
            "raw": pa.array([b"\x01\x02", None, b""]),
            "day": pa.array([0, 1, None], pa.date32()),
        }
    )
    expected = [[1, None, 3], ["a", "b", None], ["x", None, "y"], [[1, 2], None, []]]
    for write in (pq.write_table, feather.write_feather, _ipc_stream, _ipc_file):
        out = io.BytesIO()
        write(rows, out)
        table, found = read(out.getvalue())
        assert [column.to_pylist() for column in found.columns[:4]] == expected
        assert [str(value) for value in found["day"].to_pylist()] == [
            "1970-01-01 00:00:00",
            "1970-01-02 00:00:00",
            "None",
        ]
        assert table.find_column("day").type.is_timestamp
    out = io.BytesIO()
    fits.BinTableHDU.from_columns(
        [
            fits.Column("RA", "D", unit="deg", array=[1.5, 2.5]),
            fits.Column("ID", "5A", array=["one", "two"]),
            fits.Column("V", "3J", array=[[1, 2, 3], [4, 5, 6]]),
        ]
    ).writeto(out)
    table, found = read(out.getvalue())
    assert found.to_pylist() == [{"RA": 1.5, "ID": "one", "V": [1, 2, 3]}, {"RA": 2.5, "ID": "two", "V": [4, 5, 6]}]
    assert table.find_column("RA").unit == "deg"


def _ipc_stream(rows: pa.Table, out: io.BytesIO) -> None:
    with pa.ipc.new_stream(out, rows.schema) as stream:
        stream.write_table(rows)


def _ipc_file(rows: pa.Table, out: io.BytesIO) -> None:
    with pa.ipc.new_file(out, rows.schema) as file:
        file.write_table(rows)


def test_structs_are_refused() -> None:
    out = io.BytesIO()
    _ipc_stream(pa.table({"s": pa.array([{"a": 1}])}), out)
    with pytest.raises(SourceError, match="a table cannot contain"):
        read(out.getvalue())
    out = io.BytesIO()
    pq.write_table(pa.table({"n": [1], "s": pa.array([{"a": 1}])}), out)
    with pytest.raises(SourceError, match="column 's'"):
        read(out.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compressed_text(pack: object) -> None:
    text = b"a,b\n" + b"1,x\n" * 50_000
    assert read(pack(text))[1].num_rows == 50_000
    cut = pack(text)[:-8]
    with pytest.raises(SourceError, match="stream is incomplete or invalid"):
        read(cut)
    small = Settings(directory=Path(), limits=QueryLimits(upload=100_000))
    with pytest.raises(TooLargeError, match="100,000 bytes"):
        read(pack(text), small)


def test_several_gzip_members_are_one_file() -> None:
    assert read(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))[1]["a"].to_pylist() == [1, 2]


def test_text_whose_later_values_are_wider_than_its_first() -> None:
    late = b"i,f,w\n" + b"1,2,3\n" * 60_000 + b"1.5,2,x\n" + b"1,2,3\n" * 60_000
    table, rows = read(late)
    assert rows.num_rows == 120_001
    assert [column.type.arrow for column in table.columns] == [pa.float64(), rows.schema.field("f").type, pa.string()]
    assert rows["i"][60_000].as_py() == 1.5
    assert rows["w"][60_000].as_py() == "x"
    assert rows["w"][0].as_py() == "3"


def test_text_of_ever_new_surprises_is_text() -> None:
    names = [f"c{number}" for number in range(12)]
    rows_ = [["1"] * 12 for _ in range(40_000)]
    for number in range(12):
        for later in range(number, 12):  # of a row that does not fit, one column is told at a time
            rows_[30_000 + number][later] = f"word{number}"
    text = "\n".join([",".join(names), *(",".join(row) for row in rows_)]) + "\n"
    _, found = read(text.encode())
    assert [found[name][30_000 + number].as_py() for number, name in enumerate(names)] == [
        f"word{number}" for number in range(12)
    ]
    assert found["c11"][0].as_py() == "1"


@pytest.mark.parametrize(
    "first", ["PAR1,PAR2", "[Fe/H],x", "CDFS_ID,z", "BZhang,n", "ARROW1,b", "{x},y", "SIMPLE,b", "PK,b"]
)
def test_text_that_begins_like_something_else(first: str) -> None:
    table, rows = read(f"{first}\n1,2\n3,4\n".encode())
    assert [column.name for column in table.columns] == first.split(",")
    assert rows.num_rows == 2


def test_a_votable_may_speak_of_html() -> None:
    text = '<VOTABLE><DESCRIPTION><![CDATA[<html> is not meant]]></DESCRIPTION><RESOURCE><TABLE><FIELD name="a" datatype="int"/></TABLE></RESOURCE></VOTABLE>'
    assert read(text.encode())[1].num_rows == 0
    assert read(text.encode("utf-16"))[1].num_rows == 0


# --- hostile files


SEEDS = ("votable/td", "votable/b", "votable/b2", "arrow", "parquet", "fits", "csv")


@pytest.mark.parametrize("form", SEEDS)
def test_damaged_files_are_refused_or_read_and_never_break_anything(site: Site, form: str) -> None:
    columns = [Column(name="n", type=columns_type("int32")), Column(name="w", type=columns_type("unicode")), Column(name="x"),
               Column(name="v", type=columns_type("float64[*]"))]  # fmt: skip
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([1, None, 3], pa.int32()),
            pa.array(["a", "bé", None]),
            pa.array([0.5, 1.5, None]),
            pa.array([[1.0], [], [2.0, 3.0]]),
        ],
        names=["n", "w", "x", "v"],
    )
    whole = write_upload(form, columns, [batch])
    dice = random.Random(form)
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 8])):
            at = dice.randrange(max(len(broken), 1))
            how = dice.randrange(3)
            if how == 0 and broken:
                broken[at] = dice.randrange(256)
            elif how == 1:
                del broken[at : at + dice.randrange(1, 40)]
            else:
                broken[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9)))
        try:
            uploaded = read(bytes(broken))
        except UserError:  # nothing else may come
            refused += 1
            continue
        run_with_uploads(site, "SELECT * FROM TAP_UPLOAD.t", {"TAP_UPLOAD.t": uploaded})
    assert refused > 5 or form == "csv"


def test_the_corpus_of_votables(site: Site) -> None:
    """Other people's documents: every one is read and can be asked, or refused in words."""
    read_ones, refused = 0, {}
    for path in sorted(shared("corpora/votable").iterdir()):
        if path.suffix in {".md", ".jsonl"}:
            continue
        try:
            uploaded = read(path.read_bytes())
        except SourceError as error:
            refused[path.name] = str(error)
            continue
        read_ones += 1
        _, rows = run_with_uploads(site, "SELECT * FROM TAP_UPLOAD.t", {"TAP_UPLOAD.t": uploaded})
        assert rows.num_rows == uploaded[1].num_rows, path.name
    assert read_ones >= 65
    assert {"tap--EmptyTable.xml", "tap--ColumnNameEndsWithSpace.xml", "tap--ColumnNameStartsWithSpace.xml"} <= set(
        refused
    )
    assert all("the upload 't' cannot be read" in said for said in refused.values())


def test_names_that_only_quotes_can_say(site: Site) -> None:
    """Which other services refuse, and delimited identifiers are for (ADQL 2.1 section 2.1.2)."""
    for name in (
        "ContainsInvalidLetter",
        "ContainsSpace",
        "StartsWithDigit",
        "StartsWithInvalidLetter",
        "StartsWithUnderscore",
    ):
        table, rows = read((shared("corpora/votable") / f"tap--ColumnName{name}.xml").read_bytes())
        quoted = table.columns[0].name.replace('"', '""')
        found, _ = run_with_uploads(
            site, f'SELECT t."{quoted}" FROM TAP_UPLOAD.t AS t', {table.qualified_name: (table, rows)}
        )
        assert [column.name for column in found] == [table.columns[0].name]


@st.composite
def texts(draw: st.DrawFn) -> str:
    return draw(
        st.text(max_size=60)
        | st.lists(st.sampled_from(["t", ",", ";", "param:", "http://", "x", " ", ":", '"']), max_size=12).map("".join)
    )


@given(values=st.lists(texts(), max_size=4))
def test_any_text_is_pairs_or_refused(values: list[str]) -> None:
    try:
        found = uploads.parse_upload_references(values)
    except ParamError:
        found = []
    assert all(pair.name.isidentifier() and pair.uri for pair in found)


def test_the_clock_of_the_request_counts_while_uploads_are_read() -> None:
    with deadlines.Deadline(5).apply_as_current() as spent:
        spent.expiry_time -= 6
        with pytest.raises(TimeLimitError, match="5 s"):
            read(b"a,b\n1,2\n")


@pytest.mark.parametrize("form", ["votable", "votable/td"])
def test_a_truncated_answer_is_no_upload(form: str) -> None:
    columns, batch = [Column(name="n", type=INT64)], pa.record_batch({"n": pa.array([1, 2])})
    fmt, options = formats.select_format(form)
    status = ResultStatus(row_count=2, overflow=True)
    content = b"".join(fmt.write(TableMetadata(columns=columns), iter([batch]), lambda: status, options))
    assert b"OVERFLOW" in content
    with pytest.raises(UserError, match="OVERFLOW"):
        read(content)
