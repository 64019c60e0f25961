"""Plots of the answer of any query, against the query itself; and of a result that was kept in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from searched import ROWS, TABLE

from hven import formats, query
from hven.model.errors import BindError, ParamError
from hven.portal._explore import job_results as kept
from hven.portal._explore import plots
from hven.portal._explore import rows as pages
from hven.portal._explore.page_queries import Asking
from hven.portal._explore.plots import Density, Points
from hven.portal._explore.preview import first_rows
from hven.portal._explore.query_answers import answer
from hven.site import Site
from hven.site.auth._permit import ANONYMOUS, DEFAULT
from hven.testing.policies import half_hidden
from hven.testing.site import tiny_site

QUERIES = [
    'SELECT id, "size" FROM stars.main',
    'SELECT TOP 40 id, "size" * 2 FROM stars.main ORDER BY id DESC',
    'WITH few AS (SELECT id, "size" FROM stars.main WHERE id < 50) SELECT id, "size" FROM few',
    "SELECT a.id, b.id FROM stars.main AS a JOIN stars.main AS b ON a.id = b.id WHERE a.id < 30",
    'SELECT id, "size" FROM stars.main WHERE id < 20 UNION SELECT id + 1, "size" FROM stars.main WHERE id < 20',
    'SELECT id AS "Id", "size" AS "select" FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 60))',
    'SELECT target_name, COUNT(*), AVG("size") FROM stars.main GROUP BY target_name',
    'SELECT id, "size" FROM stars.main ORDER BY id OFFSET 290',
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with tiny_site(
        tmp_path_factory.mktemp("answers"), {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow))}
    ) as made:
        yield made


@pytest.fixture
def asking(site: Site) -> Asking:
    return Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())


@pytest.mark.parametrize("text", QUERIES)
def test_any_query_is_a_table_for_plots(site: Site, asking: Asking, text: str) -> None:
    with query.run(text, site=site) as result:
        rows = result.table()
    search, road = answer(text, asking)
    assert [one.name for one in search.table.columns] == rows.column_names
    assert pages.count(search, road).rows == rows.num_rows
    first, second = search.table.columns[:2]
    found = plots.points(search, [first, second], road)
    assert sorted(
        map(repr, zip(*(found.values.column(number).to_pylist() for number in (0, 1)), strict=True))
    ) == sorted(map(repr, zip(*(rows.column(number).to_pylist() for number in (0, 1)), strict=True)))
    assert set(found.keys) == {""}
    values = np.array([np.nan if one is None else float(one) for one in rows.column(1).to_pylist()])
    bins = plots.histogram(search, second, road, bins=10)
    assert bins is not None
    assert sum(bins.counts) == np.isfinite(values).sum()
    assert bins.missing == np.isnan(values).sum()
    assert (bins.low, bins.high) == (pytest.approx(np.nanmin(values)), pytest.approx(np.nanmax(values), abs=1))


def test_queries_that_differ_in_with_alone_have_answers_of_their_own(asking: Asking) -> None:
    found = []
    for most in (10, 20):
        search, road = answer(f"WITH few AS (SELECT id FROM stars.main WHERE id < {most}) SELECT id FROM few", asking)
        found.append(pages.count(search, road).rows)
    assert found == [10, 20]


def test_what_is_wrong_is_said_of_the_query_itself(asking: Asking) -> None:
    with pytest.raises(BindError, match="siez") as caught:
        answer("SELECT id, siez FROM stars.main", asking)
    assert caught.value.offset == 11


def test_only_what_the_reader_may_see_is_counted(site: Site) -> None:
    road = Asking(site=site, who=ANONYMOUS, policies=half_hidden("id"), holdings=site.current())
    search, theirs = answer('SELECT id, "size" FROM stars.main', road)
    found = plots.histogram(search, search.table.column("id"), theirs)
    assert found is not None
    assert 0 < sum(found.counts) < len(ROWS)
    assert sum(found.counts) == pages.count(search, theirs).rows


@pytest.fixture(scope="module", params=["votable", "arrow", "csv", "fits", "parquet"])
def result(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, pa.Table]:
    """Keep a result as a job does."""
    fmt, options = formats.select(request.param)
    path = tmp_path_factory.mktemp("kept") / f"result{fmt.extension}"
    with query.run('SELECT id, target_name, "size", time_min FROM stars.main ORDER BY id', site=site) as found:
        path.write_bytes(b"".join(fmt.write(query.head(found), found.batches(), found.end, options)))
    with query.run('SELECT id, target_name, "size", time_min FROM stars.main ORDER BY id', site=site) as found:
        return path, fmt.media_types[0], found.table()


def test_a_kept_result_is_drawn_as_its_query_would_be(result: tuple[Path, str, pa.Table]) -> None:
    path, media_type, rows = result
    found = first_rows(path, media_type, 1)
    assert found is not None
    columns = {one.name: one for one in found[1].columns}
    drawn = kept.histogram(path, media_type, columns["size"])
    assert drawn is not None
    size = rows.column("size").drop_null().to_numpy()
    assert sum(drawn.counts) == len(size)
    assert drawn.missing == rows.num_rows - len(size)
    assert (drawn.low, drawn.high) == (pytest.approx(size.min()), pytest.approx(size.max()))
    points = kept.points(path, media_type, [columns["id"], columns["size"], columns["target_name"]])
    assert isinstance(points, Points)
    assert points.values.column(0).to_pylist() == rows.column("id").to_pylist()
    with pytest.raises(ParamError, match="no numbers"):
        kept.histogram(path, media_type, columns["target_name"])


def test_many_rows_are_a_density(result: tuple[Path, str, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    path, media_type, rows = result
    monkeypatch.setattr(kept, "POINTS", 250)
    found = first_rows(path, media_type, 1)
    assert found is not None
    drawn = kept.points(path, media_type, [found[1].column("id"), found[1].column("size")])
    if formats.select(media_type)[0].read is None:  # the beginning is all that is looked at
        assert isinstance(drawn, Points)
        assert drawn.more
        return
    assert isinstance(drawn, Density)
    assert drawn.counts.sum() == rows.column("size").drop_null().length()
    assert drawn.box[:2] == (1, 299), "of row 0 there is no size"


def test_a_kept_result_is_written_in_other_formats(result: tuple[Path, str, pa.Table]) -> None:
    path, media_type, rows = result
    fmt, options = formats.select("csv")
    if formats.select(media_type)[0].read is None:
        with pytest.raises(ParamError, match="not written again"):
            list(kept.again(path, media_type, fmt, options))
        return
    lines = b"".join(kept.again(path, media_type, fmt, options)).decode().splitlines()
    assert lines[0].split(",") == rows.column_names
    assert len(lines) == rows.num_rows + 1
