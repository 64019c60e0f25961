"""Run the tests of jobs with a system store on PostgreSQL: load a test module again, and empty the database."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from hven.jobs.job_supervisor import JobSupervisor
from hven.site.store import _database as db


def load_module(path: Path) -> ModuleType:
    """Load a test module again, under another name."""
    found = importlib.util.spec_from_file_location(f"{path.stem}_again", path)
    assert found is not None
    assert found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


def drop_all_tables(address: str) -> str:
    """Drop all tables of a store."""
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        db.metadata.drop_all(connection)
    engine.dispose()
    return address


@contextlib.contextmanager
def close_supervisors(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Iterator[None]:
    """Close the stores of the job supervisors that the tests of a module create."""
    made: list[JobSupervisor] = []

    def create_supervisor(*words: Any, **options: Any) -> JobSupervisor:
        made.append(JobSupervisor(*words, **options))
        return made[-1]

    monkeypatch.setattr(module, "JobSupervisor", create_supervisor)
    yield
    for one in made:
        if one._store is not None:
            one._store.close()
