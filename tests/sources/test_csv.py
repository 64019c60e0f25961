"""Delimited text: dialects, types, nulls, rejects, places of faults; real files that people made."""

from __future__ import annotations

import bz2
import csv as plain
import gzip
import hashlib
import io
import lzma
import os
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.descriptor import check_descriptor
from hven.model import DeviationKind, add_deviation
from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.sources import ROW_NUMBER_COLUMN, SourceContext, csv
from hven.sources._reading import text_blocks
from shared import EXAMPLES_FACTOR, shared


def open_source(path, rejects=None, wanted=None, batch=131_072, **options):
    context = SourceContext(
        directory=path.parent,
        on_reject=rejects.append if rejects is not None else None,
        target_types=wanted or {},
        batch_row_limit=batch,
    )
    return csv.open(csv.Options.model_validate({"files": path.name, **options}), context)


def rows(path, columns=None, **options):
    return pa.Table.from_batches(list(open_source(path, **options).read_batches(columns))).to_pylist()


def types(path, **options):
    return {column.name: str(column.type) for column in open_source(path, **options).list_columns()}


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# -- dialects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "names", "first"),
    [
        ("a,b\n1,x\n", ["a", "b"], (1, "x")),
        ("a;b\n1,5;x\n2,5;y\n", ["a", "b"], ("1,5", "x")),
        ("a\tb c\n1\tx y\n", ["a", "b c"], (1, "x y")),
        ("a|b\n 1| x \n", ["a", "b"], (1, "x")),
        ("a   b\n1 \t x\n  22    yy\n", ["a", "b"], (1, "x")),
        ("#a;b\n1;x\n", ["a", "b"], (1, "x")),
        ("# written by hand\n#\n#a;b\n1;x\n# a remark between\n2;y\n", ["a", "b"], (1, "x")),
        ("1,x\n2,y\n", ["column_1", "column_2"], (1, "x")),
        (",b\n0,x\n1,y\n", ["column_1", "b"], (0, "x")),
        ("\ufeffa,b\r\n1,x\r\n", ["a", "b"], (1, "x")),
        ("a,b\r1,x\r2,y\r", ["a", "b"], (1, "x")),
        ("\n\na,b\n\n1,x\n", ["a", "b"], (1, "x")),
    ],
)  # fmt: skip
def test_the_look_is_guessed(write, content, names, first):
    path = write(content)
    found = rows(path)
    assert list(found[0]) == names
    assert tuple(found[0].values()) == first


@pytest.mark.parametrize(
    ("content", "names", "first"),
    [
        ("<TICKER>,<DATE>\nabc,1\ndef,2\n", ["<TICKER>", "<DATE>"], ("abc", 1)),
        ("name\nAlpha Centauri\nSirius\nVega\n", ["name"], ("Alpha Centauri",)),
        ("#Date\t\tTime\tType\n#-------------------\n20220101\t02:40-02:41\tIII\n20220102\t04:53-04:54\tV\n", ["Date", "Time", "Type"], (20220101, "02:40-02:41", "III")),
        ("# VizieR\n#\nHIP\tVmag\n\tmag\n------\t-----\n1\t9.1\n2\t9.3\n", ["HIP", "Vmag"], (1, 9.1)),
    ],
)  # fmt: skip
def test_heads_of_tables_are_no_rows(write, content, names, first):
    found = rows(write(content))
    assert list(found[0]) == names
    assert tuple(found[0].values()) == first


def test_a_record_of_units_below_the_names(write):
    path = write('ID,Name,"Vmag",flag\n\n,"",[mag],\n1,"a\nb",9.5,x\n2,c,-,y\n3,d,10,z\n')
    source = open_source(path)
    assert {column.name: (str(column.type), column.unit) for column in source.list_columns()} == {
        "ID": ("int64", None), "Name": ("string", None), "Vmag": ("float64", "mag"), "flag": ("string", None),
    }  # fmt: skip
    assert rows(path, columns=["ID", "Vmag", ROW_NUMBER_COLUMN]) == [
        {"ID": n, "Vmag": v, ROW_NUMBER_COLUMN: n} for n, v in ((1, 9.5), (2, None), (3, 10.0))
    ]
    assert source.list_guessed_options() == {"units": True}
    assert open_source(path, units=True).list_guessed_options() == {}
    assert types(path, units=False)["Vmag"] == "string"
    for no_units in ("a,b\nm,x\n1,y\n2,m\n", "a,b\nx,s\n1,y\n2,z\n", "a,b\n,\n1,2\n", "a,b\n-,1\n1,2\n"):
        assert open_source(write(no_units, "b.csv")).list_guessed_options() == (
            {"units": True} if no_units.startswith("a,b\nm,x") else {}
        )


