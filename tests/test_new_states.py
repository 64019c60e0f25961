"""A state that begins as a copy is the one that Hven makes."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import state_templates
from hven.model.errors import StorageError
from hven.site.store import _database
from hven.site.store._database import StateDatabase
from hven.site.store._state_store import StateStore


def read_rows(path):
    with closing(sqlite3.connect(path)) as found:
        mode = found.execute("PRAGMA journal_mode").fetchone()
        return [mode, *found.iterdump()]


def test_a_copied_state_is_like_a_made_one(tmp_path):
    made, copied = tmp_path / "made.sqlite", tmp_path / "copied.sqlite"
    state_templates.NewState(f"sqlite:///{made}").close()
    StateDatabase(f"sqlite:///{copied}").close()
    assert len(read_rows(made)) > 28  # tables
    assert read_rows(copied) == read_rows(made)
    assert copied.stat().st_mode == made.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied.sqlite", "made.sqlite"], "nothing else is left"


def test_what_is_there_is_opened_as_it_is(tmp_path):
    path = tmp_path / "hven.sqlite"
    StateDatabase(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as found, found:
        found.execute("UPDATE meta SET value = '7' WHERE key = 'version'")
    with closing(StateDatabase(f"sqlite:///{path}")) as state:
        assert state.check_formats_and_read_counter("version") == 7
    path.write_bytes(b"")
    with closing(StateDatabase(f"sqlite:///{path}")) as state:
        assert state.check_formats_and_read_counter("version") == 0


def test_many_threads_open_one_new_state(tmp_path):
    def open_and_turn(_number):
        with closing(StateStore(tmp_path, None)) as store, store._database.begin_write() as connection:
            _database.increment_state_version(connection)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_and_turn, range(16)))
    with closing(StateStore(tmp_path, None)) as store:
        assert store._database.check_formats_and_read_counter("version") == 16


def test_another_format_is_made_with_its_own_number(tmp_path, monkeypatch):
    monkeypatch.setattr(_database, "STATE_FORMAT", _database.STATE_FORMAT + 1)
    with closing(StateDatabase(f"sqlite:///{tmp_path / 'hven.sqlite'}")) as state:
        assert state.check_formats_and_read_counter("version") == 0


def test_where_none_can_be_made_hven_says_so(tmp_path):
    with pytest.raises(StorageError, match="cannot be"):
        StateDatabase(f"sqlite:///{tmp_path / 'nowhere' / 'hven.sqlite'}")
