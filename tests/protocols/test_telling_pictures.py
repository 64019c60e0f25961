"""Strips of pictures and cards: they show pictures that can be drawn and that show something, and no others."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from asking import Client
from astropy.io import fits

from hven.app._server import create
from hven.ingest import ingest
from hven.portal._views import first_looks
from hven.testing.site import site_with

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTOR = """\
collection: maps
title: Maps
files: [data/*]
tables:
  main:
    source: maps.csv
    primary: [obs_id]
    columns:
      obs_id: {type: string, ucd: meta.id;meta.main}
      thumb: {type: string, ucd: meta.ref.url;meta.preview}
    text: {thumb: "{site.url}/collections/maps/preview/data/{obs_id}.fits?size=200"}
"""
HTML = {"accept": "text/html"}


def write_files(folder: Path) -> None:
    """Write six images that show something, three of one value, and two that break off."""
    folder.mkdir(parents=True)
    made = np.random.default_rng(20_261_126)
    for number in range(6):
        fits.PrimaryHDU(made.normal(size=(40, 60)).astype("f4")).writeto(folder / f"good{number}.fits")
    for number in range(3):
        fits.PrimaryHDU(np.zeros((40, 60), "f4")).writeto(folder / f"black{number}.fits")
    for number in range(2):
        (folder / f"broken{number}.fits").write_bytes((folder / "good0.fits").read_bytes()[:3000])


def strip_of(client: Client, path: str) -> list[str]:
    """Return the pictures of a page's strip; it is there as soon as its pictures are drawn."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        page = client.ask("GET", path, headers=HTML).text
        found = re.findall(
            r'src="[^"]*/preview/data/(\w+)\.fits', page.partition('class="shots"')[2].partition("</ul>")[0]
        )
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("there is no strip")


@pytest.mark.parametrize("patience", [0.2, 30.0])
def test_strips_show_what_can_be_drawn_and_shows_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(first_looks, "PATIENCE_SECONDS", patience)
    write_files(tmp_path / "collections/maps/data")
    names = [*(f"broken{at}" for at in range(2)), *(f"black{at}" for at in range(3)), *(f"good{at}" for at in range(6))]
    with site_with(
        tmp_path, DESCRIPTOR, {"maps.csv": "\n".join(["obs_id", *names])}, public_url="http://vo.example"
    ) as site:
        ingest(site, "maps")
        client = Client(create(site))
        for path in ("/", "/collections/maps"):
            assert sorted(strip_of(client, path)) == [f"good{at}" for at in range(6)]
        home = client.ask("GET", "/", headers=HTML).text
        card = re.search(r'<img class="thumbnail" src="[^"]*/(\w+)\.fits', home)
        assert card is not None
        assert card[1].startswith("good")
        first = client.ask("GET", "/collections/maps", headers=HTML)
        again = client.ask("GET", "/collections/maps", headers={**HTML, "if-none-match": first.headers["etag"]})
        assert again.status == 304
