"""MAXREC is written into texts: what is computed for a row is computed for the rows that are wanted, not for all that are scanned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.engines.duckdb.engine import DuckEngine
from hven.site import Site
from hven.testing.site import open_tiny_site

ROWS = 5000
FIRST = "SELECT AREA(CIRCLE(ra, dec, radius)) AS surface FROM s.t"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    n = np.arange(ROWS)
    rows = pa.table({"id": n, "ra": n % 360 + 0.5, "dec": n % 80 + 0.5, "radius": n % 3 + 1.0, "kind": n % 7})
    with open_tiny_site(tmp_path_factory.mktemp("limits"), {"s.t": rows}) as made:
        yield made


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that DuckDB is given."""
    found: list[str] = []
    real = DuckEngine.run_sql

    def run(self: DuckEngine, sql: str, *more: Any, **named: Any) -> Any:
        found.append(sql)
        return real(self, sql, *more, **named)

    monkeypatch.setattr(DuckEngine, "run_sql", run)
    return found


@pytest.mark.parametrize(
    ("maxrec", "limit"), [(10, 16), (15, 16), (16, 128), (1000, 1024), (7999, 8000), (8000, None), (100_000, None)]
)
def test_few_rows_are_asked_for(site: Site, texts: list[str], maxrec: int, limit: int | None) -> None:
    with query.run_query(FIRST, site=site, maxrec=maxrec) as result:
        rows = result.read_table().num_rows
        assert (rows, result.overflow) == (min(maxrec, ROWS), maxrec < ROWS)
    assert [text.rpartition(" LIMIT ")[2] for text in texts if " LIMIT " in text] == (
        [] if limit is None else [str(limit)]
    )


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        f"{FIRST} ORDER BY id DESC",
        "SELECT DISTINCT kind, AREA(CIRCLE(10, 20, kind + 1)) AS a FROM s.t",
        "SELECT kind, COUNT(*) AS n, SUM(AREA(CIRCLE(ra, dec, radius))) AS a FROM s.t GROUP BY kind ORDER BY kind",
        "SELECT TOP 12 id, AREA(CIRCLE(ra, dec, radius)) AS a FROM s.t ORDER BY id",
        f"{FIRST} ORDER BY id OFFSET 4990",
        f"{FIRST} WHERE id < 9 UNION ALL {FIRST} WHERE id > 4990",
        "WITH c AS (SELECT id, AREA(CIRCLE(ra, dec, radius)) AS a FROM s.t) SELECT a FROM c WHERE id > 4000 ORDER BY id",
    ],
)  # fmt: skip
def test_answers_are_the_first_rows_of_the_whole_ones(site: Site, text: str) -> None:
    with query.run_query(text, site=site, maxrec=100_000) as result:
        whole = result.read_table()
    for maxrec in (1, 5, 11, 12, 100):
        with query.run_query(text, site=site, maxrec=maxrec) as result:
            found = result.read_table()
            assert result.overflow == (whole.num_rows > maxrec)
        assert found.num_rows == min(maxrec, whole.num_rows)
        if "ORDER BY" in text:
            assert found.equals(whole.slice(0, maxrec))