def test_units_that_are_none_are_units_below_names_all_the_same(write):
    content = (
        "src\tteff\tlogg\tflux\tt\n\t[K]\t[cgs]\t[10-14erg/s/cm2]\t°C\naa\t5777\t4.44\t3.2\t1\nbb\t6000\t4.1\t4.4\t2\n"
    )
    source = open_source(write(content, "a.tsv"))
    assert [(str(column.type), column.unit) for column in source.list_columns()][1:] == [
        ("int64", "K"), ("float64", "cgs"), ("float64", "10**-14erg.s**-1.cm**-2"), ("int64", "°C"),
    ]  # fmt: skip
    assert open_source(write("a,b\nsfu,W\n1,2\n2,3\n")).list_guessed_options() == {"units": True}
    assert open_source(write("a,b\nalpha,beta\n1,2\n2,3\n")).list_guessed_options() == {}


def test_quotes_within_words_quote_nothing(write):
    content = 'name,Sep. ("),"long\nname",x\nA,1.5,"a\n""b""",5\' 10"\nB,2.5,c,d\n'
    assert [row['Sep. (")'] for row in rows(write(content))] == [1.5, 2.5]
    assert rows(write(content))[0]["long\nname"] == 'a\n"b"'


def test_a_ruled_comment_names_columns_between_tabs(write):
    content = "#Date   Time    Type    Stations\n#-------------------\n20230601\t01:02\tIII\tAAA, BBB\n20230601\t03:02\tII\tAAA\n"
    assert list(rows(write(content, "a.txt"))[0]) == ["Date", "Time", "Type", "Stations"]
    assert "column_1" in rows(write(content.replace("#---", "# by "), "b.txt"))[0]


def test_each_file_has_its_own_record_of_units(write):
    first = write("id,flux\n,Jy\n1,2.5\n", "a1.csv")
    write("id,flux\n11,2.5\n12,3.5\n", "a2.csv")
    source = open_source(first.parent / "a?.csv")
    assert source.list_guessed_options() == {}, "a row of the second file would be taken for its units"
    assert [row["id"] for row in rows(first.parent / "a?.csv")] == [1, 11, 12]
    with pytest.raises(
        SourceError,
        match="`units: true` says that the record below the names contains units, but '11' is not a unit",
    ):
        rows(first.parent / "a?.csv", units=True)
    write("id,flux\n,mJy\n11,2.5\n12,3.5\n", "a2.csv")
    with pytest.raises(SourceError, match=r"the unit of column 'flux' is mJy, but in .*a1\.csv it is Jy"):
        rows(first.parent / "a?.csv")


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (["1.5", "2", "n.m.", "4"], {}, "3 of the 4 sampled values are numbers; exceptions: row 3 'n.m.'"),
        (["1.5", "2", "n.m.", "x4"], {}, None),
        (["1,5", "2", "3,25"], {}, "write `decimal: ','` in the source"),
        (["1,5", "2", "3,25"], {"pointed": 0.5}, None),
        (["1,234", "12,345,678.5"], {}, "write `thousands: ','` in the source"),
        (["1.234,5", "12.345.678"], {}, "write `decimal: ','` and `thousands: '.'` in the source"),
        (["3.4.2011", "30.4.2011"], {}, "dates in the format %d.%m.%Y; map the column with parse_time(v, '%d.%m.%Y')"),
        (
            ["2011-02-03", "2011-02-04", "2011-02-05", "lost"],
            {},
            "dates in the format ISO 8601; exceptions: row 4 'lost'; map the column with parse_time(v)",
        ),
        (["2011-02-03", "lost"], {}, None),
    ],
)
def test_texts_that_are_nearly_numbers_or_dates_are_doubted(write, values, options, said):
    other = options.get("pointed", "w")
    found = open_source(
        write("name;v;o\n" + "".join(f"s{n};{value};{other}\n" for n, value in enumerate(values)))
    ).list_type_doubts()
    assert list(found) == (["v"] if said else [])
    assert said is None or said in "; ".join(found["v"])


@pytest.mark.parametrize(
    ("values", "options", "text"),
    [
        (["1.5", "1.50"], {}, "1.50"),
        (["2", ".5"], {}, ".5"),
        (["true", "False", ""], {}, "False"),
        (["true", "false", ""], {}, None),
        (["2020-01-01T00:00:00", "2020-01-01T01:02:03.25"], {}, None),
        (["2020-01-01", ""], {}, "2020-01-01"),
        (["1.5", "-2.25", "", "NaN"], {}, None),
        (["10", "20"], {}, None),
        (["1.50"], {"types": {"v": "string"}}, None),
    ],
)
def test_texts_that_are_read_as_other_texts_are_found(write, values, options, text):
    source = open_source(write("name;v\n" + "".join(f"s{n};{value}\n" for n, value in enumerate(values))), **options)
    found = source.list_changed_texts()
    assert list(found) == (["v"] if text else [])
    assert text is None or f"{text!r} and the like change" in found["v"][0]


