"""A sweep of another process while a staging begins: before it has a lock, and before it holds it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from engine_tables import STARS, build_sky, run_query

from hven.engines import duckdb


@pytest.mark.parametrize("step", ["directory", "lock"])
def test_a_sweep_while_a_staging_begins(tmp_path, monkeypatch, step) -> None:
    swept: list[list[str]] = []
    mkdir, flock = Path.mkdir, fcntl.flock
    own, other = (duckdb.open(tmp_path / "snapshots", memory=256 * 1024**2, threads=1) for _ in range(2))

    def sweep() -> None:
        if not swept:
            swept.append([])  # what it does itself is not watched
            swept[0] += other.remove_leftovers(set())

    def make_directory_and_sweep(path: Path, *words: object, **options: object) -> None:
        mkdir(path, *words, **options)
        if path.suffix == ".staging":
            sweep()

    def sweep_and_lock(handle: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            sweep()
        flock(handle, how)

    if step == "directory":
        monkeypatch.setattr(Path, "mkdir", make_directory_and_sweep)
    else:
        monkeypatch.setattr(fcntl, "flock", sweep_and_lock)
    writing = own.stage_snapshot(STARS, "new")
    monkeypatch.undo()
    assert swept == [["sky.stars/new.staging"]]
    assert other.remove_leftovers(set()) == []  # it is locked now
    for batch in build_sky(100).to_batches():
        writing.write(batch)
    kept = writing.finish()
    assert other.remove_leftovers(set()) == []  # it may not be published yet
    assert run_query(own, "SELECT COUNT(*) AS n FROM sky.stars", {"sky.stars": kept}).to_pylist() == [{"n": 100}]
    own.note_published_snapshot(kept)
    assert other.remove_leftovers(set()) == ["sky.stars/new"]
    own.close()
    other.close()
