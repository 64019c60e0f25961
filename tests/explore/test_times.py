"""Days that are dates by what their columns say, wherever EPN-TAP's time_min is one: statistics, coverage, forms, rows, schema.org."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.auth.permit import ANONYMOUS, DEFAULT
from hven.explore import fields
from hven.explore.asking import Asking
from hven.explore.coverage import timeline
from hven.explore.search import read
from hven.explore.summary import bounds, summary
from hven.holdings import Site
from hven.ingest import ingest
from hven.settings import Settings

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
        assert [one.message.split(",")[0] for one in report.findings.values()] == ["exp_mjd_end is taken for modified Julian dates (MJD)"]
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


def test_when_a_file_was_changed_is_not_when_its_data_are_from(site: Site) -> None:
    road = Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())
    tables = [item.table for name, item in site.current().published.items() if name.startswith("kept.")]
    assert tables
    assert [bounds(table, road) for table in tables] == [None] * len(tables)
