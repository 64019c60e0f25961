"""One engine and one sky for all tests of engines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    from hven.engines import duckdb

    opened = duckdb.open(tmp_path_factory.mktemp("snapshots"), memory=512 * 1024**2, threads=2)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def relations(engine):
    from engine_tables import CIRCLES, STARS, build_circles, build_sky, stage_table
    from relations import Relations

    from hven.engines import MemoryRelation

    # more than ten thousand rows: then a road through an index is not open to every condition
    return Relations(
        {
            "sky.stars": stage_table(engine, STARS, build_sky(13_000)),
            CIRCLES.qualified_name: MemoryRelation(build_circles(60)),
        }
    )
