"""Days that are dates by what their columns say, wherever EPN-TAP's time_min is one: statistics, coverage, forms, rows, schema.org."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.ingest import ingest
from hven.model.settings import Settings
from hven.portal._explore import fields, plots
from hven.portal._explore import plots_json as told
from hven.portal._explore.coverage import timeline
from hven.portal._explore.page_queries import Asking
from hven.portal._explore.search import read
from hven.portal._explore.summary import bounds, summary
from hven.site import Site
from hven.site.auth._permit import ANONYMOUS, DEFAULT

LOG = """\
collection: night
title: Log
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    frames: {t: {kind: timesys, timescale: UTC, timeorigin: MJD-origin}}
    columns:
      id: {type: string, description: Name}
      mjd_obs: {type: float64, unit: d, ucd: time.start, frame: t, description: Begin}
      exp_mjd_end: {type: float64, unit: d, ucd: time.end, description: End}
"""
FILES = "collection: kept\ntitle: Kept\nfiles: {files: data/*.txt}\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    for name, text, path, rows in (
        ("night", LOG, "rows.csv", "id,mjd_obs,exp_mjd_end\na,53005.25,53005.5\nb,53400.0,53401.5\n"),
        ("kept", FILES, "data/a.txt", "x"),
    ):
        place: Path = root / "collections" / name
        (place / path).parent.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(text)
        (place / path).write_text(rows)
    with Site(Settings(directory=root), watch=False) as found:
        report = ingest(found, "night").tables["night.main"]
        assert [one.message.split(",")[0] for one in report.findings.values()] == [
            "exp_mjd_end is taken for modified Julian dates (MJD)"
        ]
        ingest(found, "kept")
        found.refresh()
        yield found


def test_days_are_dates_by_metadata(site: Site) -> None:
    road = Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())
    table = site.current().published["night.main"].table
    assert bounds(table, road) == ("2004-01-01", "2005-01-31")
    counted = summary(table, road, 2)
    assert [(one.name, one.rows) for one in counted.periods] == [("2004-01", 1), ("2005-01", 1)]
    drawn = timeline(table, road)
    assert drawn is not None
    assert (drawn.begin, drawn.end) == ("2004-01-01", "2005-01-30")
    assert {fields.kind(one, table) for one in table.columns[1:]} == {"time"}
    assert "mjd_obs >= 53005.0 AND mjd_obs < 53006.0" in read([("mjd_obs", "2004-01-01")], table).adql()


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ("2004", "mjd_obs >= 53005.0 AND mjd_obs < 53371.0"), ("2004..2005-01", "mjd_obs >= 53005.0 AND mjd_obs < 53402.0"),
        ("2453005.5..2453006.5", "mjd_obs BETWEEN 53005.0 AND 53006.0"), ("53005mjd..53006 MJD", "mjd_obs BETWEEN 53005.0 AND 53006.0"),
        ("53005..53006", "mjd_obs BETWEEN 53005.0 AND 53006.0"), ("2005 d..2006 d", "mjd_obs BETWEEN 2005.0 AND 2006.0"),
    ],
)  # fmt: skip
def test_dates_are_dates_whatever_day_a_column_counts_from(site: Site, given: str, condition: str) -> None:
    found = read([("mjd_obs", given)], site.current().published["night.main"].table)
    assert not found.faults
    assert found.adql().endswith(f"WHERE {condition}")


def test_a_word_is_no_date(site: Site) -> None:
    assert [
        one.message for one in read([("exp_mjd_end", "soon")], site.current().published["night.main"].table).faults
    ] == ["'soon' is no date"]


def test_the_links_of_statistics_find_what_they_count_and_plots_draw_dates(site: Site) -> None:
    road = Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())
    table = site.current().published["night.main"].table
    search = read([("mjd_obs", summary(table, road, 1).periods[0].name)], table)
    begin, end = table.column("mjd_obs"), table.column("exp_mjd_end")
    drawn = told.histogram(plots.histogram(search, begin, road), begin)
    assert (drawn["low"], sum(drawn["counts"]), drawn["time"]) == (2453005.75, 1, True)
    assert told.points(plots.points(search, [begin, end], road), 1)["values"] == [[2453005.75], [2453006.0]]
    assert told.density(plots.density(search, begin, end, road), [begin, end], 1)["density"]["box"] == (
        2453005.75,
        2453005.75,
        2453006.0,
        2453006.0,
    )


def test_when_a_file_was_changed_is_not_when_its_data_are_from(site: Site) -> None:
    road = Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())
    tables = [item.table for name, item in site.current().published.items() if name.startswith("kept.")]
    assert tables
    assert [bounds(table, road) for table in tables] == [None] * len(tables)