def test_columns_of_later_files_are_no_changed_texts(write):
    path = write("name;v\na;1.5\n", "a1.csv")
    write("name;v;w\nb;1.50;2.50\n", "a2.csv")
    assert list(open_source(path, files="a*.csv").list_changed_texts()) == ["v"]


CHANGED_TEXTS = """\
collection: p
title: p
description: p
creators: [p]
licence: CC0-1.0
tables:
  main:
    description: p
    source: {kind: csv, files: a.csv}
    columns: {code: {type: string, description: c, ucd: meta.id}, url: {type: string, description: u, ucd: meta.ref.url}}
    text: {url: "https://example.org/{code}"}
"""


def test_a_warning_names_columns_of_text_whose_cells_would_change(tmp_path):
    (tmp_path / "a.csv").write_text("code,n\n1.50,1\n2.00,2\n")
    path = tmp_path / "p.yaml"
    path.write_text(CHANGED_TEXTS)
    messages = [str(fault) for fault in check_descriptor(path, Settings(directory=tmp_path)) if "code" in fault.message]
    assert len(messages) == 1
    assert "column 'code' is read as double because it is not only copied, so '1.50' and the like change" in messages[0]
    assert "write `types: {code: string}` in the source" in messages[0]
    path.write_text(CHANGED_TEXTS.replace("files: a.csv", "files: a.csv, types: {code: string}"))
    assert not [fault for fault in check_descriptor(path, Settings(directory=tmp_path)) if "code" in fault.message]
    path.write_text(CHANGED_TEXTS.replace("{code}", "x"))  # only copied, so it is read as text
    assert not [fault for fault in check_descriptor(path, Settings(directory=tmp_path)) if "code" in fault.message]


def test_what_is_said_is_not_guessed(write):
    path = write("first line of talk\nsecond\n1!2,5!'a!b'\n", "odd.txt")
    found = rows(path, skip=2, delimiter="!", decimal=",", quote="'", names=["i", "f", "s"], header=False)
    assert found == [{"i": 1, "f": 2.5, "s": "a!b"}]


def test_thousands_and_null_words(write):
    path = write("n,m,s\n1'000,-999,NA\n2'500'000,99.99,none of them\n3,-999.0,\n")
    found = rows(path, thousands="'", null={"m": [-999, "99.99"]})
    assert [row["n"] for row in found] == [1000, 2_500_000, 3]
    assert [row["m"] for row in found] == [None, None, None]
    assert [row["s"] for row in found] == ["NA", "none of them", None], (
        "words for no number are text in a column of text"
    )


def test_padding_and_plus_signs_do_not_hurt(write):
    path = write("a| b |c\n  +4 |  NaN | x\n    |  -   |   \n -5 | 1.5D+02|y z\n")
    assert rows(path) == [
        {"a": 4, "b": None, "c": "x"},
        {"a": None, "b": None, "c": None},
        {"a": -5, "b": 150.0, "c": "y z"},
    ]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_compressed_files_are_read_as_they_are(write, pack):
    path = write(pack(b"a,b\n1,x\n"), "a.csv.packed")
    assert rows(path) == [{"a": 1, "b": "x"}]
    damaged = write(pack(b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(9000)))[:-20], "b.csv.packed")
    with pytest.raises(SourceError, match="damaged or truncated"):
        rows(damaged)


# -- types ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["id\n7\n7\n", "id\n8\n8\n8\n8\n"])
def test_a_file_that_changes_while_it_is_read_is_an_error(write, content):
    path = write("id\n1\n2\n3\n4\n")
    os.utime(path, (1, 1))
    batches = open_source(path, batch=1).read_batches()
    next(batches)
    path.write_text(content)
    with pytest.raises(SourceError, match="the file changed while Hven was reading it") as caught:
        list(batches)
    assert (caught.value.place.file, caught.value.remedy) == ("a.csv", "ingest again when the file is complete")


