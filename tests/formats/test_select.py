"""RESPONSEFORMAT and Accept lead to formats."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven import formats
from hven.model.errors import ParamError
from hven.model.table import Column
from hven.model.types import parse_type

CASES = [
    (None, None, "votable", "application/x-votable+xml", None),
    ("", None, "votable", "application/x-votable+xml", None),
    ("votable", "text/csv", "votable", "application/x-votable+xml", None),
    ("VOTable/TD", None, "votable", "application/x-votable+xml", "TABLEDATA"),
    ("votable/b", None, "votable", "application/x-votable+xml", "BINARY"),
    ("votable/b2", None, "votable", "application/x-votable+xml", "BINARY2"),
    (
        "application/x-votable+xml;serialization=tabledata",
        None,
        "votable",
        "application/x-votable+xml;serialization=tabledata",
        "tabledata",
    ),
    (
        "application/x-votable+xml; charset=utf-8; Serialization=BINARY2",
        None,
        "votable",
        "application/x-votable+xml; charset=utf-8; Serialization=BINARY2",
        "BINARY2",
    ),
    ("text/xml", None, "votable", "text/xml", "TABLEDATA"),
    ("csv", None, "csv", "text/csv;header=present", None),
    ("text/csv", None, "csv", "text/csv", None),
    ("csv;header=absent", None, "csv", "text/csv;header=absent", None),
    ("text/csv;q=0.5", None, "csv", "text/csv", None),
    (
        "application/x-votable xml;serialization=TABLEDATA",
        None,
        "votable",
        "application/x-votable+xml;serialization=TABLEDATA",
        "TABLEDATA",
    ),
    (None, "text/html,application/xhtml+xml,*/*;q=0.8", "votable", "application/x-votable+xml", None),
    (None, "text/csv;q=0.4, application/json", "json", "application/json", None),
    (None, "text/csv;q=0, application/fits;q=x", "votable", "application/x-votable+xml", None),
]


@pytest.mark.parametrize(("asked", "accept", "name", "media_type", "serialization"), CASES)
def test_select(asked, accept, name, media_type, serialization):
    found, options = formats.select_format(asked, accept)
    assert found.name == name
    assert options[formats.MEDIA_TYPE_OPTION] == media_type
    assert options.get("serialization") == serialization


@pytest.mark.parametrize(
    "asked",
    [
        "word",
        "application/x-votable+xml;serialization=FITS",
        "votable;serialization=",
        "a/b;c=d",
        ";",
        "votable/",
        "text/csv;header=maybe",
        "text/csv;x=\r\nX-Evil: 1",
        "text/csv;x=日",
        "text/csv;x=é",
        "text/csv;x=" + "y" * 300,
    ],
)
def test_what_is_not_known_is_refused_with_what_is(asked):
    with pytest.raises(ParamError, match=r"RESPONSEFORMAT.*use one of votable, votable/b2"):
        formats.select_format(asked)


def test_a_parameter_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(
        ParamError,
        match=r"'votable;version=1\.6'; use the options of votable \(serialization: TABLEDATA, BINARY, BINARY2; version: 1\.1, 1\.2, 1\.3, 1\.4, 1\.5; namespace: 1\.1, 1\.2, 1\.3, 1\.4, 1\.5; names: source; strings: array, json\), or use one of votable,",
    ):
        formats.select_format("votable;version=1.6")


def test_options_are_the_callers_own():
    _, options = formats.select_format("csv")
    options["header"] = "absent"
    assert "header" not in formats.select_format("csv")[1]


@pytest.mark.parametrize(
    ("asked", "lines"),
    [("text/csv;header=absent", b"1\r\n"), ("text/csv;header=present", b"n\r\n1\r\n"), ("csv", b"n\r\n1\r\n")],
)
def test_header_of_csv(asked, lines):
    found, options = formats.select_format(asked)
    head = formats.TableMetadata(columns=[Column(name="n", type=parse_type("int32"))])
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int32())], names=["n"])
    assert b"".join(found.write(head, iter([batch]), formats.ResultStatus, options)) == lines
