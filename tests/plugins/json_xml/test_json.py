"""JSON in all its forms: what comes out is what Python's own reader finds, and what is broken is told with its place."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import tarfile
import threading

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.model.errors import SourceError
from hven.model.sky import region_files
from hven.model.sky import shape_text as shapes
from hven.plugins.json_xml import geojson_regions, json_records, json_rows
from hven.plugins.json_xml import json_source as kind
from hven.plugins.json_xml.json_cells import JsonRecordReader
from hven.sources import ROW_NUMBER_COLUMN, SourceContext
from shared import shared


class Read:
    """All of a source: rows, rejects, what was told."""

    def __init__(self, directory, files, columns=None, *, batch=131_072, wanted=None, **options):
        self.rejects, self.notes = [], []
        context = SourceContext(
            directory=directory,
            on_reject=self.rejects.append,
            on_notice=lambda told: self.notes.append(str(told)),
            batch_row_limit=batch,
            target_types=wanted or {},
        )
        self.source = kind.open(kind.Options.model_validate({"files": files, **options}), context)
        self.types = {column.name: str(column.type) for column in self.source.list_columns()}
        self.batches = list(self.source.read_batches(columns))
        self.rows = [row for one in self.batches for row in one.to_pylist()]


def put(directory, text, name="a.json"):
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def test_a_list_of_objects_within_one_record_is_reported(tmp_path):
    text = '{"a": {"n": [1], "rows": [{"x": 1}, {"x": 2}]}}'
    read = Read(tmp_path, put(tmp_path, text))
    assert len(read.rows) == 1
    assert ["although 'a.rows' is a list of objects" in note for note in read.notes] == [True]
    assert Read(tmp_path, "a.json", records=".").notes == []
    assert Read(tmp_path, "a.json", records="a.rows").rows == [{"x": 1}, {"x": 2}]


# --- forms -------------------------------------------------------------------------------------------------------

FORMS = {
    "lines": '{"a": 1}\n{"a": 2}\n',
    "lines without end": '{"a": 1}\n{"a": 2}',
    "lines with blank ones": '\n{"a": 1}\n\n  \n{"a": 2}\n\n',
    "lines of DOS": '{"a": 1}\r\n{"a": 2}\r\n',
    "records of RFC 7464": '\x1e{"a": 1}\n\x1e{"a": 2}\n',
    "after a byte order mark": '\ufeff{"a": 1}\n{"a": 2}\n',
    "documents one after the other": '{\n "a": 1\n}\n{\n "a": 2\n}\n',
    "a list": '[{"a": 1},{"a": 2}]',
    "a list in lines": '[\n{"a": 1},\n{"a": 2}\n]\n',
    "a list, indented": json.dumps([{"a": 1}, {"a": 2}], indent=2),
    "features": '{"type": "FeatureCollection", "bbox": [1, 2], "features": [{"a": 1}, {"a": 2}], "more": {"x": [1]}}',
    "hits": '{"took": 3, "hits": {"total": {"value": 2}, "hits": [{"a": 1}, {"a": 2}]}}',
    "rows with names beside": '{"fields": ["a"], "data": [[1], [2]]}',
    "named rows before their names": '{"data": [[1], [2]], "fields": [{"name": "a"}]}',
    "pandas, split": '{"columns": ["a"], "index": [5, 6], "data": [[1], [2]]}',
    "pandas, table": '{"schema": {"fields": [{"name": "a", "type": "integer"}], "primaryKey": ["a"]}, "data": [{"a": 1}, {"a": 2}]}',
    "TAP services": '{"info": [], "metadata": [{"name": "a", "datatype": "long", "values": {"x": [1]}}], "data": [[1], [2]]}',
    "HAPI": '{"parameters": [{"name": "a", "size": [1], "bins": [{"centers": [1]}]}], "data": [[1], [2]]}',
    "Datasette": '{"ok": true, "rows": [[1], [2]], "columns": ["a"]}',
    "ERDDAP": '{"table": {"columnNames": ["a"], "columnTypes": ["int"], "rows": [[1], [2]]}}',
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_seen(form, tmp_path):
    read = Read(tmp_path, put(tmp_path, FORMS[form]))
    assert read.rows == [{"a": 1}, {"a": 2}]
    assert read.rejects == []


def test_elements_of_arrays_have_types_of_their_own(tmp_path):
    text = '[["0007", 2**53, 1, true, [1, 2.5], {"k": 3}, null, "2"], ["b", 1, 2.5, false, null, null, null, "3", 4]]'
    read = Read(tmp_path, put(tmp_path, text.replace("2**53", str(2**53 + 1))), names=["id", "n"])
    first = {"id": "0007", "n": 2**53 + 1, "column_3": 1.0, "column_4": True, "column_5": [1.0, 2.5], "column_6.k": 3}
    second = {"id": "b", "n": 1, "column_3": 2.5, "column_4": False, "column_5": None, "column_6.k": None}
    assert read.rows == [
        first | {"column_7": None, "column_8": 2, "column_9": None},
        second | {"column_7": None, "column_8": 3, "column_9": 4},
    ]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_packed_files(pack, tmp_path):
    assert Read(tmp_path, put(tmp_path, pack(b'{"a": 1}\n{"a": 2}\n'), "a.jsonl.packed")).rows == [{"a": 1}, {"a": 2}]


def test_the_list_at_a_path(tmp_path):
    name = put(
        tmp_path, '{"decoy": {"rows": [9]}, "x": "[{", "result": {"n": [0], "a.b": {"rows": [{"v": 1}, {"v": 2}]}}}'
    )
    assert Read(tmp_path, name, records=["result", "a.b", "rows"]).rows == [{"v": 1}, {"v": 2}]
    with pytest.raises(
        SourceError,
        match=r"has no list 'result.rows'.*set `records` to one of decoy.rows, result.a.b.rows, result.n",
    ):
        Read(tmp_path, name, records="result.rows")
    assert Read(tmp_path, put(tmp_path, '{"features": [1, 2], "b": 3}'), records=".").rows == [
        {"features": [1, 2], "b": 3}
    ]


def test_small_files_share_batches(tmp_path):
    for number in range(300):
        put(tmp_path, json.dumps({"id": number, "x": [number]}, indent=1), f"{number:03}.json")
    read = Read(tmp_path, "*.json", ["id", ROW_NUMBER_COLUMN, "file.name", "file.stem"])
    assert len(read.batches) == 1
    assert read.rows[299] == {"id": 299, "source.row": 1, "file.name": "299.json", "file.stem": "299"}
    assert all(len(pin.sha256) == 64 for pin in read.source.list_input_versions())


# --- values ------------------------------------------------------------------------------------------------------


def test_values_are_kept_exactly(tmp_path):
    text = (
        '{"big": 9007199254740993, "huge": 123456789012345678901234567890, "low": -9223372036854775808, "x": 0.1, "e": 1e3, "t": true,'
        ' "s": "a\\u00e9\\n\\"\\ud83d\\ude00", "date": "2004-01-01T00:00:00Z", "zeros": "0006", "empty": "", "none": null, "é /~": 5}'
    )
    read = Read(tmp_path, put(tmp_path, text))
    assert read.rows == [
        {
            "big": 9007199254740993, "huge": "123456789012345678901234567890", "low": -(2**63), "x": 0.1, "e": 1000.0, "t": True,
            "s": 'aé\n"😀', "date": "2004-01-01T00:00:00Z", "zeros": "0006", "empty": None, "none": None, "é /~": 5,
        }
    ]  # fmt: skip
    assert (read.types["big"], read.types["huge"], read.types["e"]) == ("int64", "string", "float64")


def test_nested_objects_and_arrays(tmp_path):
    record = {
        "a": {"b": {"c": 1}, "b.c": 2},
        "list": [1, 2.5],
        "words": ["x", None],
        "grid": [[1, 2], [3]],
        "files": [{"name": "a", "size": 1, "sub": {"k": True}}, {"name": "b"}],
        "none": [],
        "nothing": {},
    }
    read = Read(tmp_path, put(tmp_path, json.dumps(record) + "\n" + json.dumps({"list": 7}) + "\n"))
    assert read.rows[0] == {
        "a.b.c": 1,
        "a.b.c_2": 2,
        "list": [1.0, 2.5],
        "words": ["x", None],
        "grid": "[[1,2],[3]]",
        "files": json.dumps(record["files"], separators=(",", ":")),
        "files.name": ["a", "b"],
        "files.size": [1, None],
        "files.sub.k": [True, None],
        "none": [],
        "nothing": "{}",
    }
    assert read.rows[1] == dict.fromkeys(read.rows[0]) | {"list": [7.0]}
    assert Read(tmp_path, "a.json", whole="a").rows[0]["a"] == '{"b":{"c":1},"b.c":2}'


def test_kinds_that_differ_are_widened_and_told(tmp_path):
    text = '{"n": 1, "m": 1, "o": 5, "w": [1]}\n{"n": 2.5, "m": "x", "o": {"k": 6}, "w": [1.5]}\n'
    read = Read(tmp_path, put(tmp_path, text))
    assert read.rows == [
        {"n": 1.0, "m": "1", "o": "5", "o.k": None, "w": [1.0]},
        {"n": 2.5, "m": "x", "o": '{"k":6}', "o.k": 6, "w": [1.5]},
    ]
    assert read.notes == [
        "m: it contains numbers and text, so Hven reads it as text",
        "o: it contains objects and single values, so Hven reads it as text",
    ]


def test_what_does_not_fit_is_kept_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "SAMPLE_BYTES", 40)
    lines = [{"n": 1, "l": [1]}] * 5 + [
        {"n": {"a": 1}, "l": [1]},
        {"n": "x", "l": [1]},
        {"n": 3, "l": ["y"]},
        {"n": 2**70, "l": []},
        {"n": 4.0},
    ]
    read = Read(
        tmp_path, put(tmp_path, "".join(json.dumps(line) + "\n" for line in lines)), ["n", "l", ROW_NUMBER_COLUMN]
    )
    assert [row["source.row"] for row in read.rows] == [1, 2, 3, 4, 5, 10]
    assert [(bad.row, bad.column, bad.value) for bad in read.rejects] == [
        (6, "n", 'line 6: {"a":1}'),
        (7, "n", "line 7: x"),
        (8, "l", 'line 8: ["y"]'),
        (9, "n", f"line 9: {2**70}"),
    ]
    assert "write `types: {n: string}`" in read.rejects[0].reason
    assert json.loads(read.rejects[2].text) == lines[7]
    assert Read(tmp_path, "a.json", types={"n": "string"}, wanted={}).rows[5]["n"] == '{"a":1}'
    assert [type(row["n"]) for row in Read(tmp_path, "a.json", ["n"], wanted={"n": pa.float32()}).rows] == [float] * 8


def test_keys_after_the_sample_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "SAMPLE_BYTES", 40)
    name = put(tmp_path, '{"a": 1}\n' * 30 + '{"a": 1, "late": {"x": 2.5}}\n' * 30)
    read = Read(tmp_path, name)
    assert read.notes == ["late.x: Hven does not read this key, because it was not in the sample (first: a.json)"]
    assert Read(tmp_path, name, types={"late.x": "float64"}).rows[-1] == {"a": 1, "late.x": 2.5}


# --- what is broken ----------------------------------------------------------------------------------------------


def test_a_broken_record_among_good_ones(tmp_path):
    text = '{"a": 1}\n{"a": }\n\n{"a" 2}\n{"a": 3}\n{"a": "\\x"}\n'
    read = Read(tmp_path, put(tmp_path, text), ["a", ROW_NUMBER_COLUMN])
    assert read.rows == [{"a": 1, "source.row": 1}, {"a": 3, "source.row": 4}]
    assert [(bad.row, bad.reason, bad.value.partition(":")[0], bad.text) for bad in read.rejects] == [
        (2, "not JSON", "line 2", '{"a": }'),
        (3, "not JSON", "line 4", '{"a" 2}'),
        (5, "not JSON", "line 6", '{"a": "\\x"}'),
    ]
    read = Read(tmp_path, put(tmp_path, '[\n{"a": 1},\n{"a": },\n\n {"a": 3}]'), ["a", ROW_NUMBER_COLUMN])
    assert [row["source.row"] for row in read.rows] == [1, 3]
    assert read.rejects[0].value.startswith("line 3: ")
    read = Read(tmp_path, put(tmp_path, b'{"a": "x"}\n{"a": "\xe9"}\n{"a": "z"}\n'), ["a"])
    assert ([row["a"] for row in read.rows], read.rejects[0].reason) == (["x", "z"], "not UTF-8")


def test_records_with_duplicate_keys_are_rejected(tmp_path):
    """Nobody knows which value is meant: such records are kept aside, those around them are rows; and NaN is no value."""
    lines = [
        '{"n": 1, "at": {"ra": 1.5}}',
        '{"n": 2, "n": 3, "at": {"ra": 2.5}}',
        '{"n": 4, "at": {"ra": 3.5, "x": [{"ra": 1, "ra": 2}], "ra": 4.5}}',
        '{"n": 5, "at": {"ra": NaN}, "other": {"n": 5}}',
        '{"n": 6, "at": {"ra": Infinity}}',
    ]
    for text, name in (("\n".join(lines), "a.jsonl"), (f"[{','.join(lines)}]", "a.json")):
        (tmp_path / name).write_text(text)
        found = Read(tmp_path, name, ["n", "at.ra", ROW_NUMBER_COLUMN])
        assert [(row["n"], row["at.ra"], row[ROW_NUMBER_COLUMN]) for row in found.rows] == [
            (1, 1.5, 1),
            (5, None, 4),
            (6, math.inf, 5),
        ]
        assert [(one.row, one.value.rpartition(" ")[2], one.reason) for one in found.rejects] == [
            (2, "n", "an object with a duplicate key"),
            (3, "ra", "an object with a duplicate key"),
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": 2}\n{"a": {"b": 1', r"a.json.*ends in the middle of its last record.*truncated"),
        (
            '[{"a": 1},\n{"a": 2},\n{"a"',
            r"a.json:3: the file ends in the middle of its list, in record 3; download the file again; it is truncated",
        ),
        ('[{"a": 1},\n{"a": 2}', r"ends in the middle of its list"),
        ('{"features": [{"a": 1}, {"b', r"ends in the middle of its list"),
        ('{\n"a": 1\n}\n{\n"a":', r"a.json:4: the file ends in the middle of record 2"),
        ("", r"the file is empty"),
        ("name,ra\n1,2\n", r"a.json:1: JSON begins with { or \[, not with 'name,ra'"),
        (b"\xff\xfe{\x00}\x00", r"UTF-16"),
        ("[]", r"there are no records from which Hven can determine the columns"),
    ],
)
def test_files_that_stop_midway_or_are_no_json(text, message, tmp_path):
    with pytest.raises(SourceError, match=message):
        Read(tmp_path, put(tmp_path, text))


def test_a_quote_that_never_closes_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_records, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(json_records, "BLOCK_BYTES", 200)
    with pytest.raises(SourceError, match=r"a.json:2: record 2 is longer than .*close all brackets and quotes"):
        Read(tmp_path, put(tmp_path, '[{"a": 1},\n{"a": "2},\n' + '{"a": 3},\n' * 500 + "]"))


# --- any records, any pieces -------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from('ab"\\{}[],:\n é'), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)
RECORDS = st.lists(st.fixed_dictionaries({"id": st.integers(0, 9), "v": VALUES}), min_size=1, max_size=12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(RECORDS, st.integers(1, 40), st.sampled_from(["lines", "list", "indented", "path", "stream"]))
def test_records_are_cut_right_wherever_blocks_end(tmp_path_factory, wanted, size, form):
    text = {
        "lines": "\n".join(json.dumps(one, ensure_ascii=False) for one in wanted),
        "list": json.dumps(wanted),
        "indented": json.dumps(wanted, indent=1, ensure_ascii=False),
        "path": json.dumps({"x": ["]"], "rows": wanted, "z": 1}),
        "stream": "\n".join(json.dumps(one, indent=1) for one in wanted),
    }[form]
    how = {
        "lines": json_records.JsonRecordLayout(json_records.FORM_LINES),
        "path": json_records.JsonRecordLayout(json_records.FORM_LIST, ("rows",)),
        "stream": json_records.JsonRecordLayout(json_records.FORM_WHOLE),
    }.get(form, json_records.JsonRecordLayout(json_records.FORM_LIST))
    cutter = json_records._RecordCutter(type("File", (), {"name": "a.json"})(), how)
    data = text.encode()
    found = []
    for at in range(0, len(data) + size, size):
        found += [one for part in cutter.cut_records(data[at : at + size]) for one in part.texts.to_pylist()]
        if cutter.is_over:
            break
    assert [json.loads(one) for one in found] == wanted


# --- geometries --------------------------------------------------------------------------------------------------


CONNECTION = duckdb.connect()


def region(geometry):
    found, bad, holes = geojson_regions.geometries_to_regions(
        pa.array([None if geometry is None else json.dumps(geometry)], pa.string()), CONNECTION
    )
    return found[0].as_py(), bad is not None, holes


def ring(*pairs):
    return {"type": "Polygon", "coordinates": [[list(pair) for pair in pairs]]}


@pytest.mark.parametrize(
    ("geometry", "wanted"),
    [
        ({"type": "Point", "coordinates": [-10, 5, 7]}, "point 350 5"),
        ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, "point 1 2 point 3 4"),
        (ring((0, 0), (10, 0), (10, 10), (0, 10), (0, 0)), "polygon 0 10 10 10 10 0 0 0"),
        (ring((0, 0), (0, 10), (10, 10), (10, 0), (0, 0)), "polygon 0 0 0 10 10 10 10 0"),  # turned already
        # not closed, one twice
        (ring((0, 0, 5), (0, 10, 5), (10, 10, 5), (10, 10, 5), (10, 0, 5)), "polygon 0 0 0 10 10 10 10 0"),
        (ring((170, 0), (190, 0), (190, 10), (170, 10), (170, 0)), "polygon 170 10 190 10 190 0 170 0"),
        (ring((170, 0), (-170, 0), (-170, 10), (170, 10), (170, 0)), "polygon 170 10 190 10 190 0 170 0"),
        (ring((-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90)), "range 0 360 -90 90"),
        (ring((-100, -10), (100, -10), (100, 10), (-100, 10), (-100, -10)), "range 260 100 -10 10"),
        (ring((0, 80), (20, 80), (20, 90), (0, 90), (0, 80)), "range 0 20 80 90"),
        (ring((0, 80), (90, 80), (180, 80), (-90, 80), (0, 80)), "polygon 0 80 90 80 180 80 270 80"),  # round the pole
        (
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[170, 0], [180, 0], [180, 9], [170, 9], [170, 0]]],
                    [[[-180, 0], [-175, 0], [-175, 9], [-180, 9], [-180, 0]]],
                ],
            },
            "polygon 170 9 180 9 180 0 170 0 polygon 180 9 185 9 185 0 180 0",
        ),
        (None, None),
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, None),
    ],
)
def test_geometries_become_regions(geometry, wanted):
    assert region(geometry) == (wanted, False, 0)
    if wanted:
        shapes.parse_dali_shape("multishape", wanted)


@pytest.mark.parametrize(
    "geometry",
    [
        ring(),
        ring((0, 0), (10, 0), (0, 0)),
        ring((0, 0), (10, 0), (5, 91), (0, 0)),
        {"type": "Polygon", "coordinates": "x"},
        {"type": "Point", "coordinates": [1]},
        {"type": "Point", "coordinates": [1, "y"]},
        {"type": "Circle", "coordinates": [1, 2]},
        {"type": "Polygon"},
    ],
)
def test_what_is_no_geometry_is_bad(geometry):
    assert region(geometry) == (None, True, 0)


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), st.floats(-70, 70), st.lists(st.floats(0.5, 15), min_size=3, max_size=9), st.booleans())
def test_polygons_cover_what_they_covered(lon, lat, radii, turned):
    import math

    corners = [
        (
            lon + r * math.cos(2 * math.pi * n / len(radii)) / math.cos(math.radians(lat)),
            lat + r * math.sin(2 * math.pi * n / len(radii)),
        )
        for n, r in enumerate(radii)
    ]
    corners = corners[::-1] if turned else corners
    found, bad, _ = region(ring(*corners, corners[0]))
    assert not bad
    smaller, dali = (
        shapes.parse_dali_shape("multishape", found),
        shapes.parse_dali_shape("multishape", found, side="dali"),
    )
    # the way round says the same side as the smaller area
    assert smaller.compute_area() == pytest.approx(dali.compute_area(), rel=1e-9)


def test_boxes_stand_for_geometries_that_are_not_there(tmp_path):
    features = [
        {"id": 1, "geometry": {"type": "Point", "coordinates": [1, 2]}, "bbox": [0, 0, 1, 1]},
        {"id": 2, "geometry": None, "bbox": [170, -5, -170, 5]},
        {
            "id": 3,
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 1]]],
            },
        },
        {"id": 4, "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}},
        {"id": 5, "geometry": {"type": "Point", "coordinates": [0, 99]}},
    ]
    read = Read(tmp_path, put(tmp_path, json.dumps({"type": "FeatureCollection", "features": features})))
    assert read.types["geometry"] == "multishape"
    assert [row["geometry"] for row in read.rows] == ["point 1 2", "range 170 190 -5 5", "polygon 9 9 9 0 0 0", None]
    assert [(bad.row, bad.reason.partition(";")[0]) for bad in read.rejects] == [(5, "not a GeoJSON geometry")]
    assert any("holes" in note for note in read.notes)
    assert any("lines" in note for note in read.notes)


# --- real files --------------------------------------------------------------------------------------------------


def unpack_files(name, directory, match):
    with tarfile.open(shared(f"data/planetary/psup/{name}")) as archive:
        for member in archive:
            if member.isfile() and match(member.name):
                target = directory / member.name.replace("/", "_")
                target.write_bytes(archive.extractfile(member).read())


FRAME = {"type": "name", "properties": {"name": "urn:ogc:def:crs:IAU:2015:49901"}}  # Mars: to the west, planetographic
RING = [[10, 20], [20, 20], [20, 30], [10, 30], [10, 20]]


def centric(lat):
    return math.degrees(math.atan(math.tan(math.radians(lat)) * (3376.20 / 3396.19) ** 2))


@pytest.mark.parametrize("behind", [False, True])
def test_a_document_says_the_frame_of_its_geometries(behind, tmp_path):
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING]}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [30, -40]}},
        {"type": "Feature", "geometry": None, "bbox": [350, -10, 370, 10]},
        # its own frame is nearer
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [30, -40], "crs": "IAU_2015:49900"}},
    ]
    members = [("type", "FeatureCollection"), ("crs", FRAME), ("features", features)]
    document = dict(members if not behind else [members[0], *members[:0:-1]])
    found = Read(tmp_path, put(tmp_path, json.dumps(document)))
    kinds, numbers = zip(*((words[0], [*map(float, words[1:])]) for words in (row["geometry"].split() for row in found.rows)), strict=True)  # fmt: skip
    assert kinds == ("polygon", "point", "range", "point")
    assert sorted(numbers[0][::2]) == pytest.approx([340, 340, 350, 350])
    assert sorted(numbers[0][1::2]) == pytest.approx([centric(lat) for lat in (20, 20, 30, 30)])
    assert numbers[1] == pytest.approx([330, centric(-40)])
    assert numbers[2] == pytest.approx([350, 10, centric(-10), centric(10)])
    assert numbers[3] == [30, -40]
    assert found.rows[2]["bbox"] == pytest.approx([-370, centric(-10), -350, centric(10)])
    assert ["49901" in note for note in found.notes if note.startswith("geometry:")] == [True]
    # as text, for geojson_contour, it goes with each geometry, once
    text = Read(tmp_path, "a.json", whole=["geometry"]).rows[0]["geometry"]
    documents = {
        "type": "FeatureCollection",
        "features": [{"geometry": (geometry := json.loads(text)), "crs": geometry["crs"]}],
    }
    east = region_files.parse_geojson(documents, west_positive=False).regions
    assert east.compute_bounding_boxes() == pytest.approx(
        np.array([[340.0], [350.0], [centric(20)], [centric(30)]]), abs=0.2
    )
    assert region_files.parse_geojson(documents, west_positive=True).regions == east
    assert "crs" not in Read(tmp_path, "a.json", whole=["geometry"]).rows[3]["geometry"][:9]


def test_records_of_their_own_say_their_frame_and_unknown_ones_are_told(tmp_path):
    one = {"type": "Feature", "crs": FRAME, "geometry": {"type": "Point", "coordinates": [30, 0]}}
    other = one | {"crs": "EPSG:2154"}
    found = Read(tmp_path, put(tmp_path, "\n".join(map(json.dumps, (one, other, one | {"crs": None})))))
    assert [row["geometry"] for row in found.rows] == ["point 330 0", "point 30 0", "point 30 0"]
    told = [note for note in found.notes if note.startswith("geometry:")]
    assert sorted("EPSG:2154" in note and "unknown crs" in note for note in told) == [False, True]


def test_omega_cubes_of_psup(tmp_path):
    unpack_files(
        "omega_catalogs.tar.xz", tmp_path, lambda name: "omega_data_cubes/0" in name and name.endswith(".json")
    )
    items = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    read = Read(tmp_path, "*.json")
    assert len(read.rows) == len(items) == 10
    for row, item in zip(read.rows, items, strict=True):
        assert row["properties.orbit_number"] == item["properties"]["orbit_number"]
        assert row["properties.solar_longitude"] == item["properties"]["solar_longitude"]
        assert row["assets.nc.href"] == item["assets"]["nc"]["href"]
        assert row["links.rel"] == [link["rel"] for link in item["links"]]
        shape = shapes.parse_dali_shape("multishape", row["geometry"])
        middle = [sum(values) / 2 for values in (item["bbox"][::2], item["bbox"][1::2])]
        assert shape.contains([middle[0]], [middle[1]]).all()


def test_craters_of_psup(tmp_path):
    unpack_files("ias_costard_craters.tar.xz", tmp_path, lambda name: name.endswith("7.json"))
    read = Read(tmp_path, "*.json", ["geometry", "properties.lat", "properties.lon_earth", "file.path"])
    assert len(read.rows) == 256
    assert read.rejects == []
    for row in read.rows:
        [point] = shapes.parse_dali_shape("multishape", row["geometry"]).parts
        assert (point.lon, point.lat) == (
            pytest.approx(row["properties.lon_earth"] % 360, abs=1e-9),
            row["properties.lat"],
        )


def test_orbits_of_asteroids_have_their_names_beside(tmp_path):
    path = shared("data/planetary/asteroids_sbdb.json.gz")
    whole = json.loads(gzip.decompress(path.read_bytes()))
    read = Read(path.parent, path.name, types={"e": "float64", "a": "float64"})
    assert list(read.types) == whole["fields"]
    assert len(read.rows) == len(whole["data"]) == 7099
    assert [row["e"] for row in read.rows] == [float(row[whole["fields"].index("e")]) for row in whole["data"]]


def test_polygons_in_time_and_frequency_are_no_regions():
    path = shared("data/radio/tfcat/cassini_rpws_fr_patches.tfcat.json")
    read = Read(path.parent, path.name)
    features = json.loads(path.read_text())["features"]
    assert [json.loads(row["geometry.coordinates"]) for row in read.rows] == [
        one["geometry"]["coordinates"] for one in features
    ]
    assert [row["properties.quality"] for row in read.rows] == [one["properties"]["quality"] for one in features]


def test_emissions_of_jupiter_in_lines():
    path = shared("data/radio/tfcat/juno_waves_jovian_emissions_2016100-2017365.jsonl.gz")
    with gzip.open(path, "rt") as file:
        wanted = [json.loads(line) for line in file]
    assert [row["x"] for row in Read(path.parent, path.name, ["x"]).rows] == [one["x"] for one in wanted]


def test_who_leaves_early_waits_for_what_is_being_read(tmp_path, monkeypatch):
    """DuckDB waits for ever where a connection is closed while one of its threads asks."""
    for n in range(9):
        put(tmp_path, f'{{"a": {n}}}', f"{n}.json")
    source = kind.open(kind.Options(files="*.json"), SourceContext(directory=tmp_path, batch_row_limit=1))
    parse, leave = JsonRecordReader.parse_records, JsonRecordReader.__exit__
    begun, left = threading.Event(), threading.Event()
    started, done, early = [], [], []

    def parse_slowly(self, group):
        started.append(group)
        if group[0][0].name != "0.json":  # one that nobody wants any more
            begun.set()
            left.wait(0.3)
        found = parse(self, group)
        done.append(group)
        return found

    def leaves(self, *given):
        early.append(len(started) - len(done))
        left.set()
        return leave(self, *given)

    monkeypatch.setattr(JsonRecordReader, "parse_records", parse_slowly)
    monkeypatch.setattr(JsonRecordReader, "__exit__", leaves)
    rows = source.read_batches()
    assert next(rows).to_pylist() == [{"a": 0}]
    assert begun.wait(10)
    rows.close()
    assert early == [0]
    assert len(done) == len(started) < 9
