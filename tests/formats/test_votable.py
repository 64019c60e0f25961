"""VOTable: what is written is read, by us and by astropy; what astropy writes is read by us."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import warnings

import astropy.io.votable
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from samples import ASCII, FLOAT64, VALUES, tables

from hven.formats import ResultStatus, TableMetadata
from hven.formats.votable import assign_xml_ids, read_votable, write_small_votable, write_votable
from hven.formats.votable.binary_writer import MAX_SMALL_BATCH_ROWS, VotableBinaryEncoder
from hven.model.errors import SourceError, TimeLimitError, UserError
from hven.model.table import Column
from hven.model.types import ColumnType, parse_type
from hven.testing.format import make_all_types_batch, write_document

SERIALIZATIONS = ("TABLEDATA", "BINARY", "BINARY2")
serializations = pytest.mark.parametrize("serialization", SERIALIZATIONS)


def rows(data, table=None, **knobs):
    return [
        tuple(row.values())
        for batch in read_votable(io.BytesIO(data), table, **knobs).batches
        for row in batch.to_pylist()
    ]


def plain(batch):
    return [tuple(row.values()) for row in batch.to_pylist()]


@given(sample=tables(), serialization=st.sampled_from(SERIALIZATIONS))
def test_what_we_write_we_read(sample, serialization):
    columns, batch = sample
    data = write_document("votable", columns, [batch, batch.slice(0, 1)], options={"serialization": serialization})
    assert rows(data) == plain(batch) + plain(batch.slice(0, 1))


# values that have one form in bytes, however they are written: texts with any character, nulls anywhere
SCALARS = ("uint8", "int16", "int32", "int64", "float32", "float64", "string", "unicode")


@given(sample=tables(kinds=SCALARS, most_rows=MAX_SMALL_BATCH_ROWS), repeated=st.integers(2, 4))
def test_a_few_rows_have_the_bytes_that_they_have_among_many(sample, repeated):
    columns, batch = sample
    columns = tuple(
        column.copy_with(type=parse_type("unicode")) if column.type.is_string else column for column in columns
    )
    encoder = VotableBinaryEncoder(columns, "BINARY2")
    few = b"".join(bytes(piece) for piece in encoder.encode_batch(batch))
    times = repeated * MAX_SMALL_BATCH_ROWS
    many = pa.Table.from_batches([batch] * times).combine_chunks().to_batches()
    together = b"".join(bytes(piece) for part in many for piece in encoder.encode_batch(part))
    assert together == few * times


LISTS = [["a", 'quote "', "back\\slash"], [], None, ["é", "a,b", "tab\t"]]


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_astropy_reads_arrays_of_strings_written_as_json(serialization):
    columns = (
        Column(name="names", type=ColumnType("unicodeChar", "16x*"), ucd="meta.id"),
        Column(name="n", type=parse_type("int32")),
    )
    batch = pa.record_batch({"names": pa.array(LISTS, pa.list_(pa.string())), "n": pa.array([1, 2, 3, 4], pa.int32())})
    options = {"serialization": serialization}
    with pytest.raises(astropy.io.votable.exceptions.E01):
        astropy.io.votable.parse(io.BytesIO(write_document("votable", columns, [batch], options=options)))
    data = write_document("votable", columns, [batch], options={**options, "strings": "json"})
    table = astropy.io.votable.parse(io.BytesIO(data)).get_first_table()
    assert table.get_field_by_id_or_name("names").ucd == "meta.id"
    found = [str(value) for value in table.array["names"].filled("")]
    assert [json.loads(text) if text else None for text in found] == LISTS
    assert list(table.array["n"]) == [1, 2, 3, 4]


def test_strings_as_json_changes_no_other_answer():
    columns = (Column(name="t", type=parse_type("string")), Column(name="n", type=parse_type("float64[3]")))
    batch = pa.record_batch({"t": pa.array(["a"]), "n": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float64(), 3))})
    plain_document = write_document("votable", columns, [batch])
    assert write_document("votable", columns, [batch], options={"strings": "json"}) == plain_document


def check_small_votable(columns, batch, **knobs):
    """Write rows as tuples, and as a batch: both documents must be the same; gives whether the first way was taken."""
    head = TableMetadata(columns=tuple(columns), **knobs)
    values = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    found = write_small_votable(head, values, {})
    batches = iter([batch] if batch.num_rows else [])
    assert found is None or found == b"".join(
        write_votable(head, batches, lambda: ResultStatus(row_count=batch.num_rows), {})
    )
    return found is not None


@given(sample=tables(kinds=SCALARS, most_rows=MAX_SMALL_BATCH_ROWS))
def test_plain_rows_written_at_once_are_the_same_document(sample):
    columns, batch = sample
    narrow = [
        array.to_pylist()
        for column, array in zip(columns, batch.columns, strict=True)
        if column.type.datatype == "char"
    ]
    assert check_small_votable(columns, batch) == all((text or "").isascii() for texts in narrow for text in texts)


@given(sample=tables())
def test_any_rows_written_at_once_are_the_same_document(sample):
    check_small_votable(*sample, includes_query_status=False)


def test_what_cannot_be_written_at_once_is_left_to_the_stream():
    columns = (Column(name="n", type=parse_type("int32")),)
    many = pa.record_batch({"n": pa.array(range(MAX_SMALL_BATCH_ROWS + 1), pa.int32())})
    assert not check_small_votable(columns, many)
    assert check_small_votable(columns, many.slice(1))
    assert check_small_votable(columns, many.slice(MAX_SMALL_BATCH_ROWS + 1))
    for serialization in ("TABLEDATA", "BINARY"):
        assert write_small_votable(TableMetadata(columns=columns), [(1,)], {"serialization": serialization}) is None


def test_a_nul_and_what_is_beyond_the_first_plane_are_the_same_among_few_and_many():
    for word in ("string", "unicode"):
        texts = ["a\0b", "", None, "\0"] + (["\U0001f52d\0x", "é"] if word == "unicode" else [])
        columns = (Column(name="t", type=parse_type(word)), Column(name="n", type=parse_type("float32")))
        batch = pa.record_batch(
            {
                "t": pa.array(texts),
                "n": pa.array([float("inf"), None, -0.0, 1e-45, 3.0, None][: len(texts)], pa.float32()),
            }
        )
        encoder = VotableBinaryEncoder(columns, "BINARY2")
        few = b"".join(bytes(piece) for piece in encoder.encode_batch(batch))
        many = pa.Table.from_batches([batch] * MAX_SMALL_BATCH_ROWS).combine_chunks().to_batches()[0]
        assert b"".join(bytes(piece) for piece in encoder.encode_batch(many)) == few * MAX_SMALL_BATCH_ROWS


# astropy reads no arrays of strings, takes a bit of a variable array for a byte, and counts rows of 2x* instead of items (STIL counts items)
ASTROPY = tuple(word for word in VALUES if word not in {"string[4x*]", "bit[*]", "float64[2x*]"})


def _astropy(data):
    from astropy.io.votable import parse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse(io.BytesIO(data)).get_first_table()


@given(sample=tables(kinds=ASTROPY), serialization=st.sampled_from(SERIALIZATIONS))
def test_astropy_reads_what_we_write(sample, serialization):
    columns, batch = sample
    found = _astropy(write_document("votable", columns, [batch], options={"serialization": serialization})).array
    assert len(found) == batch.num_rows
    for column in columns:
        for number, value in enumerate(batch.column(column.name).to_pylist()):
            got = found[column.name][number]
            if value is None:
                assert _is_nothing(got), (column, got)
            elif column.type.datatype in {"floatComplex", "doubleComplex"}:
                assert np.array_equal(np.asarray(got).reshape(-1), _complex(value, column.type))
            elif column.type.is_timestamp:
                assert (
                    got == value.isoformat().rstrip("0").rstrip(".") if value.microsecond else got == value.isoformat()
                )
            elif isinstance(value, str) and (serialization == "TABLEDATA" or not value.strip()):
                assert got.strip() == value.strip()  # astropy strips cells of TABLEDATA; see the next test
            elif isinstance(value, str):
                fixed = (
                    column.type.arraysize == "6"
                )  # numpy's arrays of text keep the blanks at an end, or do not; our own reader keeps them
                assert (got.rstrip() if fixed else got) == (value.rstrip() if fixed else value)
            else:
                assert np.array_equal(np.asarray(got).reshape(-1), np.asarray(value).reshape(-1)), column


def test_blanks_of_a_cell_are_kept():
    columns, batch = [Column(name="c0", type=parse_type("string"))], pa.record_batch({"c0": ["0 ", " 1", "a  b"]})
    tree = etree.fromstring(write_document("votable", columns, [batch], options={"serialization": "TABLEDATA"}))
    assert [cell.text for cell in tree.iter("{*}TD")] == ["0 ", " 1", "a  b"]


def _complex(value, kind):
    pairs = value if kind.arraysize is not None else [value]
    return np.array([complex(*pair) for pair in pairs], "c8" if kind.datatype == "floatComplex" else "c16")


def _is_nothing(got):
    if got is np.ma.masked or got is None or (isinstance(got, str) and not got):
        return True
    values = np.ma.asarray(got)
    return (
        values.size == 0
        or bool(np.ma.getmaskarray(values).all())
        or (values.dtype.kind in "fc" and bool(np.isnan(values.data).all()))
    )


@given(
    texts=st.lists(st.text(ASCII, max_size=8), min_size=3, max_size=3),
    numbers=st.lists(FLOAT64, min_size=3, max_size=3),
    whole=st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=3, max_size=3),
    form=st.sampled_from(["tabledata", "binary", "binary2"]),
)
def test_we_read_what_astropy_writes(texts, numbers, whole, form):
    from astropy.io.votable import from_table
    from astropy.table import MaskedColumn, Table

    table = Table(
        {"s": np.array(texts, dtype="U8"), "x": numbers, "v": np.array([whole] * 3, "i4"), "b": [True, False, True]}
    )
    # astropy cannot write a null into BINARY
    table["n"] = MaskedColumn(np.array(whole, "i4"), mask=[False, form != "binary", False])
    table["x"].unit = "km/s"
    table["x"].description = "speed & more"
    out = io.BytesIO()
    from_table(table).to_xml(out, tabledata_format=form)
    found = read_votable(io.BytesIO(out.getvalue()))
    assert [column.unit for column in found.metadata.columns] == [
        None,
        "km.s**-1",
        None,
        None,
        None,
    ] or found.metadata.columns[1].unit == "km.s-1"
    assert found.metadata.columns[1].description == "speed & more"
    got = pa.Table.from_batches(found.batches).to_pydict()
    assert [value or "" for value in got["s"]] == [text.rstrip("\0") for text in texts]
    assert got["x"] == numbers
    assert got["v"] == [whole] * 3
    assert got["b"] == [True, False, True]
    assert got["n"] == [whole[0], None if form != "binary" else whole[1], whole[2]]


# -- how it ends


@serializations
def test_a_late_error_leaves_a_valid_document(serialization):
    columns, batch = make_all_types_batch()

    def batches():
        yield batch
        raise TimeLimitError("the time limit of 60 s is over")

    data = b"".join(
        write_votable(
            TableMetadata(columns=columns),
            batches(),
            lambda: ResultStatus(error_message="the time limit of 60 s is over"),
            {"serialization": serialization},
        )
    )
    tree = etree.fromstring(data)
    said = [(info.get("value"), info.text) for info in tree.iter("{*}INFO") if info.get("name") == "QUERY_STATUS"]
    assert said == [("OK", None), ("ERROR", "the time limit of 60 s is over")]
    with pytest.raises(SourceError, match="the time limit of 60 s"):
        rows(data)


@serializations
def test_a_value_that_cannot_be_written_is_an_error_and_not_another_value(serialization):
    columns = [Column(name="word", type=parse_type("string[3]"))]
    good, bad = (pa.RecordBatch.from_arrays([pa.array([text])], names=["word"]) for text in ("abc", "abcdef"))
    data = b"".join(
        write_votable(
            TableMetadata(columns=columns),
            iter([good, bad]),
            lambda: ResultStatus(row_count=2),
            {"serialization": serialization},
        )
    )
    if serialization == "TABLEDATA":  # text has the room
        assert rows(data) == [("abc",), ("abcdef",)]
    else:
        with pytest.raises(SourceError, match="'word' is declared with arraysize 3, but a value has 6 characters"):
            rows(data)
    assert rows(
        b"".join(
            write_votable(
                TableMetadata(columns=columns),
                iter([bad]),
                lambda: ResultStatus(row_count=1),
                {"serialization": serialization},
            )
        )
    ) == [("abcdef",)]


def test_overflow_is_said_after_the_rows():
    columns, batch = make_all_types_batch()
    found = read_votable(
        io.BytesIO(write_document("votable", columns, [batch], ResultStatus(overflow=True, row_count=3)))
    )
    assert [item.value for item in found.metadata.infos] == ["OK"]
    assert sum(batch.num_rows for batch in found.batches) == 3
    assert [item.value for item in found.metadata.infos] == ["OK", "OVERFLOW"]


def test_no_status_for_plain_files():
    assert b"QUERY_STATUS" not in write_document("votable", [Column(name="a")], [], includes_query_status=False)


def test_an_unknown_serialization_is_refused():
    with pytest.raises(UserError, match="TABLEDATA"):
        next(
            write_votable(TableMetadata(columns=[Column(name="a")]), iter([]), ResultStatus, {"serialization": "FITS"})
        )


def test_ids_do_not_clash_with_frames_and_tables():
    from hven.model.table import ReferenceFrame

    columns = [Column(name="icrs", frame="icrs"), Column(name="main"), Column(name="main")]
    data = write_document(
        "votable", columns, [], id="main", frames=[ReferenceFrame(id="icrs", kind="coosys", system="ICRS")]
    )
    ids = [element.get("ID") for element in etree.fromstring(data).iter() if element.get("ID")]
    assert ids == ["icrs_2", "main_3", "icrs", "main", "main_2"]
    assert read_votable(io.BytesIO(data)).metadata.columns[0].frame == "icrs_2"


def test_without_columns_there_is_no_table():
    data = write_document("votable", [], [], params=[(Column(name="p"), 1.0)])
    assert [child.tag.rpartition("}")[2] for child in etree.fromstring(data)[0]] == ["INFO", "PARAM"]


def test_ids_are_xml_names_and_unique():
    assert assign_xml_ids(("ra", "n obs", "1st", "größe", "ra", "", "a.b-c")) == (
        "ra",
        "n_obs",
        "_1st",
        "gr__e",
        "ra_2",
        "_",
        "a.b-c",
    )


# -- values at the edges


@serializations
def test_text_beyond_ascii_makes_unicode_of_char(serialization):
    columns = [Column(name="a", type=parse_type("string")), Column(name="b", type=parse_type("string"))]
    first, second = (
        pa.RecordBatch.from_arrays([pa.array([one]), pa.array([two])], names=["a", "b"])
        for one, two in (("é", "x"), ("é", "€"))
    )
    data = write_document("votable", columns, [first, second], options={"serialization": serialization})
    assert [column.type.datatype for column in read_votable(io.BytesIO(data)).metadata.columns] == [
        "unicodeChar",
        "char",
    ]
    assert rows(data) == [("é", "x"), ("é", "€")]


def test_characters_that_xml_cannot_hold_become_replacement_characters():
    columns = [Column(name="a", type=parse_type("string"))]
    batch = pa.RecordBatch.from_arrays([pa.array(["a\x00b\x1bc\ufffed", "line\r\nend\ttab"])], names=["a"])
    data = write_document("votable", columns, [batch], options={"serialization": "TABLEDATA"})
    assert rows(data) == [("a\ufffdb\ufffdc\ufffdd",), ("line\r\nend\ttab",)]


@serializations
def test_special_numbers(serialization):
    columns = [Column(name=word, type=parse_type(word)) for word in ("float64", "float32", "int64")]
    arrays = [
        pa.array([float("nan"), float("inf"), -float("inf"), -0.0, 5e-324]),
        pa.array([0.1, 3.4028235e38, 1e-45, None, 16777216.0], pa.float32()),
        pa.array([2**63 - 1, -(2**63) + 1, 0, None, 1]),
    ]
    data = write_document(
        "votable",
        columns,
        [pa.RecordBatch.from_arrays(arrays, names=["a", "b", "c"])],
        options={"serialization": serialization},
    )
    found = rows(data)
    assert [row[2] for row in found] == arrays[2].to_pylist()
    assert [row[1] for row in found] == arrays[1].to_pylist()
    first = [row[0] for row in found]
    assert first[1:] == [float("inf"), -float("inf"), -0.0, 5e-324]
    assert first[0] is None if serialization == "BINARY" else np.isnan(first[0])
    if serialization == "TABLEDATA":
        assert b"<TD>NaN</TD><TD>0.1</TD>" in data
        assert b"<TD>+Inf</TD>" in data


def test_nulls_of_binary_are_values_that_do_not_occur():
    columns = [
        Column(name="a", type=parse_type("int16"), null="-99"),
        Column(name="b", type=parse_type("uint8")),
        Column(name="c", type=parse_type("uint8"), maximum=100),
        Column(name="d", type=parse_type("int32"), required=True),
    ]
    arrays = [
        pa.array([1, None], pa.int16()),
        pa.array([255, None], pa.uint8()),
        pa.array([7, None], pa.uint8()),
        pa.array([1, 2], pa.int32()),
    ]
    data = write_document(
        "votable",
        columns,
        [pa.RecordBatch.from_arrays(arrays, names=list("abcd"))],
        options={"serialization": "BINARY"},
    )
    found = read_votable(io.BytesIO(data))
    assert [(column.type.datatype, column.null) for column in found.metadata.columns] == [
        ("short", "-99"),
        ("short", "-32768"),
        ("unsignedByte", "255"),
        ("int", None),
    ]
    assert rows(data) == [(1, 255, 7, 1), (None, None, None, 2)]


def test_binary_refuses_a_null_that_it_cannot_say():
    columns = [Column(name="d", type=parse_type("int32"), required=True)]
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int32())], names=["d"])
    with pytest.raises(SourceError, match="'d' contains a null, but no value is declared for null"):
        rows(write_document("votable", columns, [batch], options={"serialization": "BINARY"}))


@pytest.mark.parametrize("serialization", ["TABLEDATA", "BINARY2"])
def test_a_null_in_an_array_of_bytes_needs_a_declared_value(serialization):
    batch = pa.RecordBatch.from_arrays([pa.array([[1, None]], pa.list_(pa.uint8()))], names=["v"])
    with pytest.raises(SourceError, match="null"):
        rows(
            write_document(
                "votable",
                [Column(name="v", type=parse_type("uint8[*]"))],
                [batch],
                options={"serialization": serialization},
            )
        )
    known = [Column(name="v", type=parse_type("uint8[*]"), null="255")]
    assert rows(write_document("votable", known, [batch], options={"serialization": serialization})) == [([1, None],)]


def test_strings_of_any_length_in_arrays_get_a_width():
    columns = [Column(name="v", type=ColumnType("char", "*x*"))]
    first, second = (
        pa.RecordBatch.from_arrays([pa.array([texts])], names=["v"]) for texts in (["a" * 20, "b"], ["c" * 40])
    )
    assert rows(write_document("votable", columns, [first])) == [(["a" * 20, "b"],)]
    with pytest.raises(SourceError, match="40 characters"):
        rows(write_document("votable", columns, [first, second]))


def test_the_first_rows_leave_before_the_second_batch():
    columns, batch = make_all_types_batch()
    asked = itertools.count()
    stream = write_votable(
        TableMetadata(columns=columns),
        iter(lambda: (next(asked), batch)[1], None),
        ResultStatus,
        {"serialization": "TABLEDATA"},
    )
    assert b"<TR>" in next(stream)
    assert next(asked) == 1


def test_a_column_that_does_not_fit_its_type_is_an_error():
    batch = pa.RecordBatch.from_arrays([pa.array([2**40])], names=["a"])
    data = write_document("votable", [Column(name="a", type=parse_type("int32"))], [batch])
    with pytest.raises(SourceError, match="not in range"):
        rows(data)


def test_gzip_and_sizes_of_batches():
    columns, batch = make_all_types_batch()
    data = gzip.compress(write_document("votable", columns, [batch] * 4)[:-40]) + gzip.compress(
        write_document("votable", columns, [batch] * 4)[-40:]
    )
    assert rows(data) == plain(batch) * 4
    assert [part.num_rows for part in read_votable(io.BytesIO(data), batch=5).batches] == [5, 5, 2]


@pytest.mark.parametrize(
    ("display", "said", "again"),
    [
        (".3f", ' precision="F3"', ".3f"), ("8.3f", ' width="8" precision="F3"', "8.3f"), ("%.6f", ' precision="F6"', ".6f"), ("F8.3", ' width="8" precision="F3"', "8.3f"),
        (".2e", ' precision="E3"', ".2e"), ("E12.4", ' width="12" precision="E5"', "12.4e"), ("D12.4", ' width="12" precision="E5"', "12.4e"), (".0e", ' precision="E1"', ".0e"),
        (".0f", "", None), ("sexagesimal", "", None), ("iso", "", None), (None, "", None), ("I5", "", None),
    ],
)  # fmt: skip
def test_how_numbers_are_displayed_is_precision_and_width(display, said, again):
    columns = [
        Column(name="x", type=parse_type("float64"), display=display),
        Column(name="n", type=parse_type("int32"), display=display),
    ]
    batch = pa.record_batch([pa.array([1.23456]), pa.array([1], pa.int32())], names=["x", "n"])
    text = write_document("votable", columns, [batch], options={"serialization": "TABLEDATA"})
    assert f'<FIELD name="x" ID="x" datatype="double"{said}/>'.encode() in text
    assert b'<FIELD name="n" ID="n" datatype="int"/>' in text
    assert b"<TD>1.23456</TD>" in text, "values are written whole"
    assert [column.display for column in read_votable(io.BytesIO(text)).metadata.columns] == [again, None]


@pytest.mark.parametrize(
    ("said", "display"),
    [("precision='3'", ".3f"), ("precision='f3' width='0'", ".3f"), ("precision='E4' width='9'", "9.3e"), ("precision='F0'", None),
     ("precision='three'", None), ("width='9'", None), ("precision='3' width='*'", ".3f")],
)  # fmt: skip
def test_precision_as_others_write_it(said, display):
    text = f"<VOTABLE version='1.4'><RESOURCE><TABLE><FIELD name='x' datatype='float' {said}/><DATA><TABLEDATA/></DATA></TABLE></RESOURCE></VOTABLE>"
    assert read_votable(io.BytesIO(text.encode())).metadata.columns[0].display == display


@pytest.mark.parametrize(
    ("word", "lowest", "highest"),
    [("int16", -(2**15), 2**15 - 1), ("int32", -(2**31), 2**31 - 1), ("int64", -(2**63), 2**63 - 1)],
)
@pytest.mark.parametrize("array", [False, True])
def test_a_value_is_never_taken_for_null(word, lowest, highest, array):
    """The number that stands for null is one that the first batch does not hold; where a later one does, the document ends with an error."""
    kind = parse_type(f"{word}[*]" if array else word)
    options = {"serialization": "BINARY"}

    def batch(*values):
        return pa.RecordBatch.from_arrays(
            [pa.array([[value] for value in values] if array else values, kind.arrow)], names=["n"]
        )

    first = batch(lowest, lowest + 1, highest, None, 0)
    data = write_document("votable", [Column(name="n", type=kind)], [first], options=options)
    assert rows(data) == plain(first)
    assert etree.fromstring(data).find(".//{*}VALUES").get("null") == str(lowest + 2)
    data = write_document("votable", [Column(name="n", type=kind)], [first, batch(lowest + 2)], options=options)
    said = etree.fromstring(data).findall(".//{*}INFO[@name='QUERY_STATUS']")[-1]
    assert (said.get("value"), f"contains the value {lowest + 2}, which means null" in said.text) == ("ERROR", True)
    assert len(etree.fromstring(data).findall(".//{*}STREAM")) == 1


def test_a_byte_array_that_holds_its_declared_null_gets_another():
    kind = parse_type("uint8[2]")
    batch = pa.RecordBatch.from_arrays([pa.array([[0, 255], [1, None]], kind.arrow)], names=["n"])
    for serialization in SERIALIZATIONS:
        data = write_document(
            "votable", [Column(name="n", type=kind, null="255")], [batch], options={"serialization": serialization}
        )
        assert rows(data) == plain(batch)
