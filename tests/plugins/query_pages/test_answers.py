"""Plots of the answer of any query, against the query itself; and of a result that was kept in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from search_table import ROWS, TABLE

from hven import formats, query
from hven.model.errors import BindError, ParamError
from hven.plugins.query_pages import job_results
from hven.plugins.query_pages.file_preview import read_first_rows
from hven.plugins.query_pages.query_answers import build_answer_search
from hven.portal._explore import plots, row_pages
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.plots import DensityGrid, PlotPoints
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

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
    with open_tiny_site(
        tmp_path_factory.mktemp("answers"),
        {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))},
    ) as made:
        yield made


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


@pytest.mark.parametrize("text", QUERIES)
def test_any_query_is_a_table_for_plots(site: Site, asking: QueryRunner, text: str) -> None:
    with query.run_query(text, site=site) as result:
        rows = result.read_table()
    search, road = build_answer_search(text, asking)
    assert [one.name for one in search.table.columns] == rows.column_names
    assert row_pages.count_rows(search, road).rows == rows.num_rows
    first, second = search.table.columns[:2]
    found = plots.fetch_plot_points(search, [first, second], road)
    assert sorted(
        map(repr, zip(*(found.values.column(number).to_pylist() for number in (0, 1)), strict=True))
    ) == sorted(map(repr, zip(*(rows.column(number).to_pylist() for number in (0, 1)), strict=True)))
    assert set(found.keys) == {""}
    values = np.array([np.nan if one is None else float(one) for one in rows.column(1).to_pylist()])
    bins = plots.build_histogram(search, second, road, bin_count=10)
    assert bins is not None
    assert sum(bins.counts) == np.isfinite(values).sum()
    assert bins.missing_count == np.isnan(values).sum()
    assert (bins.low, bins.high) == (pytest.approx(np.nanmin(values)), pytest.approx(np.nanmax(values), abs=1))


def test_queries_that_differ_in_with_alone_have_answers_of_their_own(asking: QueryRunner) -> None:
    found = []
    for most in (10, 20):
        search, road = build_answer_search(
            f"WITH few AS (SELECT id FROM stars.main WHERE id < {most}) SELECT id FROM few", asking
        )
        found.append(row_pages.count_rows(search, road).rows)
    assert found == [10, 20]


def test_what_is_wrong_is_said_of_the_query_itself(asking: QueryRunner) -> None:
    with pytest.raises(BindError, match="siez") as caught:
        build_answer_search("SELECT id, siez FROM stars.main", asking)
    assert caught.value.offset == 11


def test_only_what_the_reader_may_see_is_counted(site: Site) -> None:
    road = QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=site.get_published_state(),
    )
    search, theirs = build_answer_search('SELECT id, "size" FROM stars.main', road)
    found = plots.build_histogram(search, search.table.find_column("id"), theirs)
    assert found is not None
    assert 0 < sum(found.counts) < len(ROWS)
    assert sum(found.counts) == row_pages.count_rows(search, theirs).rows


@pytest.fixture(scope="module", params=["votable", "arrow", "csv", "fits", "parquet"])
def result(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, pa.Table]:
    """Keep a result as a job does."""
    fmt, options = formats.select_format(request.param)
    path = tmp_path_factory.mktemp("kept") / f"result{fmt.extension}"
    with query.run_query('SELECT id, target_name, "size", time_min FROM stars.main ORDER BY id', site=site) as found:
        path.write_bytes(
            b"".join(
                fmt.write(query.build_result_metadata(found), found.iterate_batches(), found.build_status, options)
            )
        )
    with query.run_query('SELECT id, target_name, "size", time_min FROM stars.main ORDER BY id', site=site) as found:
        return path, fmt.media_types[0], found.read_table()


def test_a_kept_result_is_drawn_as_its_query_would_be(result: tuple[Path, str, pa.Table]) -> None:
    path, media_type, rows = result
    found = read_first_rows(path, media_type, 1)
    assert found is not None
    columns = {one.name: one for one in found[1].columns}
    drawn = job_results.build_result_histogram(path, media_type, columns["size"])
    assert drawn is not None
    size = rows.column("size").drop_null().to_numpy()
    assert sum(drawn.counts) == len(size)
    assert drawn.missing_count == rows.num_rows - len(size)
    assert (drawn.low, drawn.high) == (pytest.approx(size.min()), pytest.approx(size.max()))
    points = job_results.build_result_points_or_density(
        path, media_type, [columns["id"], columns["size"], columns["target_name"]]
    )
    assert isinstance(points, PlotPoints)
    assert points.values.column(0).to_pylist() == rows.column("id").to_pylist()
    with pytest.raises(ParamError, match="neither numbers nor times"):
        job_results.build_result_histogram(path, media_type, columns["target_name"])


def test_many_rows_are_a_density(result: tuple[Path, str, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    path, media_type, rows = result
    monkeypatch.setattr(job_results, "MAX_POINTS", 250)
    found = read_first_rows(path, media_type, 1)
    assert found is not None
    drawn = job_results.build_result_points_or_density(
        path, media_type, [found[1].find_column("id"), found[1].find_column("size")]
    )
    if formats.select_format(media_type)[0].read is None:  # the beginning is all that is looked at
        assert isinstance(drawn, PlotPoints)
        assert drawn.has_more
        return
    assert isinstance(drawn, DensityGrid)
    assert drawn.counts.sum() == rows.column("size").drop_null().length()
    assert drawn.box[:2] == (1, 299), "of row 0 there is no size"


def test_a_kept_result_is_written_in_other_formats(result: tuple[Path, str, pa.Table]) -> None:
    path, media_type, rows = result
    fmt, options = formats.select_format("csv")
    if formats.select_format(media_type)[0].read is None:
        with pytest.raises(ParamError, match="cannot be converted to"):
            list(job_results.convert_result_file(path, media_type, fmt, options))
        return
    lines = b"".join(job_results.convert_result_file(path, media_type, fmt, options)).decode().splitlines()
    assert lines[0].split(",") == rows.column_names
    assert len(lines) == rows.num_rows + 1
