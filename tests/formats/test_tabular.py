"""CSV, TSV, JSON, text, Parquet, Arrow and FITS: values as other people's readers see them."""

from __future__ import annotations

import csv
import io
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FLOAT64, tables

from hven.formats import ResultStatus, parquet
from hven.formats.votable import read_votable
from hven.model.errors import TooLargeError
from hven.model.table import Column
from hven.model.types import parse_type
from hven.testing.format import make_all_types_batch, write_document
from shared import EXAMPLES_FACTOR

ANY = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)


def strings(*columns):
    names = [f"c{number}" for number in range(len(columns))]
    made = [Column(name=name, type=parse_type("string")) for name in names]
    return made, pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)


@given(texts=st.lists(st.tuples(ANY, ANY), min_size=1, max_size=5))
def test_csv_keeps_every_character(texts):
    columns, batch = strings(*zip(*texts, strict=True))
    rows = list(csv.reader(io.StringIO(write_document("csv", columns, [batch]).decode(), newline=""), strict=True))
    assert rows[0] == ["c0", "c1"]
    assert [tuple(row) for row in rows[1:]] == texts


def test_csv_tells_null_from_empty():
    columns, batch = strings(["", None, "a"], [None, "", 'say "x", y'])
    assert write_document("csv", columns, [batch]) == b'c0,c1\r\n"",\r\n,""\r\na,"say ""x"", y"\r\n'


@given(numbers=st.lists(FLOAT64, min_size=1, max_size=5))
def test_numbers_come_back_bit_by_bit(numbers):
    columns = [Column(name="x", type=parse_type("float64"))]
    batch = pa.RecordBatch.from_arrays([pa.array(numbers)], names=["x"])
    for kind in ("csv", "tsv"):
        lines = write_document(kind, columns, [batch]).decode().split()[1:]
        assert np.array(lines, float).tobytes() == np.array(numbers).tobytes()
    found = json.loads(write_document("json", columns, [batch]))["data"]
    assert [row[0] for row in found] == [number if np.isfinite(number) else None for number in numbers]


def test_singles_are_written_at_their_own_precision():
    columns = [Column(name="x", type=parse_type("float32"))]
    batch = pa.RecordBatch.from_arrays([pa.array([0.1, 16777216, 3.4e38], pa.float32())], names=["x"])
    assert write_document("csv", columns, [batch]) == b"x\r\n0.1\r\n16777216\r\n3.4e+38\r\n"


@given(texts=st.lists(st.none() | ANY, min_size=1, max_size=5))
def test_json_keeps_every_character(texts):
    columns, batch = strings(texts)
    assert [row[0] for row in json.loads(write_document("json", columns, [batch]))["data"]] == texts


def test_json_says_what_and_how_it_ended():
    columns, batch = make_all_types_batch()
    told = json.loads(write_document("json", columns, [batch], ResultStatus(overflow=True), name="t", description="d"))
    assert told["name"] == "t"
    assert told["status"] == "OVERFLOW"
    assert told["metadata"][-1] == {"name": "outline", "datatype": "double", "arraysize": "*", "xtype": "polygon"}
    first = dict(zip([column["name"] for column in told["metadata"]], told["data"][0], strict=True))
    assert first["counts"] == [1, None, 2]
    assert first["flags"] == [True, None]
    assert first["names"] == ["ab", "cd"]
    assert first["time"] == "2020-01-01T01:02:03"
    assert first["bits"] == [1] * 11
    assert told["data"][1] == [None] * len(columns)
    assert json.loads(write_document("json", columns, [], ResultStatus()))["data"] == []


def test_text_cannot_steer_a_terminal():
    columns, batch = strings(["\x1b[31mred\x07", "a\nb", "\x9b2J"])
    data = write_document("text", columns, [batch]).decode()
    assert "\x1b" not in data
    assert "\x9b" not in data
    assert data.splitlines()[2:] == [" [31mred", "a b", " 2J"]


def test_text_is_aligned():
    columns = [Column(name="name", type=parse_type("string")), Column(name="n", type=parse_type("int32"))]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["Größe", None]), pa.array([1, -200], pa.int32())], names=["name", "n"]
    )
    assert write_document("text", columns, [batch], ResultStatus(overflow=True)).decode() == (
        "name      n\n-----  ----\nGröße     1\n       -200\n(there are more rows)\n"
    )


