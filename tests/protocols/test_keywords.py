"""The FITS header of a file as a table: in formats, as a page; of who may take the file."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.io.votable import parse_single_table

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST_DATE = re.compile(rb'<INFO name="request_date" value="[^"]+"/>')
SUN = """\
collection: sun
title: Images
files: ["*.fits", "*.txt"]
tables:
  cards:
    title: Headers
    source: {kind: fits, files: "a.fits", mode: cards}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory: Path = tmp_path_factory.mktemp("keywords")
    with open_site_with_uningested_files(directory, SUN, {"no.txt": "no FITS"}) as site:
        first = fits.PrimaryHDU(
            header=fits.Header([("EXPTIME", 2.5, "[s] <exposure>"), ("FLAG", True), ("OBJECT", "a <b>")])
        )
        second = fits.ImageHDU(np.zeros((9, 9)), name="SCI")
        second.header["HISTORY"] = "made & kept"
        folder = site.settings.collections_directory / "sun"
        fits.HDUList([first, second]).writeto(folder / "a.fits")
        (folder / "empty.fits").write_bytes(b"")
        (folder / "short.fits").write_bytes((folder / "a.fits").read_bytes()[:300])
        ingest_collection(site, "sun")
        yield Client(create_and_start_application(site))


def test_headers_are_shown_as_page_and_formats(client: Client) -> None:
    here = "/collections/sun/headers/a.fits"
    rows = list(csv.DictReader(io.StringIO(client.get(here, RESPONSEFORMAT="csv").text)))
    known = {(row["hdu"], row["keyword"]): row for row in rows}
    assert (known["0", "EXPTIME"]["number"], known["0", "EXPTIME"]["comment"]) == ("2.5", "[s] <exposure>")
    assert (known["0", "FLAG"]["value"], known["1", "HISTORY"]["value"]) == ("T", "made & kept")
    answer = client.get(here)
    table = parse_single_table(io.BytesIO(answer.body)).to_table()
    assert list(table["keyword"]) == [row["keyword"] for row in rows]
    assert {row["comment"] for row in rows} <= {*map(str, chain(*json.loads(client.get(here, RESPONSEFORMAT="json").body)["data"])), ""}  # fmt: skip
    page = client.ask(
        "GET", here, headers={"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    )
    assert page.headers["content-type"].startswith("text/html")
    assert "a &lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert "1 SCI" in page.text
    assert '/collections/sun/files/a.fits?hdu=1"' in page.text
    assert "?hdu=0" not in page.text  # it has no data
    assert client.get(here, RESPONSEFORMAT="html").headers["content-type"].startswith("text/html")
    # what Java's client sends for TOPCAT if it says nothing else: the table is wanted
    java = client.ask("GET", here, headers={"accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"})
    assert REQUEST_DATE.sub(b"", java.body) == REQUEST_DATE.sub(b"", answer.body)
    assert client.ask("GET", here, headers={"if-none-match": answer.headers["etag"]}).status == 304


def test_a_single_hdu_can_be_downloaded(client: Client) -> None:
    """By its number or name: its header, and itself as FITS."""
    for said in ("1", "sci"):
        rows = list(csv.DictReader(io.StringIO(client.get("/collections/sun/headers/a.fits", hdu=said, RESPONSEFORMAT="csv").text)))  # fmt: skip
        assert {row["hdu"] for row in rows} == {"1"}
        assert "made & kept" in {row["value"] for row in rows}
        answer = client.get("/collections/sun/files/a.fits", hdu=said)
        assert answer.status == 307
        path, _, query = answer.headers["location"].partition("/collections/")[2].partition("?")
        found = fits.open(io.BytesIO(client.ask("GET", f"/collections/{path}", query.encode()).body))
        assert found[1].header["HISTORY"][0] == "made & kept"
        assert found[1].data.shape == (9, 9)
    missing = client.get("/collections/sun/headers/a.fits", hdu="2")
    assert (missing.status, "no HDU '2'" in html.unescape(missing.text)) == (404, True)


@pytest.mark.parametrize("path", ["no.txt", "empty.fits", "short.fits", "../sun/sun.yaml", "nothing.fits", "%2e%2e/x"])
def test_what_has_no_header(client: Client, path: str) -> None:
    answer = client.get(f"/collections/sun/headers/{path}")
    assert answer.status == 404
    assert "/tmp" not in answer.text


def test_headers_of_all_files_are_a_table(client: Client) -> None:
    query = "SELECT file, comment FROM sun.cards WHERE keyword = 'EXPTIME' AND number > 2"
    assert client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text.splitlines()[1:] == [
        "a.fits,[s] <exposure>"
    ]