def test_a_file_that_grows_or_is_replaced_while_it_is_read(write):
    path = write("id\n1\n2\n3\n4\n")
    deviations = []

    def count_rows(change):
        source = open_source(path, batch=1)
        source.context = replace(source.context, on_notice=deviations.append)
        batches = source.read_batches()
        next(batches)
        change()
        return 1 + len(list(batches))

    def grow():
        with path.open("a") as file:
            file.write("5\n")

    assert count_rows(grow) == 4
    assert [(found.kind, found.file) for found in deviations] == [(DeviationKind.DROPPED_ROW, "a.csv")]
    assert "the file grew while Hven was reading it" in deviations[0].message
    deviations.clear()
    new_path = write("id\n9\n", "new.csv")
    assert count_rows(lambda: new_path.rename(path)) == 5, "those of the old file"
    assert count_rows(path.unlink) == 1
    assert deviations == []


def test_types_are_guessed_and_names_stay_text(write):
    path = write(
        "i,f,b,t,d,code,big,word,mixed,empty\n"
        "1,1.5,true,2011-02-15T00:00:00.34,1999-12-31,00042,12345678901234567890,x,1,\n"
        "-2,1e5,False,2011-02-15 10:20,2000-01-01,01234,1,y,a,\n"
    )
    assert types(path) == {
        "i": "int64", "f": "float64", "b": "bool", "t": "timestamp", "d": "timestamp", "code": "string", "big": "string", "word": "string",
        "mixed": "string", "empty": "string",
    }  # fmt: skip
    first = rows(path)[0]
    assert (first["code"], first["t"], first["big"]) == (
        "00042",
        datetime(2011, 2, 15, 0, 0, 0, 340_000),
        "12345678901234567890",
    )


def test_wanted_types_are_read_at_once(write):
    path = write("id,x,flag,when\n1,2,1,2020-01-01T00:00:00Z\n2,3.0,0,2020-01-02T00:00:00.1234567Z\n")
    wanted = {"id": pa.string(), "x": pa.int32(), "flag": pa.bool_(), "when": pa.timestamp("us")}
    batch = next(open_source(path, wanted=wanted).read_batches())
    assert {item.name: item.type for item in batch.schema} == wanted
    assert batch.to_pylist()[1] == {"id": "2", "x": 3, "flag": False, "when": datetime(2020, 1, 2, 0, 0, 0, 123456)}


def test_ecsv_gives_names_types_units_descriptions(write):
    path = write(
        "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n# - {name: ra, unit: deg, datatype: float64, description: 'Right ascension, mean'}\n"
        "# - {name: n, datatype: int32}\n# meta: {description: A small table}\nra,n\n1,2\n",
        "a.ecsv",
    )
    ra, n = open_source(path).list_columns()
    assert (ra.unit, ra.description, str(ra.type), str(n.type)) == ("deg", "Right ascension, mean", "float64", "int32")
    assert rows(path) == [{"ra": 1.0, "n": 2}]


def test_json_strings_of_ecsv_are_unpacked(write):
    path = write(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: n, datatype: int32}\n# - {name: s, datatype: string, subtype: json}\nn s\n"
        '0 """C:\\\\new"""\n1 """B8.2"""\n2 """say \\""hi\\"" \\\\"""\n3 null\n4 "[1, 2]"\n',
        "a.ecsv",
    )
    assert [row["s"] for row in rows(path)] == ["C:\\new", "B8.2", 'say "hi" \\', None, "[1, 2]"]


def test_masks_of_ecsv_are_applied(write):
    path = write(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: m, datatype: int64}\n# - {name: m.mask, datatype: bool}\n# - {name: n.mask, datatype: bool}\n"
        "# meta: !!omap\n# - __serialized_columns__:\n#     m:\n#       __class__: astropy.table.column.MaskedColumn\n"
        "#       data: !astropy.table.SerializedColumn {name: m}\n#       mask: !astropy.table.SerializedColumn {name: m.mask}\n"
        "m m.mask n.mask\n1 True False\n2 False True\n",
        "a.ecsv",
    )
    assert [column.name for column in open_source(path).list_columns()] == ["m", "n.mask"]
    assert rows(path) == [{"m": None, "n.mask": False}, {"m": 2, "n.mask": True}]


@pytest.mark.parametrize(
    ("value", "expected_type", "expected"),
    [("5", "int64", 5), ("18446744073709551615", "string", "18446744073709551615"), ('""', "int64", None)],
)
def test_large_uint64_of_ecsv_is_decimal_text(write, value, expected_type, expected):
    path = write(
        f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: k, datatype: int16}}\n# - {{name: n, datatype: uint64}}\nk n\n1 {value}\n",
        "a.ecsv",
    )
    assert str(open_source(path).list_columns()[1].type) == expected_type
    assert rows(path) == [{"k": 1, "n": expected}]