@settings(max_examples=40 * EXAMPLES_FACTOR)
@given(sample=tables())
def test_arrow_and_parquet_keep_every_value(sample):
    columns, batch = sample
    expected = batch.to_pylist() * 2
    assert pa.ipc.open_stream(write_document("arrow", columns, [batch, batch])).read_all().to_pylist() == expected
    assert pq.ParquetFile(io.BytesIO(write_document("parquet", columns, [batch, batch]))).read().to_pylist() == expected


def test_parquet_carries_a_votable():
    columns, batch = make_all_types_batch()
    columns[0] = columns[0].copy_with(unit="m", ucd="meta.code", description="größer & more")
    about = pq.ParquetFile(
        io.BytesIO(write_document("parquet", columns, [batch], ResultStatus(overflow=True), name="sample"))
    ).metadata.metadata
    assert about[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    found = read_votable(io.BytesIO(about[b"IVOA.VOTable-Parquet.content"]))
    assert [column.name for column in found.metadata.columns] == [column.name for column in columns]
    assert (found.metadata.columns[0].unit, found.metadata.columns[0].ucd, found.metadata.columns[0].description) == (
        "m",
        "meta.code",
        "größer & more",
    )
    assert [info.value for info in found.metadata.infos] == ["OK", "OVERFLOW"]
    assert list(found.batches) == []


def test_parquet_streams_row_groups(monkeypatch):
    columns = [Column(name="x", type=parse_type("int64"))]
    batch = pa.RecordBatch.from_arrays([pa.array(np.arange(65_536))], names=["x"])
    data = write_document("parquet", columns, [batch] * 5)
    assert pq.ParquetFile(io.BytesIO(data)).metadata.num_row_groups == 3
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 500_000)  # bytes, of rows that are wide
    assert pq.ParquetFile(io.BytesIO(write_document("parquet", columns, [batch] * 5))).metadata.num_row_groups == 5


def test_arrow_fields_carry_metadata():
    columns = [Column(name="ra", type=parse_type("point"), unit="deg", ucd="pos.eq", description="where")]
    schema = pa.ipc.open_stream(write_document("arrow", columns, [])).schema
    assert schema.field("ra").metadata == {
        b"datatype": b"double",
        b"arraysize": b"2",
        b"xtype": b"point",
        b"unit": b"deg",
        b"ucd": b"pos.eq",
        b"description": b"where",
    }


# -- FITS


def table_of(data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*NULL .undefined. values.*")
        with fits.open(io.BytesIO(data)) as units:
            units.verify("exception")
            return (
                units[1].header,
                np.array(units[1].data.view(np.recarray)),
                {name: units[1].data[name] for name in units[1].data.names},
            )


@settings(max_examples=40 * EXAMPLES_FACTOR)
@given(
    sample=tables(
        kinds=(
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "string",
            "string[6]",
            "int16[3]",
            "int32[*]",
            "bit[11]",
            "uint8",
        )
    )
)
def test_fits_keeps_every_value(sample):
    columns, batch = sample
    header, _, found = table_of(write_document("fits", columns, [batch, batch]))
    expected = batch.to_pylist() * 2
    assert header["NAXIS2"] == len(expected)
    for number, column in enumerate(columns, 1):
        null = header.get(f"TNULL{number}")
        for got, row in zip(found[column.name], expected, strict=True):
            value = row[column.name]
            if value is None:
                if column.type.is_string:
                    assert got == ""
                elif null is not None:
                    assert np.all(np.asarray(got) == null)
            elif isinstance(value, str):
                assert got == value.rstrip()
            else:
                assert np.array_equal(np.asarray(got), np.asarray(value, np.asarray(got).dtype))


def test_fits_header():
    columns = [
        Column(
            name="ra",
            type=parse_type("float64"),
            unit="deg",
            ucd="pos.eq.ra",
            utype="a:b",
            description="Right ascension, größer " + "and longer " * 10,
        ),
        Column(name="m", type=parse_type("float32[2x3]")),
        Column(name="t", type=parse_type("timestamp")),
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1.0]), pa.array([[1, 2, 3, 4, 5, 6]], pa.list_(pa.float32(), 6)), pa.array([0], pa.timestamp("us"))],
        names=["ra", "m", "t"],
    )
    header, _, found = table_of(write_document("fits", columns, [batch], ResultStatus(overflow=True), name="stars"))
    assert header["EXTNAME"] == "stars"
    assert (header["TUNIT1"], header["TUCD1"], header["TUTYP1"]) == ("deg", "pos.eq.ra", "a:b")
    assert header["TCOMM1"].startswith("Right ascension, grosser and longer") or header["TCOMM1"].startswith(
        "Right ascension, gro?er and longer"
    )
    assert (header["TDIM2"], header["TXTYP3"]) == ("(2,3)", "timestamp")
    assert found["m"].shape == (1, 3, 2)
    assert "OVERFLOW" in str(header["COMMENT"])


