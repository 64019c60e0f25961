"""Times in templates: ``{date_obs:iso}`` in columns and in links, of timestamps and of Julian dates, as Helioviewer, JHelioviewer and HAPI need them."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.table import format_time
from hven.testing.site import open_site_with_uningested_files

if TYPE_CHECKING:
    from pathlib import Path

SUN = """\
collection: sun
title: Sun
tables:
  main:
    source: a.csv
    primary: [id]
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      seen: {type: timestamp, ucd: time.start}
      jd: {type: float64, unit: d, ucd: time.start}
      mjd: {type: float64, unit: d}
      helioviewer: {type: string, ucd: meta.ref.url}
      path: string
      tick: string
    text:
      helioviewer: "https://helioviewer.org/?date={seen:iso}"
      path: "{seen:%Y/%m/%d}/{seen:%H%M%S}.fits"
      tick: "{seen:%S.%f}"
    links:
      - {semantics: auxiliary, text: "https://x.example/?date={target.seen:iso}", type: text/html, local: seen}
      - {semantics: auxiliary, text: "https://x.example/hapi?time.min={target.jd:iso}", type: text/csv, local: jd}
      - {semantics: auxiliary, text: "https://x.example/{target.mjd:%Y/%m}/a.html", type: text/html, local: mjd}
"""
ROWS = """\
id,seen,jd,mjd
1,2012-09-03T10:00:00,2456173.9166666665,56173.9166666667
2,2012-12-31T23:59:59.5,2456293.5,12
3,,,
"""


def test_columns_and_links_write_times_in_short(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, SUN, {"a.csv": ROWS}, public_url="http://vo.example") as site:
        ingest_collection(site, "sun")
        client = Client(create_and_start_application(site))
        rows = client.ask("GET", "/collections/sun/main/download?_as=csv&_all=1").text
        assert [line.split(",")[4:] for line in rows.splitlines()[1:]] == [
            ["https://helioviewer.org/?date=2012-09-03T10:00:00Z", "2012/09/03/100000.fits", "00.000000"],
            ["https://helioviewer.org/?date=2012-12-31T23:59:59Z", "2012/12/31/235959.fits", "59.500000"],
            ["", "", ""],
        ]
        links = html.unescape(client.ask("GET", "/datalink/sun.main", b"ID=1").text)
        for address in ("?date=2012-09-03T10%3A00%3A00Z", "hapi?time.min=2012-09-03T10%3A00%3A00Z", "2012/09/a.html"):
            assert f"https://x.example/{address}" in links
        second = html.unescape(client.ask("GET", "/datalink/sun.main", b"ID=2").text)
        assert "time.min=2013-01-01T00%3A00%3A00Z" in second
        assert "a.html" not in second, "12 is not a modified Julian date of these centuries: there is no such link"
        assert "x.example" not in client.ask("GET", "/datalink/sun.main", b"ID=3").text


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (datetime(2012, 9, 3, 10, tzinfo=UTC), "iso", "2012-09-03T10:00:00Z"),
        (datetime(2012, 9, 3, 1, tzinfo=timezone(timedelta(hours=-5))), "iso", "2012-09-03T06:00:00Z"),
        (datetime(2012, 9, 3, 10, 0, 0, 1234), "%f", "001234"),
        (datetime(33, 4, 3), "date", "0033-04-03"),
        ("2012-09-03T10:00:00+02:00", "iso", "2012-09-03T08:00:00Z"),
        ("soon", "iso", None),
        (2451545.0, "iso", "2000-01-01T12:00:00Z"),
        (51544.5, "iso", "2000-01-01T12:00:00Z"),
        (1_346_666_400, "iso", None),
        (True, "iso", None),
        (None, "iso", None),
    ],
)
def test_what_is_a_time(value: Any, spec: str, text: str | None) -> None:
    assert format_time(value, spec) == text


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        ("{seen:iso}", "{seen:%Q}", "%Q does not stand for a part of a time"),
        ("{seen:iso}", "{id:iso}", "{id:iso} needs a timestamp, not"),
    ],
)
def test_a_format_that_nobody_knows_is_a_fault(tmp_path: Path, was: str, now: str, fault: str) -> None:
    from typer.testing import CliRunner

    from hven.app._cli.verbs import build_typer_app

    (tmp_path / "hven.toml").write_text('title = "T"\n')
    place = tmp_path / "collections/sun"
    place.mkdir(parents=True)
    (place / "sun.yaml").write_text(SUN.replace(was, now, 1))
    (place / "a.csv").write_text(ROWS)
    told = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "check", "sun"], env={"COLUMNS": "400"})
    assert fault in told.output
    assert "sun.yaml:" in told.output