# -- faults ---------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_is_kept_aside_with_its_row(write):
    lines = [f"{n},{n / 2}\n" for n in range(1, 120_001)]
    lines[99_999] = "abc,1\n"
    lines[110_000] = "5,6,7\n"
    path = write("id,x\n# no comment sign here\n".replace("# no comment sign here\n", "") + "".join(lines))
    rejects = []
    found = pa.Table.from_batches(list(open_source(path, rejects).read_batches(["id", ROW_NUMBER_COLUMN])))
    assert found.num_rows == 119_998
    numbers = found.column(ROW_NUMBER_COLUMN).to_pylist()
    assert found.column("id").to_pylist() == numbers, "row numbers stay true after rejects"
    assert [(item.row, item.column, item.value, item.text) for item in rejects] == [
        (100_000, "id", "abc", "abc,1"),
        (110_001, None, None, "5,6,7"),
    ]
    assert "declare id as string" in rejects[0].reason
    assert rejects[1].reason == "3 fields instead of 2"


def test_without_anybody_to_take_rejects_the_first_is_an_error(write):
    path = write("id\n" + "1\n" * 500_000 + "x\n")
    with pytest.raises(SourceError, match=r"a\.csv: row 500001, column id: 'x' is not a whole number"):
        rows(path, types={"id": "int64"})


def test_wanted_types_make_plain_rejects(write):
    path = write("n\n1\n300000\n7\n")
    rejects = []
    found = pa.Table.from_batches(list(open_source(path, rejects, wanted={"n": pa.int16()}).read_batches()))
    assert found.column("n").to_pylist() == [1, 7]
    assert [(item.row, item.value, item.reason) for item in rejects] == [
        (2, "300000", "not a whole number that fits in int16")
    ]


def test_rows_are_counted_over_quoted_line_ends(write):
    path = write('a,b\n1,"two\nlines"\n2,"say ""hi"", then\n\nleave"\nx,y\n' + "3,z\n" * 3)
    rejects = []
    found = pa.Table.from_batches(
        list(open_source(path, rejects, types={"a": "int32"}).read_batches(["a", "b", ROW_NUMBER_COLUMN]))
    ).to_pylist()
    assert found[:2] == [
        {"a": 1, "b": "two\nlines", ROW_NUMBER_COLUMN: 1},
        {"a": 2, "b": 'say "hi", then\n\nleave', ROW_NUMBER_COLUMN: 2},
    ]
    assert [row[ROW_NUMBER_COLUMN] for row in found] == [1, 2, 4, 5, 6]
    assert [(item.row, item.value) for item in rejects] == [(3, "x")]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"a\.csv is empty"),
        (b"\n \n", {}, r"a\.csv is empty"),
        (b"a,b\n1,\xe9\n", {}, r"a\.csv:2: byte 0xe9 \(byte 3 of the line\) is not UTF-8; write `encoding:` with the encoding of the file, such as latin-1"),
        (b"a,b\n1,x\n", {"encoding": "klingon"}, "there is no encoding 'klingon'"),
        ("a,b\n1,x\n".encode("utf-16"), {}, "NUL bytes.*encoding: utf-16"),
        ("name,b\n1,x\n".encode("utf-16-be"), {}, "NUL bytes.*encoding: utf-16-be"),
        ("name,b\n1,x\n".encode("utf-16-le"), {"encoding": "utf-16"}, "does not begin with the byte order mark of utf-16; write `encoding: utf-16-le` or"),
        (b"a,b,c\n1,2,3\n4,5,6\n", {"delimiter": ";"}, "delimiter ';' gives a single column; write `delimiter: comma`, which gives 3 columns"),
        (b"a,b\n1,2\n", {"delimiter": "::"}, "more than one character"),
        (b"a,b\n1,2\n", {"names": ["x", "y", "z"], "header": True}, "`names` contains 3 names, but the header has 2"),
        (b"a,b\n1,2\n", {"types": {"c": "int32"}}, "no column 'c'"),
        (b"a,b\n1,2\n", {"types": {"a": "number"}}, "no type 'number'"),
        (b"a,b,c\n" + b"1,2\n1,2,3,4\n1\n" * 9, {}, r"a\.csv:1: no delimiter splits all lines into the same number of fields; with the delimiter comma, the lines have 1 to 4 fields"),
        (b"1989 1  2 3\n1989 1 B 2 3\n1989 1 B 2 3 4\n" * 9, {}, "kind: fixed"),
        (b'{"type": "FeatureCollection"}\n', {}, "looks like JSON"),
        (b"<!DOCTYPE html><html></html>\n", {}, "looks like XML or HTML"),
        (b'<resource schema="mars">\n', {}, r"looks like a DaCHS resource descriptor .*; convert it with `hven new NAME --from FILE`.*from-dachs\.md"),
        (b"\n\n<html>\n<body>404</body></html>\n", {}, r"a\.csv:3: the file looks like XML or HTML"),
        (b"<h1>Not found</h1>\n", {}, "looks like XML or HTML"),
        (b"<observations>\n <o/>\n</observations>\n", {}, "looks like XML or HTML, .*; write `kind: votable` for a VOTable and `kind: xml` for other XML"),
        (b"|Sx||1187|\n<stream>\n", {}, "looks like a das2 or das3 stream"),
        (b"[00]000088<stream>\n[01]000412<packet>\n", {}, "looks like a das2 or das3 stream"),
        (b"title = a\nrights = b\nregime = c, d\nsky = e\n", {}, "looks like lines of `key = value`"),
        (b"def f(a, b):\n    return a\nf(1, 2)\nx\ny\n", {}, "looks like running text or a program"),
        (b"label\n" * 3000 + bytes(range(1, 256)) * 99, {"encoding": "latin-1"}, "a.csv is a binary file"),
        (b"\x89HDF\r\n\x1a\n\0\0", {}, "a.csv is an HDF5 or netCDF 4 file"),
        (b"ARROW1\0\0\xff\xff\xff\xff", {}, r"a.csv is an Arrow \(Feather\) file, which `pyarrow` converts to Parquet"),
        (b"1," * 20_000 + b"1\n", {}, "a record has 20,001 fields"),
        (b'a,b\n1,"never closed\n' + b"2,y\n" * 2_000_000, {}, r"a\.csv:\d+: a quoted value begins here, but its closing quote is missing"),
    ],
)  # fmt: skip
def test_faults_of_a_file_are_told_with_place_and_remedy(write, monkeypatch, content, options, message):
    monkeypatch.setattr(text_blocks, "MAX_RECORD_BYTES", 1 << 20)
    path = write(content)
    with pytest.raises(SourceError, match=message):
        rows(path, **options)


