"""The source kind `push`: what lies in a journal, and what came since a state of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hven.model.errors import SourceError
from hven.plugins.push import source as push
from hven.plugins.push.source import DELETED_COLUMN
from hven.sources import SourceContext
from hven.testing.source import SourceContract

COLUMNS = {"id": "int64", "time": "timestamp", "note": "string"}


class Lying:
    """The pushes of a store, in memory."""

    def __init__(self, *pieces: list[dict[str, Any]]) -> None:
        schema = push.Options(columns=COLUMNS).schema
        self._pieces = [
            pa.Table.from_pylist([{DELETED_COLUMN: False, **row} for row in rows], schema) for rows in pieces
        ]

    def find_state_name(self, table: str) -> str:
        assert table == "night.lines"
        return str(len(self._pieces))

    def read_pushed_pieces(self, table: str, since: str = "0") -> Sequence[pa.Table] | None:
        assert table == "night.lines"
        return None if since == "unknown" else self._pieces[int(since) :]


TIME = dt.datetime(2026, 11, 23, 20)
JOURNAL = Lying(
    [{"id": 2, "time": TIME, "note": "a"}, {"id": 1, "time": TIME, "note": "b"}, {"id": 3, "time": TIME, "note": "c"}],
    [{"id": 2, "time": None, "note": "again"}, {"id": 4, "time": None, "note": "é"}],
    [{"id": 1, DELETED_COLUMN: True}],
)


CONTEXT = SourceContext(table_name="night.lines", open_records=lambda _: JOURNAL, key_columns=["id"])  # type: ignore[arg-type,return-value]


class TestPushed(SourceContract):
    kind = "push"
    key = ["id"]
    has_files = False
    rows = [
        {"id": 3, "time": TIME, "note": "c"},
        {"id": 2, "time": None, "note": "again"},
        {"id": 4, "time": None, "note": "é"},
    ]

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {"columns": COLUMNS}

    def build_source_context(self, directory: Path) -> SourceContext:
        return replace(CONTEXT, directory=directory)


def open_source(**changes: Any) -> push.PushedRowSource:
    return push.PushedRowSource(push.Options(columns=COLUMNS), replace(CONTEXT, **changes))


def test_what_came_since_a_state() -> None:
    found = open_source().list_changes("1")
    assert found is not None
    assert (found.state, found.key_columns) == ("3", ("id",))
    assert found.changed_keys.to_pylist() == [{"id": 2}, {"id": 4}]
    assert found.removed_keys.to_pylist() == [{"id": 1}]
    assert [row["note"] for batch in found.rows.read_batches() for row in batch.to_pylist()] == ["again", "é"]
    assert open_source().list_changes("unknown") is None


def test_no_key_no_journal_no_type() -> None:
    with pytest.raises(SourceError, match="only into tables with a key"):
        open_source(key_columns=()).with_context(SourceContext())
    assert list(open_source(open_records=None).read_batches()) == []
    assert open_source(open_records=None).read_state_name() is None
    for said in ({"columns": {"id": "int46"}}, {"columns": COLUMNS, "ids": "idd"}, {"columns": COLUMNS, "ids": "time"}, {"columns": {"file.path": "string"}}):  # fmt: skip
        with pytest.raises(ValueError, match=r"columns|column|given"):
            push.Options(**said)
