"""The keys `entries` and `comments`: what `hven check` says about them, and the form that follows from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.descriptor import check_descriptor
from hven.model.settings import Settings
from hven.model.types import parse_type
from hven.plugins.entries.entry_forms import EntryField, EntryValuesError, read_entry_values, to_plain_value

PUSH = "source: {kind: push, columns: {id: int64}, writers: [mia]}"
TABLE = """\
collection: bad
title: Bad calibrators
tables:
  stars:
    {source}
    {keys}
    columns: {{id: int64}}
"""


@pytest.mark.parametrize(
    ("source", "keys", "fault"),
    [
        (PUSH, "primary: id\n    entries: {}\n    comments: {}", ""),
        (PUSH, "primary: id\n    entries: {submitters: anna, warnings: block}", ""),
        (PUSH, "primary: id\n    entries: {warnings: perhaps}", "warnings"),
        (PUSH, "primary: id\n    entries: {authors: [anna]}", "submitters"),
        ("source: {kind: csv, files: a.csv}", "primary: id\n    entries: {}", "without a source `push`"),
        ("source: {kind: csv, files: a.csv}", "comments: {}", "the table has no primary key"),
    ],
)
def test_faults_of_the_keys(tmp_path: Path, source: str, keys: str, fault: str) -> None:
    path = tmp_path / "collections" / "bad" / "bad.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(TABLE.format(source=source, keys=keys))
    (path.parent / "a.csv").write_text("id\n1\n")
    faults = [one for one in check_descriptor(path, Settings(directory=tmp_path)) if one.severity == "error"]
    assert bool(faults) == bool(fault), faults
    assert all(fault in f"{one.message} {one.remedy}" for one in faults)
    assert all(one.place.line for one in faults)


FIELDS = [
    EntryField(name=name, type=parse_type(name), kind="", label="")
    for name in ("int16", "int64", "float32", "float64", "string", "boolean", "timestamp")
]


@given(number=st.integers(-(2**63), 2**63 - 1), real=st.floats(allow_nan=False, allow_infinity=False), text=st.text())
def test_values_come_back_as_they_were_entered(number: int, real: float, text: str) -> None:
    small = float(np.clip(real, -1e38, 1e38))
    text = text.replace("\0", "")
    given_texts = {"int64": str(number), "float64": repr(real), "float32": repr(small), "string": text}
    values = read_entry_values(FIELDS, given_texts)
    assert (values["int64"], values["float64"]) == (number, real)
    assert np.float32(values["float32"]) == np.float32(small)
    assert values["string"] == (text.replace("\r\n", "\n").strip() or None)
    again = read_entry_values(FIELDS, {name: str(value) for name, value in values.items() if value is not None})
    assert again == {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("int16", "70000"),
        ("int16", "1.5"),
        ("int64", "9223372036854775808"),
        ("float64", "nan"),
        ("timestamp", "2026-13-01"),
        ("boolean", "2"),
    ],
)
def test_values_that_do_not_fit(name: str, text: str) -> None:
    with pytest.raises(EntryValuesError) as caught:
        read_entry_values(FIELDS, {name: text})
    assert list(caught.value.faults) == [name]


def test_numbers_of_32_bits_are_shown_as_they_were_entered() -> None:
    assert to_plain_value(float(np.float32(0.1)), parse_type("float32")) == 0.1