def test_a_resource_descriptor_of_dachs_is_known_by_its_name(tmp_path):
    path = tmp_path / "q.rd"
    path.write_text('<?xml version="1.0"?>\n<!-- Mars -->\n<resource schema="mars"/>\n')
    with pytest.raises(SourceError, match=r"q\.rd:1: the file looks like a DaCHS resource descriptor .*from-dachs\.md"):
        rows(path)


def test_a_header_alone_is_an_empty_table(write):
    path = write("a,b\n")
    assert types(path) == {"a": "string", "b": "string"}
    assert list(open_source(path).read_batches()) == []


def test_nul_bytes_in_a_row_reject_that_row(write):
    path = write(b"a,b\n" + b"1,x\n" * 2000 + b"2,y\0z\n3,w\n")
    rejects = []
    assert sum(batch.num_rows for batch in open_source(path, rejects).read_batches()) == 2001
    assert [(item.row, item.column, item.reason) for item in rejects] == [(2001, "b", "text with a NUL byte")]


def test_other_encodings(write):
    assert rows(write("name\nAnders Ångström\n".encode("latin-1")), encoding="latin-1") == [{"name": "Anders Ångström"}]
    assert rows(write("a,b\n1,µ\n".encode("utf-16")), encoding="utf-16") == [{"a": 1, "b": "µ"}]


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_the_line_in_which_spreadsheets_state_the_delimiter_is_no_record(write, line):
    assert rows(write(line + "a;b\n1;1,5,5\n2;x\n")) == [{"a": 1, "b": "1,5,5"}, {"a": 2, "b": "x"}]
    assert rows(write("sep=\ta\n1\tx\n2\ty\n")) == [{"sep=": 1, "a": "x"}, {"sep=": 2, "a": "y"}]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b,,\n1,2,3,4\n2,3,4,5\n", ["a", "b", "column_3", "column_4"]),
        ("id,x,,,,\n1,2,,,,\n2,3,,,,\n", ["id", "x", "column_3", "column_4", "column_5", "column_6"]),
        ("RA,,,Dec,,,Name\n1,2,3,4,5,6,A\n", ["RA", "column_2", "column_3", "Dec", "column_5", "column_6", "Name"]),
        ("NGC 1,,,Sb\nNGC 2,1,2,Sc\n", None),
        ("NA,,,N/A,,\n1,2,3,4,5,6\n", None),
        ("x,,,,,\n1,2,3,4,5,6\n", None),
    ],
)
def test_a_header_can_have_empty_cells(write, text, names):
    source = open_source(write(text))
    assert [column.name for column in source.list_columns()] == (
        names or [f"column_{number + 1}" for number in range(text.partition("\n")[0].count(",") + 1)]
    )
    assert sum(batch.num_rows for batch in source.read_batches()) == text.count("\n") - bool(names)


