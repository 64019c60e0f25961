"""Every value of every type: database -> TAP over HTTP -> each format -> a reader that is not ours (astropy, pyarrow, STILTS, Python's own)."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from astropy.io import ascii as tabular
from astropy.io.votable import parse
from astropy.table import Table as Astropy
from hypothesis import HealthCheck, given, settings

from hven.model.table import Column, Table
from hven.model.types import parse_type
from hven.testing.format import write_document
from hven.testing.site import open_tiny_site
from process_runner import Server, run_hven, serve_site
from shape_values import is_shape
from stilts import run_stilts
from storage_engines import EMBEDDED, SiteEngine, use_engines

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))

from samples import VALUES, tables

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

Rows = dict[str, list[Any]]
NAN, INF = math.nan, math.inf


def single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def when(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


# What each type must bring through; the lowest whole number is among the values, and so is null.
TYPES: dict[str, tuple[str, list[Any]]] = {
    "flag": ("bool", [True, False, None]),
    "abit": ("bit", [False, True, None]),
    "byte": ("uint8", [0, 255, 128, None]),
    "short": ("int16", [-(2**15), 2**15 - 1, 0, -1, None]),
    "whole": ("int32", [-(2**31), 2**31 - 1, 0, -1, None]),
    "long": ("int64", [-(2**63), 2**63 - 1, 2**53 + 1, -(2**53) - 1, 0, None]),
    "single": ("float32", [*map(single, (0.1, -0.0, 1e-45, 3.4028234663852886e38, 1.17549435e-38)), INF, -INF, NAN, None]),
    "twice": ("float64", [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1 / 3, INF, -INF, NAN, None]),
    "text": ("string", ["plain", "", " ", " led and trailed ", "a,b;c|d", 'say "so"', "it's", "<a>&amp;]]>", "null", "NaN", "0012", "-", None]),
    "lines": ("string", ["one\ntwo", "tab\there", "back\\slash", "\\N", None]),
    "written": ("unicode", ["Ωμέγα Κενταύρου", "Ångström", "日本語", "𝄞 e\u0301", "\u200b\ufeff", "", None]),
    "five": ("string[5]", ["abc", "abcde", "", None]),
    "time": (
        "timestamp",
        [*map(when, ("0001-01-01", "9999-12-31T23:59:59.999999", "1969-12-31T23:59:59.5", "2020-02-29T12:00:00.000001", "2000-01-01T12:00")), None],
    ),
    "vector": ("float64[3]", [[1.0, -0.0, 5e-324], [NAN, INF, -INF], None]),
    "shorts": ("int16[2]", [[-(2**15), 2**15 - 1], [0, -1], None]),
    "counts": ("int32[*]", [[1], [1, 2, 3], [-(2**31) + 1, 2**31 - 1], list(range(300)), None]),
    "reals": ("float32[*]", [[single(0.1)], [NAN, INF], [-0.0] * 40, None]),
    "bytes": ("uint8[*]", [[0, 255], [7], None]),
    "flags": ("bool[*]", [[True], [False, True, True], None]),
    "names": ("string[8x*]", [["ab", "cd"], ["a b", "12345678", "x"], None]),
    "waves": ("complex128", [[0.1, -0.0], [5e-324, 1e308], None]),
    "place": ("point", [[0.0, -90.0], [359.99999999999994, 1e-300], None]),
    "round": ("circle", [[10.0, -20.0, 0.001], None]),
    "outline": ("polygon", [[1.0, 2.0, 3.0, 2.0, 2.0, 4.0], [0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0], None]),
    "span": ("interval", [[-INF, 5.5], [1.0, 2.0], None]),
    "cover": ("moc", ["3/5 4/100-103 29/", "0/0-11", None]),
}  # fmt: skip
RANDOM = 60


def build_all_values() -> Rows:
    """Give the values above, each type's in turn, then some of random bits."""
    rows = max(len(values) for _, values in TYPES.values())
    found: Rows = {name: [values[n % len(values)] for n in range(rows)] for name, (_, values) in TYPES.items()}
    made = np.random.default_rng(1576)
    for name, (_, values) in TYPES.items():
        found[name] += [values[n] for n in made.integers(0, len(values), RANDOM)]
    for name, letter in (
        ("short", "i2"),
        ("whole", "i4"),
        ("long", "i8"),
        ("byte", "u1"),
        ("single", "f4"),
        ("twice", "f8"),
    ):
        found[name][rows:] = np.frombuffer(made.bytes(RANDOM * int(letter[1])), letter).tolist()
    letters = [chr(c) for c in made.integers(0x20, 0xD7FF, RANDOM * 6) if chr(c).isprintable()]
    found["written"][rows:] = ["".join(letters[n * 5 : n * 5 + 5]) for n in range(RANDOM)]
    found["time"][rows:] = [
        dt.datetime(1, 1, 1) + dt.timedelta(microseconds=int(n))
        for n in made.integers(0, 315_537_897_599_999_999, RANDOM)
    ]
    return {"id": list(range(rows + RANDOM)), **found}