def test_fits_widens_where_no_value_is_left_for_null():
    columns = [Column(name="b", type=parse_type("uint8")), Column(name="k", type=parse_type("int16"), null="-99")]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([*range(256), None], pa.uint8()), pa.array([*range(256), None], pa.int16())], names=["b", "k"]
    )
    header, _, found = table_of(write_document("fits", columns, [batch]))
    assert (header["TFORM1"], header["TNULL1"], header["TNULL2"]) == ("1I", -32768, -99)
    assert found["b"][255] == 255
    columns = [Column(name="k", type=parse_type("int64"))]
    values = [2**63 - 1, -(2**63), None, -(2**63) + 1, -(2**63) + 3]
    batch = pa.RecordBatch.from_arrays([pa.array(values)], names=["k"])
    header, _, found = table_of(write_document("fits", columns, [batch, batch]))
    assert header["TNULL1"] == -(2**63) + 2
    assert [None if value == header["TNULL1"] else int(value) for value in found["k"]] == values * 2
    full = pa.RecordBatch.from_arrays([pa.array([2**63 - 1, None, *range(-(2**63), -(2**63) + 5_000)])], names=["k"])
    with pytest.raises(TooLargeError, match="was found for TNULL"):
        write_document("fits", columns, [full])


def test_fits_arrays_with_null_cells_are_read_by_astropy_table():
    """`Table.read` fails on TNULL of a column in the heap, and a null cell needs none."""
    columns = [Column(name="v", type=parse_type("int32[*]"))]
    batch = pa.RecordBatch.from_arrays([pa.array([[1, 2], None, [3]], pa.list_(pa.int32()))], names=["v"])
    data = write_document("fits", columns, [batch])
    assert "TNULL1" not in table_of(data)[0]
    assert [list(cell) for cell in Table.read(io.BytesIO(data), hdu=1)["v"]] == [[1, 2], [], [3]]


def test_fits_puts_long_strings_on_the_heap_and_says_what_it_replaced():
    columns, batch = strings(["x" * 1000, "y", None], ["größe", "日本", "Å"])
    header, _, found = table_of(write_document("fits", columns, [batch, batch]))
    assert header["TFORM1"] == "1QA"
    assert ["".join(np.ravel(text)) for text in found["c0"]] == ["x" * 1000, "y", ""] * 2
    assert list(found["c1"]) == ["gro?e", "??", "A"] * 2
    assert "c1: 10 characters" in str(header["COMMENT"])


def test_fits_spools_to_disk():
    columns = [Column(name="x", type=parse_type("int64"))]
    batch = pa.RecordBatch.from_arrays([pa.array(np.arange(1 << 20))], names=["x"])
    header, _, found = table_of(write_document("fits", columns, [batch] * 5))
    assert header["NAXIS2"] == 5 << 20
    assert found["x"][-1] == (1 << 20) - 1


def test_an_arrow_stream_ends_with_a_batch_that_says_that_rows_were_cut_off():
    columns = [Column(name="x", type=parse_type("int32"))]
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2], pa.int32())], names=["x"])
    for cut in (True, False):
        stream = pa.ipc.open_stream(write_document("arrow", columns, [batch], ResultStatus(row_count=2, overflow=cut)))
        said = [one.custom_metadata for one in stream.iter_batches_with_custom_metadata()]
        assert [None if one is None else dict(one) for one in said] == [
            None,
            *([{b"status": b"OVERFLOW"}] if cut else []),
        ]