def test_missing_files_are_told_with_the_nearest(tmp_path, write):
    write("a\n1\n", "stars.csv")
    with pytest.raises(SourceError, match=r"no file stras\.csv .*did you mean 'stars\.csv'"):
        open_source(tmp_path / "stras.csv")
    with pytest.raises(SourceError, match=r"no file matches \*\.dat"):
        open_source(tmp_path / "*.dat")


# -- several files --------------------------------------------------------------------------


def test_files_are_read_in_order_with_their_metadata(tmp_path):
    for name, content in (("b/2.csv", "x,y\n3,c\n"), ("a/1.csv", "y,x\na,1\nb,2\n"), ("a/1_old.csv", "x,y\n9,z\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    source = csv.open(csv.Options(files=["**/*.csv"], ignore=["*_old*"]), SourceContext(directory=tmp_path))
    found = pa.Table.from_batches(
        list(source.read_batches(["x", "y", ROW_NUMBER_COLUMN, "file.path", "file.stem", "file.size", "file.md5"]))
    ).to_pylist()
    assert [
        (row["x"], row["y"], row[ROW_NUMBER_COLUMN], row["file.path"], row["file.stem"], row["file.size"])
        for row in found
    ] == [
        (1, "a", 1, "a/1.csv", "1", 12),
        (2, "b", 2, "a/1.csv", "1", 12),
        (3, "c", 1, "b/2.csv", "2", 8),
    ]
    assert found[2]["file.md5"] == hashlib.md5(b"x,y\n3,c\n").hexdigest()
    assert source.count_progress_units() == source.estimate_progress_total() == 20


def test_a_file_without_a_column_is_told(tmp_path):
    (tmp_path / "1.csv").write_text("x,y\n1,2\n")
    (tmp_path / "2.csv").write_text("x,z\n1,2\n")
    source = csv.open(csv.Options(files=["*.csv"]), SourceContext(directory=tmp_path))
    with pytest.raises(SourceError, match=r"2\.csv: the file has no column 'y', unlike 1\.csv"):
        list(source.read_batches())


# -- against another reader -----------------------------------------------------------------

cell = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n",; \t'), max_size=12)


@settings(max_examples=150 * EXAMPLES_FACTOR, deadline=None)
@given(
    table=st.lists(st.tuples(cell, cell, st.integers(-(2**40), 2**40)), min_size=1, max_size=30),
    size=st.sampled_from([16, 64, 1 << 20]),
)
def test_what_pythons_writer_wrote_is_read_back(tmp_path_factory, table, size):
    """Any text, cut into blocks anywhere; blanks around it are not kept."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO(newline="")
    writer = plain.writer(out, quoting=plain.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["a", "b", "n"])
    writer.writerows(table)
    path.write_text(out.getvalue(), newline="")
    before = text_blocks.BLOCK_BYTES
    text_blocks.BLOCK_BYTES = size
    try:
        source = open_source(path, header=True, delimiter=",", types={"a": "string", "b": "string", "n": "int64"})
        found = [tuple(row.values()) for row in pa.Table.from_batches(list(source.read_batches())).to_pylist()]
    finally:
        text_blocks.BLOCK_BYTES = before
    assert found == [(a.strip(" \t\n") or None, b.strip(" \t\n") or None, n) for a, b, n in table]


# -- real files -----------------------------------------------------------------------------

REAL = [
    ("helio/hfc/charm/ch_results.csv.gz", 1219, 33),
    ("helio/hfc/charm/ch_observatory.csv", 2, 10),
    ("helio/sunspots/silso_SN_d_tot_V2.0.csv.gz", 75_422, 8),
    ("helio/hec/lists/icme_earth_cycle23.txt", 322, 28),
    ("planetary/craters/LROCCraters.csv.gz", 19_335, 6),
    ("planetary/Meteorite_Landings.csv.gz", 45_716, 12),
    ("planetary/vims_flybys.csv", 957, 10),
    ("planetary/omega_corrupted_obs.csv", 29, 2),
    ("sync/desi-tiles/tiles-main-20210512-rev00425.ecsv.gz", 20_298, 13),
    ("sync/exoplanets/open_exoplanet_catalogue_2020-08-06.csv.gz", 4058, 25),
    ("radio/lfe/LFEs_joined.csv.gz", 4553, 8),
    ("images/clusters/DeepPlanck.csv", 1094, 8),
    ("vo/eso_raw_sinfoni_sgra.csv", 50, 63),
]


@pytest.mark.parametrize(("name", "count", "width"), REAL)
def test_real_files_need_no_options(name, count, width):
    path = shared(f"data/{name}")
    rejects = []
    source = open_source(path, rejects)
    assert (sum(batch.num_rows for batch in source.read_batches()), len(source.list_columns()), rejects) == (
        count,
        width,
        [],
    )


def test_tycho_with_bars_and_blanks():
    source = open_source(shared("data/stars/tyc2.dat.07.xz"), [], null={"column_22": 999})
    found = pa.Table.from_batches(list(source.read_batches(["column_3", "column_4", "column_18", "column_22"])))
    assert found.num_rows == 127_000
    assert [str(kind) for kind in found.schema.types] == ["double", "double", "double", "int64"]
    blank = found.column("column_3").null_count
    assert 0 < blank < 127_000
    assert blank == found.column("column_4").null_count, "stars without a mean position have neither coordinate"
    assert 999 not in found.column("column_22").unique().to_pylist()


def test_numbered_comments_describe_the_columns():
    columns = open_source(shared("data/sync/exoplanets/open_exoplanet_catalogue_2020-08-06.csv.gz")).list_columns()
    assert columns[2].description == "Planetary mass [Jupiter masses]"


def test_memory_stays_flat(tmp_path):
    """A file many times as large as a block never lies in memory as a whole."""
    path = Path(tmp_path) / "big.csv"
    with path.open("w") as file:
        file.write("a,b,c\n")
        for _ in range(60):
            file.write("1,2.5,some text that takes room\n" * 20_000)
    before = pa.total_allocated_bytes()
    most = 0
    for batch in open_source(path).read_batches():
        most = max(most, pa.total_allocated_bytes() - before)
        del batch
    assert most < 30 * (1 << 20) < path.stat().st_size


def test_numeric_null_words_meet_columns_of_every_type(write):
    path = write(
        "n,i,f,t,b,s\n1,5,1.5,2020-01-01T00:00:00,true,x\n2,-999,-999.0,2021-01-01T00:00:00,false,-999\n1,1,1,2021-01-01T00:00:00,true,y\n"
    )
    found = rows(path, null=[-999, 1])
    assert [row["i"] for row in found] == [5, None, None]
    assert [row["f"] for row in found] == [1.5, None, None]
    assert [row["t"] for row in found] == [datetime(2020, 1, 1), datetime(2021, 1, 1), datetime(2021, 1, 1)]
    assert [row["b"] for row in found] == [True, False, True], "1 is not a code in a column of yes and no"
    assert [row["s"] for row in found] == ["x", None, "y"]


def test_seconds_of_sixty_carry_over(write):
    path = write("t\n2016-12-31T23:59:60\n2016-12-31 23:58:60.5Z\n2016-12-31T00:00:01\n\n")
    assert [row["t"] for row in rows(path)] == [
        datetime(2017, 1, 1),
        datetime(2016, 12, 31, 23, 59, 0, 500_000),
        datetime(2016, 12, 31, 0, 0, 1),
    ]
    assert types(write("t\n2016-12-31T23:60:00\n")) == {"t": "string"}, "an hour of 60 minutes is not a time"


def test_columns_that_only_later_files_have_are_reported(write):
    directory = write("id,x\n1,2\n", "a1.csv").parent
    write("x,y,id\n3,lost,2\n", "a2.csv")
    write("x,y,id\n5,lost,3\n", "a3.csv")
    told = []
    context = SourceContext(directory=directory, on_notice=partial(add_deviation, told))
    source = csv.open(csv.Options(files=["a*.csv"]), context)
    found = pa.Table.from_batches(source.read_batches()).to_pylist()
    assert found == [{"id": 1, "x": 2}, {"id": 2, "x": 3}, {"id": 3, "x": 5}]
    assert [(item.kind, item.column, item.file) for item in told] == [(DeviationKind.DROPPED_COLUMN, "y", "a2.csv")]
    selection = source.select_files(["a3.csv"])
    told.clear()
    assert pa.Table.from_batches(selection.read_batches()).to_pylist() == [{"id": 3, "x": 5}]
    assert [str(item).partition(",")[0] for item in told] == ["y: a1.csv does not have this column"]
    write("x,y\n7,lost\n", "a4.csv")
    selection = csv.open(csv.Options(files=["a*.csv"]), context).select_files(["a4.csv"])
    with pytest.raises(SourceError, match=r"the file has no column 'id', unlike a1\.csv"):
        list(selection.read_batches())