EVERY = build_all_values()
MADE = """CASE WHEN "twice" IS NULL THEN CAST('NaN' AS DOUBLE PRECISION) ELSE "twice" END AS "made\""""
COLUMNS = [
    Column(name="id", type=parse_type("int32")),
    *(Column(name=name, type=parse_type(word)) for name, (word, _) in TYPES.items()),
]


# what must come: in the database NaN is null (docs/explained/storage.md); a computed NaN is one
EXPECTED: Rows = {
    **{
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        for name, values in EVERY.items()
    },
    "made": [NAN if value is None else value for value in EVERY["twice"]],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keeper: SiteEngine) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("roundtrip") / "site"
    run_hven("init", directory)
    table = Table(schema="every", name="main", columns=tuple(COLUMNS))
    rows = pa.table([pa.array(EVERY[column.name], column.type.arrow) for column in COLUMNS], names=list(EVERY))
    keeper.write_settings(directory)
    with open_tiny_site(directory, {"every.main": (table, rows)}, **keeper.read_options(directory)):
        pass
    with serve_site(directory) as made:
        yield made


# --- readers: a document, and where a file may lie -> the columns' values ------------------------------------------


def by_astropy_votable(data: bytes, _: Path) -> Rows:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = parse(io.BytesIO(data)).get_first_table().array
    return {name: to_python_values(array[name]) for name in array.dtype.names}


def to_python_values(column: Any) -> list[Any]:
    """Give a column of astropy's as Python has it; an array counts as null if all of it is masked."""
    found = []
    for value, mask in zip(np.ma.getdata(column), np.ma.getmaskarray(column), strict=True):
        gone = bool(np.all([np.all(part) for part in np.atleast_1d(mask)]))
        found.append(None if gone or value is None else plain(value))
    return found


