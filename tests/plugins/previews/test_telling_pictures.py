"""Strips of pictures and cards: they show pictures that can be drawn and that show something, and no others."""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from asgi_client import Answer, Client
from astropy.io import fits
from PIL import Image

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.portal._views import overview_pictures
from hven.testing.site import open_site_with_uningested_files

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
    monkeypatch.setattr(overview_pictures, "OVERVIEW_WAIT_SECONDS", patience)
    write_files(tmp_path / "collections/maps/data")
    names = [*(f"broken{at}" for at in range(2)), *(f"black{at}" for at in range(3)), *(f"good{at}" for at in range(6))]
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR, {"maps.csv": "\n".join(["obs_id", *names])}, public_url="http://vo.example"
    ) as site:
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))
        for path in ("/", "/collections/maps"):
            assert sorted(strip_of(client, path)) == [f"good{at}" for at in range(6)]
        home = client.ask("GET", "/", headers=HTML).text
        card = re.search(r'<img class="thumbnail" src="[^"]*/(\w+)\.fits', home)
        assert card is not None
        assert card[1].startswith("good")
        first = client.ask("GET", "/collections/maps", headers=HTML)
        again = client.ask("GET", "/collections/maps", headers={**HTML, "if-none-match": first.headers["etag"]})
        assert again.status == 304


def test_a_first_page_without_its_pictures_asks_for_them_until_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_pictures, "OVERVIEW_WAIT_SECONDS", 0.2)
    write_files(tmp_path / "collections/maps/data")
    with open_site_with_uningested_files(
        tmp_path,
        DESCRIPTOR,
        {"maps.csv": "\n".join(["obs_id", *(f"good{at}" for at in range(6))])},
        public_url="http://vo.example",
    ) as site:
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))
        with overview_pictures._one_drawing:  # as if another picture took long
            first = client.ask("GET", "/", headers=HTML).text
        assert '<ul class="cards" data-pane="late_pictures" data-now>' in first
        assert 'class="thumbnail"' not in first
        strip_of(client, "/")
        then = client.ask("GET", "/", headers=HTML).text
        assert '<ul class="cards">' in then
        assert 'class="thumbnail"' in then


PAGE_IMAGE = (
    "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"  # what a browser asks for an element img
)
ADDRESS_BAR = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def is_sign(body: bytes) -> bool:
    """Return whether a picture has no ground of its own: all but the thin lines of a sign is transparent."""
    picture = Image.open(io.BytesIO(body))
    return picture.mode == "RGBA" and float((np.asarray(picture)[..., 3] == 0).mean()) > 0.9


def test_pages_get_a_sign_for_what_shows_nothing_and_programs_the_picture(tmp_path: Path) -> None:
    """Wherever a page shows thumbnails of rows: tables, cards, baskets, panels; one that is opened by itself is shown as it is."""
    write_files(tmp_path / "collections/maps/data")
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"maps.csv": "obs_id\ngood0\nblack0\nbroken0"}) as site:
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))

        def picture(name: str, accept: str, query: bytes = b"size=200", **headers: str) -> Answer:
            path = f"/collections/maps/preview/data/{name}.fits"
            return client.ask("GET", path, query, headers={"accept": accept, **headers})

        assert not is_sign(picture("good0", PAGE_IMAGE).body)
        uniform = picture("black0", PAGE_IMAGE)
        assert is_sign(uniform.body)
        assert (uniform.status, uniform.headers["content-type"]) == (200, "image/png")
        assert "accept" in [one.strip() for one in uniform.headers["vary"].split(",")]
        assert is_sign(picture("broken0", PAGE_IMAGE).body)
        for accept in (ADDRESS_BAR, "*/*"):
            whole = picture("black0", accept)
            assert not is_sign(whole.body), accept
            assert whole.headers["etag"] != uniform.headers["etag"]
        assert not is_sign(picture("black0", PAGE_IMAGE, b"size=800").body), "who looks at it large sees what it is"
        known = uniform.headers["etag"]
        assert picture("black0", PAGE_IMAGE, **{"if-none-match": known}).status == 304
        assert picture("black0", "*/*", **{"if-none-match": known}).status == 200


def test_a_fault_of_the_service_is_no_picture_of_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader can do nothing about it: the request's id stands in the picture's text, for whoever looks for it."""

    def fail(*_: object) -> bytes:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("hven.plugins.previews.drawings.get_or_draw_picture", fail)
    write_files(tmp_path / "collections/maps/data")
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"maps.csv": "obs_id\ngood0"}) as site:
        ingest_collection(site, "maps")
        answer = Client(create_and_start_application(site)).ask(
            "GET", "/collections/maps/preview/data/good0.fits", b"size=800", headers={"accept": PAGE_IMAGE}
        )
    assert answer.status == 500
    assert is_sign(answer.body)
    assert "request" in Image.open(io.BytesIO(answer.body)).text["Description"]
