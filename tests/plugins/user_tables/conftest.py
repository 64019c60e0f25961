"""A served site for each engine, as for all external clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage_engines import DEFAULT_ENGINES, SiteEngine, open_engine


@pytest.fixture(scope="session", params=DEFAULT_ENGINES)
def keeper(request: pytest.FixtureRequest) -> Iterator[SiteEngine]:
    """Give the engine that stores the rows of collections; users' tables are in the embedded one."""
    with open_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="session", autouse=True)
def long_pyvo_timeout() -> None:
    """Let pyvo wait for a busy machine: by default it stops polling a job after ten seconds."""
    import pyvo.dal.tap

    pyvo.dal.tap.DEFAULT_JOB_POLL_TIMEOUT = 60
