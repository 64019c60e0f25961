"""Numbers that JSON writes as texts, as Socrata's services do: the same rule as for delimited text."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from hven.model import DeviationKind
from hven.plugins.json_xml import json_source
from hven.sources import SourceContext, csv

ROWS = [
    {"mass": "21", "recl": "6.08333", "id": "00042", "big": str(2**63), "year": "1880", "name": "Aachen", "gap": "7", "mixed": 1, "odd": "1"},
    {"mass": "720", "recl": "-2.5e1", "id": "00007", "big": "1", "year": "1951-01-01", "name": "12", "gap": "", "mixed": "2.5", "odd": True},
    {"mass": "+3", "recl": "1", "id": "12345", "big": "2", "year": "1952", "name": "13", "gap": None, "mixed": "NaN", "odd": "1"},
]  # fmt: skip
NUMBERS = {"mass": "int64", "recl": "float64", "gap": "int64", "mixed": "float64"}


def open_rows(tmp_path, rows, tell=None, **options):
    (tmp_path / "a.json").write_text(json.dumps(rows))
    options = json_source.Options.model_validate({"files": "a.json", **options})
    return json_source.open(options, SourceContext(directory=tmp_path, on_notice=tell))


def test_texts_that_are_all_numbers_are_numbers(tmp_path):
    told = []
    source = open_rows(tmp_path, ROWS, told.append)
    kinds = {column.name: str(column.type) for column in source.list_columns()}
    assert kinds == {name: NUMBERS.get(name, "string") for name in ROWS[0]}
    found = pa.Table.from_batches(list(source.read_batches())).to_pydict()
    assert found["mass"] == [21, 720, 3]
    assert found["recl"] == [6.08333, -25.0, 1.0]
    assert found["gap"] == [7, None, None]
    assert found["mixed"] == [1.0, 2.5, None]
    assert found["id"] == ["00042", "00007", "12345"]
    said = {one.column: str(one) for one in told if one.kind is DeviationKind.TYPE and "are in quotes" in one.message}
    assert said.keys() == NUMBERS.keys()


def test_the_same_rows_as_delimited_text_have_the_same_types(tmp_path):
    names = ["mass", "recl", "id", "big", "year", "name", "gap"]
    lines = [",".join(names), *(",".join(row[name] or "" for name in names) for row in ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    theirs = csv.open(csv.Options(files=["a.csv"]), SourceContext(directory=tmp_path)).list_columns()
    ours = open_rows(tmp_path, ROWS).list_columns()
    assert {one.name: str(one.type) for one in ours if one.name in names} == {one.name: str(one.type) for one in theirs}


def test_what_is_said_to_be_text_stays_text(tmp_path):
    told = []
    source = open_rows(tmp_path, ROWS, told.append, types={"mass": "string"})
    assert pa.Table.from_batches(list(source.read_batches(["mass"]))).to_pydict()["mass"] == ["21", "720", "+3"]
    assert "mass" not in {one.column for one in told}


@pytest.mark.parametrize("value", ["x", "1,5", "12 m"])
def test_a_later_text_that_is_no_number_rejects_its_row_with_a_hint(tmp_path, value):
    rows = [{"n": number, "mass": str(number)} for number in range(60_000)]
    rows[-1]["mass"] = value
    (tmp_path / "a.json").write_text(json.dumps(rows))
    rejects = []
    context = SourceContext(directory=tmp_path, on_reject=rejects.append)
    source = json_source.open(json_source.Options(files=["a.json"]), context)
    if str(source.list_columns()[1].type) == "int64":  # the sample did not reach it
        assert sum(batch.num_rows for batch in source.read_batches()) == 59_999
        assert "write types: {mass: string}" in rejects[0].reason
    else:
        assert sum(batch.num_rows for batch in source.read_batches()) == 60_000
