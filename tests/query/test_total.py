"""The number of rows that is told before a query runs is the number that come, or it is not told."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from hven import query
from hven.model.settings import QueryLimits
from hven.model.table import Column, Table
from hven.model.types import INT64
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

KNOWN = {
    "SELECT x FROM s.t": 1000,
    "SELECT x + 1 AS y, x FROM s.t ORDER BY x DESC": 1000,
    "SELECT TOP 7 x FROM s.t": 7,
    "SELECT TOP 8 x FROM s.t": 8,
    "SELECT TOP 5000 x FROM s.t": 1000,
    "SELECT x FROM s.t OFFSET 990": 10,
    "SELECT TOP 15 x FROM s.t ORDER BY x OFFSET 990": 10,
    "SELECT x FROM s.t OFFSET 2000": 0,
    "SELECT q.x FROM (SELECT TOP 20 x FROM s.t) AS q": 20,
    "SELECT TOP 3 q.x FROM (SELECT x FROM s.t) AS q": 3,
    "SELECT x FROM s.t WHERE x > 5": None,
    "SELECT DISTINCT x FROM s.t": None,
    "SELECT x, COUNT(*) AS n FROM s.t GROUP BY x": None,
    "SELECT COUNT(*) AS n FROM s.t": None,
    "SELECT MAX(x) - MIN(x) AS n FROM s.t": None,
    "SELECT COUNT(*) AS n FROM s.t HAVING COUNT(*) > 5": None,
    "SELECT a.x FROM s.t AS a, s.t AS b WHERE a.x = b.x": None,
    "SELECT a.x FROM s.t AS a JOIN s.t AS b ON a.x = b.x": None,
    "SELECT x FROM s.t UNION SELECT x FROM s.t": None,
    "WITH q AS (SELECT TOP 3 x FROM s.t) SELECT x FROM q": None,
    "SELECT 1 AS one": None,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    limits = QueryLimits(maxrec_hard=900)
    with open_tiny_site(
        tmp_path_factory.mktemp("total"), {"s.t": pa.table({"x": pa.array(range(1000), pa.int64())})}, limits=limits
    ) as made:
        yield made


@pytest.mark.parametrize("text", KNOWN)
@pytest.mark.parametrize("most", [900, 5, 5000])
def test_what_is_told_is_what_comes(site: Site, text: str, most: int) -> None:
    with query.run_query(text, site=site, maxrec=10_000, hard_row_limit=most) as result:
        told = result.total_row_count
        rows = sum(batch.num_rows for batch in result.iterate_batches())
    expected = KNOWN[text]
    assert told == (None if expected is None else min(expected, most))
    assert told in {None, rows}


def test_uploads_are_counted_and_maxrec_0_is_not(site: Site) -> None:
    mine = Table(schema="TAP_UPLOAD", name="u", columns=(Column(name="k", type=INT64),))
    uploads = {mine.qualified_name: (mine, pa.table({"k": pa.array([1, 2, 3], pa.int64())}))}
    with query.run_query("SELECT k FROM TAP_UPLOAD.u AS u", site=site, uploads=uploads) as result:
        assert result.total_row_count == 3
    with query.run_query("SELECT x FROM s.t", site=site, maxrec=0) as result:
        assert result.total_row_count is None


def test_hidden_rows_are_not_told_of(site: Site) -> None:
    with query.run_query("SELECT x FROM s.t", site=site, policies=build_odd_rows_hidden_policies("x")) as result:
        assert result.total_row_count is None