def plain(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "fc":
        value = value.filled(NAN)  # as which astropy knows null there
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def by_astropy_fits(data: bytes, _: Path) -> Rows:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Astropy.read(io.BytesIO(data), format="fits", hdu=1, character_as_bytes=False)
    return {name: to_python_values(table[name]) for name in table.colnames}


def by_astropy_csv(data: bytes, _: Path) -> Rows:
    table = tabular.read(
        data.decode(), format="csv", guess=False, fill_values=[("", "0")], converters={"*": str}, fast_reader=False
    )
    return {name: to_python_values(table[name]) for name in table.colnames}


def by_astropy_tsv(data: bytes, _: Path) -> Rows:
    table = tabular.read(
        data.decode(),
        format="tab",
        guess=False,
        fill_values=[("", "0")],
        converters={"*": str},
        fast_reader=False,
        quotechar="\0",
    )
    return {name: to_python_values(table[name]) for name in table.colnames}


def by_pyarrow_csv(data: bytes, _: Path) -> Rows:
    said = pacsv.ConvertOptions(
        column_types=dict.fromkeys(EXPECTED, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pacsv.read_csv(
        io.BytesIO(data), parse_options=pacsv.ParseOptions(newlines_in_values=True), convert_options=said
    ).to_pydict()


def by_pyarrow_tsv(data: bytes, _: Path) -> Rows:
    said = pacsv.ConvertOptions(
        column_types=dict.fromkeys(EXPECTED, pa.string()), null_values=[""], strings_can_be_null=True
    )
    return pacsv.read_csv(
        io.BytesIO(data), parse_options=pacsv.ParseOptions(delimiter="\t", quote_char=False), convert_options=said
    ).to_pydict()


def by_python_csv(data: bytes, _: Path) -> Rows:
    head, *lines = csv.reader(io.StringIO(data.decode(), newline=""))
    return {name: [line[n] or None for line in lines] for n, name in enumerate(head)}


def by_python_json(data: bytes, _: Path) -> Rows:
    def refuse(word: str) -> object:
        raise AssertionError(word)  # NaN and Infinity are no JSON (RFC 8259)

    found = json.loads(data, parse_constant=refuse)
    return {field["name"]: [line[n] for line in found["data"]] for n, field in enumerate(found["metadata"])}


def by_pyarrow_parquet(data: bytes, _: Path) -> Rows:
    return pq.read_table(io.BytesIO(data)).to_pydict()


def by_pyarrow_arrow(data: bytes, _: Path) -> Rows:
    return pa.ipc.open_stream(data).read_all().to_pydict()


def read_with_stilts(data: bytes, place: Path, ifmt: str) -> Rows:
    """STILTS copies it to TABLEDATA, which is read cell by cell: no reader of ours or astropy's comes between."""
    from lxml import etree

    (place / "in").write_bytes(data)
    run_stilts("tcopy", f"in={place / 'in'}", f"ifmt={ifmt}", f"out={place / 'out'}", "ofmt=votable-tabledata")
    tree = etree.parse(place / "out", etree.XMLParser(huge_tree=True))
    ns = {"v": tree.getroot().nsmap[None]}
    rows = [[cell.text or None for cell in row] for row in tree.iterfind(".//v:TR", ns)]
    return {
        field.get("name"): [cell_of(row[n], field) for row in rows]
        for n, field in enumerate(tree.iterfind(".//v:FIELD", ns))
    }


def cell_of(text: str | None, field: Any) -> Any:
    """Take an array of strings apart, which has no separators (VOTable 1.4 section 2.2)."""
    width, by, _ = (field.get("arraysize") or "").partition("x")
    if text is None or not by or "har" not in field.get("datatype"):
        return text
    return [text[at : at + int(width)] for at in range(0, len(text), int(width))]


def by_stilts_csv(data: bytes, place: Path) -> Rows:
    """Read as STILTS 3.4 does, which takes bytes for Latin letters."""
    found = read_with_stilts(data, place, "csv")
    return {
        name: [None if text is None else text.encode("latin-1").decode() for text in texts]
        for name, texts in found.items()
    }


def build_stilts_reader(ifmt: str) -> Callable[[bytes, Path], Rows]:
    return lambda data, place: read_with_stilts(data, place, ifmt)


# --- comparison ---------------------------------------------------------------------------------------------------


def number(text: Any) -> float:
    return (
        float({"Infinity": "inf", "-Infinity": "-inf", "+Inf": "inf", "-Inf": "-inf"}.get(text, text))
        if isinstance(text, str)
        else float(text)
    )


def is_same_number(sent: float, found: Any, kind: str) -> bool:
    if found is None:
        return False
    value = number(found)
    if kind.startswith(("float32", "complex64")):
        value = single(value)
    return (math.isnan(sent) and math.isnan(value)) or (
        sent == value and math.copysign(1, sent) == math.copysign(1, value)
    )


def parts(found: Any) -> list[Any]:
    """Take an array apart: a list, numbers with blanks between, or a JSON list of strings."""
    if isinstance(found, str):
        return json.loads(found) if found.startswith("[") else found.split()
    if isinstance(found, complex):
        return [found.real, found.imag]
    if np.ndim(found) == 0:
        return [found]
    return [item for part in found for item in (parts(part) if isinstance(part, (list, complex)) else [part])]


def truth(found: Any) -> bool:
    return found.strip().lower() in {"true", "t", "1"} if isinstance(found, str) else bool(found)


def is_same_value(sent: Any, found: Any, kind: str) -> bool:
    if kind.startswith(("bool", "bit")):
        return [truth(part) for part in parts(found)] == sent if isinstance(sent, list) else truth(found) is sent
    if isinstance(sent, list) and isinstance(sent[0], str):
        return [part.rstrip() for part in parts(found)] == sent
    if isinstance(sent, list):
        said = parts(found)
        if isinstance(sent[0], int):
            return [int(part) for part in said] == sent
        return len(said) == len(sent) and all(
            is_same_number(one, other, kind) for one, other in zip(sent, said, strict=True)
        )
    if isinstance(sent, dt.datetime):
        text = found.isoformat() if isinstance(found, dt.datetime) else str(found)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", text), text  # DALI 1.1 section 3.3.3
        return dt.datetime.fromisoformat(text) == sent
    if isinstance(sent, float):
        return is_same_number(sent, found, kind)
    if isinstance(sent, int):
        return not isinstance(found, float) and int(found) == sent
    return str(found) == sent


ARRAYS = {"complex64", "complex128", "point", "circle", "polygon", "interval"}


def is_known_loss(sent: Any, found: Any, kind: str, losses: frozenset[str]) -> bool:
    """Whether a pair of format and reader, which is known to be unable to tell some things apart, has taken one for the other."""
    nothing = (
        found is None
        or found in ("", [])
        or (isinstance(found, list) and all(part is None or str(part) == "nan" for part in found))
    )
    texts = isinstance(sent, str) and isinstance(found, (str, type(None)))
    text = found or ""
    sent = flat(sent)
    arrays = isinstance(sent, list) and isinstance(sent[0], float)
    as_null = (
        nothing
        or all(str(part).lower() == "nan" or not part for part in parts(found))
        or len(set(map(str, parts(found)))) == 1
    )
    return any(
        (
            "empty" in losses and sent in ("", None) and nothing,
            "blank" in losses and texts and sent.strip() == text.strip(),
            "nan" in losses and isinstance(sent, float) and math.isnan(sent) and nothing,
            "nan" in losses and sent is None and str(found).lower() == "nan",
            "inf" in losses and isinstance(sent, float) and math.isinf(sent) and nothing,
            "inside" in losses
            and arrays
            and all(p is None or is_same_number(one, p, kind) for one, p in zip(sent, parts(found), strict=True)),
            "null array" in losses and sent is None and ("[" in kind or kind in ARRAYS) and as_null,
            "padded" in losses
            and isinstance(found, list)
            and isinstance(sent, list)
            and [p for p in map(str.strip, map(str, found)) if p] == sent,
            "null flag" in losses and sent is None and kind in {"bool", "bit"} and not truth(found),
            "controls" in losses and texts and re.sub(r"[\t\r\n]", " ", sent) == text,
            "ascii" in losses and texts and not sent.isascii() and text.isascii() and text != "",
            "astral" in losses and texts and re.sub(r"[\U00010000-\U0010ffff]", "¿¿", sent) == text,
        )
    )


def judge(found: Rows, losses: str, leaving: tuple[str, ...] = ()) -> None:
    """Compare every value; what a format cannot tell apart is written beside its name below."""
    assert list(found) == [name for name in EXPECTED if name not in leaving]
    known = frozenset(loss for loss in losses.split(", ") if loss)
    wrong = []
    for column in [*COLUMNS, Column(name="made")]:
        if column.name in leaving:
            continue
        kind = str(column.type)
        assert len(found[column.name]) == len(EVERY["id"]), column.name
        for sent, value in zip(EXPECTED[column.name], found[column.name], strict=True):
            good = value is None if sent is None else value is not None and is_same_value(sent, value, kind)
            if not good and not is_known_loss(sent, value, kind, known):
                wrong.append((column.name, sent, value))
    assert wrong == []


# (format, reader, what the pair cannot tell apart, columns left out)
PAIRS: dict[str, tuple[str, Callable[[bytes, Path], Rows], str, tuple[str, ...]]] = {
    "votable/b2-astropy": ("votable/b2", by_astropy_votable, "empty, nan", ("names",)),
    "votable/b-astropy": ("votable/b", by_astropy_votable, "empty, nan, null array", ("names",)),
    "votable/td-astropy": ("votable/td", by_astropy_votable, "empty, blank, nan, null array", ("names",)),
    "votable/b2-stilts": ("votable/b2", build_stilts_reader("votable"), "astral, empty, nan, null array", ()),
    "votable/b-stilts": ("votable/b", build_stilts_reader("votable"), "astral, empty, nan, null array", ()),
    "votable/td-stilts": ("votable/td", build_stilts_reader("votable"), "astral, empty, nan, null array", ()),
    "csv-python": ("csv", by_python_csv, "empty", ()),
    "csv-astropy": ("csv", by_astropy_csv, "empty, blank", ()),
    "csv-pyarrow": ("csv", by_pyarrow_csv, "", ()),
    "csv-stilts": ("csv", by_stilts_csv, "empty, blank, nan, inf", ()),
    "tsv-astropy": ("tsv", by_astropy_tsv, "empty, blank, controls", ()),
    "tsv-pyarrow": ("tsv", by_pyarrow_tsv, "empty, controls", ()),
    "json-python": ("json", by_python_json, "nan, inf, inside", ()),
    "parquet-pyarrow": ("parquet", by_pyarrow_parquet, "", ()),
    "arrow-pyarrow": ("arrow", by_pyarrow_arrow, "", ()),
    "fits-astropy": ("fits", by_astropy_fits, "empty, blank, nan, null array, null flag, padded, controls, ascii", ()),
    "fits-stilts": (
        "fits",
        build_stilts_reader("fits"),
        "empty, blank, nan, null array, null flag, padded, controls, ascii",
        (),
    ),
}


FIRST = {form: pair for pair, (form, *_) in reversed(PAIRS.items())}.values()  # each format by one reader


@pytest.mark.parametrize("pair", FIRST)
def test_every_value_of_every_type_survives(server: Server, tmp_path: Path, pair: str) -> None:
    survives(server, tmp_path, pair)


@use_engines(EMBEDDED)
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in FIRST])
def test_other_readers_find_the_same(server: Server, tmp_path: Path, pair: str) -> None:
    survives(server, tmp_path, pair)


def survives(server: Server, tmp_path: Path, pair: str) -> None:
    form, reader, losses, leaving = PAIRS[pair]
    names = ", ".join([*(f'"{name}"' for name in EVERY if name not in leaving), MADE])
    status, _, body = server.post(
        "/tap/sync", LANG="ADQL", RESPONSEFORMAT=form, QUERY=f"SELECT {names} FROM every.main ORDER BY id"
    )
    assert status == 200, body[-400:]
    judge(reader(body, tmp_path), losses, leaving)


# --- any columns of any types, sent as a table and asked back

READERS: dict[str, Callable[[bytes, Path], Rows]] = {
    "parquet": by_pyarrow_parquet,
    "arrow": by_pyarrow_arrow,
    "json": by_python_json,
}


@pytest.mark.parametrize("form", READERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(made=tables(kinds=tuple(VALUES)))
def test_whatever_is_uploaded_comes_back(
    server: Server, tmp_path: Path, form: str, made: tuple[list[Column], pa.RecordBatch]
) -> None:
    columns, batch = made
    mark = "----b3"
    body = (
        b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for name, more, value in (
                ("LANG", "", b"ADQL"),
                ("QUERY", "", b"SELECT * FROM TAP_UPLOAD.t"),
                ("RESPONSEFORMAT", "", form.encode()),
                ("UPLOAD", "", b"t,param:f"),
                ("f", '; filename="f"', write_document("votable", columns, [batch])),
            )
        )
        + f"--{mark}--\r\n".encode()
    )
    status, _, answer = server.send(
        "POST", "/tap/sync", body, {"Content-Type": f"multipart/form-data; boundary={mark}"}
    )
    assert status == 200, answer[-400:]
    found = READERS[form](answer, tmp_path)
    for number, column in enumerate(columns):
        for sent, value in zip(batch.column(number).to_pylist(), found[column.name], strict=True):
            missing = sent is None or not is_shape(column, sent)
            good = (
                value is None if missing else value is not None and is_same_value(flat(sent), value, str(column.type))
            )
            assert good or is_known_loss(
                sent, value, str(column.type), frozenset({"inf", "inside"} if form == "json" else ())
            ), (
                column,
                sent,
                value,
            )


def flat(sent: Any) -> Any:
    return (
        [part for pair in sent for part in pair]
        if isinstance(sent, list) and sent and isinstance(sent[0], list)
        else sent
    )
