"""Previews: files of a collection as pictures, for those who may take the files; rows lead to them by themselves."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from PIL import Image

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: maps
title: Maps
licence: CC-BY-4.0
citation: Brahe 1602
files: [data/*]
tables:
  main:
    source: maps.csv
    primary: [obs_id]
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, name: string}
    links:
      - {semantics: this, file: "data/{target.name}", description: "map {target.obs_id}"}
  own:
    source: maps.csv
    primary: [obs_id]
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, name: string}
    links:
      - {semantics: this, file: "data/{target.obs_id}.fits"}
      - {semantics: thumbnail, text: "https://x.example/{target.obs_id}.png", type: image/png}
  locked:
    source: maps.csv
    access: private
    primary: [obs_id]
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, name: string}
"""
IMAGE = {"accept": "image/avif,image/webp,image/*,*/*;q=0.8"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("previews")
    folder = directory / "collections/maps/data"
    folder.mkdir(parents=True)
    data = np.zeros((50, 100), "f4")
    data[:25, :50] = 100.0  # the left lower quarter
    fits.PrimaryHDU(data).writeto(folder / "a.fits")
    (folder / "b.fits").write_bytes((folder / "a.fits").read_bytes()[:3000])
    (folder / "c.txt").write_text("no image")
    (folder / "empty.fits").write_bytes(b"")
    (folder / "d.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    Image.new("L", (8, 8)).save(folder / "e.GIF")
    rows = "obs_id,name\na,a.fits\nb,b.fits\nc,c.txt\nd,d.mp4\ne,e.GIF\n"
    with open_site_with_uningested_files(directory, DESCRIPTOR, {"maps.csv": rows}) as opened:
        ingest_collection(opened, "maps")
        yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def read_grey_pixels(answer) -> np.ndarray:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.body)).convert("L"), np.float64)


def ask(client: Client, path: str, query: str = "", **headers: str):
    return client.ask("GET", f"/collections/maps/preview/{path}", query.encode(), headers=headers)


def test_a_thumbnail_is_small_and_upright(client):
    picture = read_grey_pixels(ask(client, "data/a.fits", "size=200"))
    assert picture.shape == (100, 200)
    assert picture[75, 50] == 255  # the first row of FITS is the lowest
    assert picture[25, 50] == picture[75, 150] == 0
    big = read_grey_pixels(ask(client, "data/a.fits"))
    assert max(big.shape) == 800


def test_a_preview_states_its_content_and_its_credit(client):
    told = Image.open(io.BytesIO(ask(client, "data/a.fits", "size=64&stretch=log&percentile=1+99").body)).text
    assert told["Copyright"] == "CC-BY-4.0 · Brahe 1602"
    assert told["Description"] == "part 0 PRIMARY, log, 1 to 99 %, gray"


def test_a_preview_is_drawn_once(client, site):
    first = ask(client, "data/a.fits", "size=77")
    kept = [*(site.settings.var_directory / "previews").rglob("*.png")]
    assert any(one.read_bytes() == first.body for one in kept)
    assert ask(client, "data/a.fits", "size=77").body == first.body
    again = ask(client, "data/a.fits", "size=77", **{"if-none-match": first.headers["etag"]})
    assert again.status == 304
    assert ask(client, "data/a.fits", "size=78").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("path", "why"),
    [("data/b.fits", "damaged"), ("data/c.txt", "Hven cannot read the format"), ("data/empty.fits", "empty")],
)
def test_a_picture_says_why_a_file_cannot_be_drawn(client, path, why):
    answer = ask(client, path, "size=300", **IMAGE)
    assert (answer.status, answer.headers["content-type"]) == (404, "image/png")
    assert answer.headers["cache-control"] == "no-store"
    told = Image.open(io.BytesIO(answer.body))
    assert told.size == (300, 225)
    assert why in told.text["Description"]
    assert os.sep + "collections" not in told.text["Description"]
    words = ask(client, path, "size=300")
    assert words.status == 404
    assert why in words.text


@pytest.mark.parametrize(
    "query",
    ["size=0", "size=-5", "size=1e9", "size=99999999999999999999", "size=x", "stretch=quartic", "percentile=99+1", "percentile=nan+5",
     "percentile=5+5", "percentile=-1+101", "colours=mauve", "plane=0", "axes=perhaps", "without=a",
     "&".join(f"beside=data/{n}.fits" for n in range(20))],
)  # fmt: skip
def test_impossible_sizes_are_refused(client, query):
    assert ask(client, "data/a.fits", query).status == 400
    answer = ask(client, "data/a.fits", query, **IMAGE)
    assert (answer.status, answer.headers["content-type"]) == (400, "image/png")


@pytest.mark.parametrize(
    "path",
    [
        "data/../maps.csv",
        "../../hven.toml",
        "data/%2e%2e/maps.csv",
        "/etc/passwd",
        "data/x.fits",
        "maps.yaml",
        "data/a.fits%00",
    ],
)
def test_only_files_of_the_collection_are_drawn(client, path):
    assert ask(client, path, "size=64", **IMAGE).status == 404


def test_rows_lead_to_their_pictures_by_themselves(client):
    def links(table: str, ident: str) -> list[tuple[str, str]]:
        answer = client.ask("GET", f"/datalink/{table}", f"RESPONSEFORMAT=csv&ID={ident}".encode())
        return [
            (row["semantics"], row["access_url"].partition("/collections/")[2] or row["access_url"])
            for row in csv.DictReader(io.StringIO(answer.text))
            if row["semantics"] != "#cutout"
        ]

    assert links("maps.main", "a") == [
        ("#this", "maps/files/data/a.fits"),
        ("#preview", "maps/preview/data/a.fits"),
        ("#thumbnail", "maps/preview/data/a.fits?size=200"),
    ]
    assert links("maps.main", "c") == [("#this", "maps/files/data/c.txt")]
    for ident, name, kind in (("d", "d.mp4", "video/mp4"), ("e", "e.GIF", "image/gif")):  # a film is its own preview
        assert links("maps.main", ident)[1:] == [
            ("#preview", f"maps/files/data/{name}"),
            ("#thumbnail", f"maps/preview/data/{name}?size=200"),
        ]
        told = client.ask("GET", "/datalink/maps.main", f"RESPONSEFORMAT=csv&ID={ident}".encode()).text
        assert kind in next(line for line in told.splitlines() if "#preview" in line)
    assert [one for one in links("maps.own", "a") if one[0] != "#this"] == [
        ("#thumbnail", "https://x.example/a.png"),
        ("#preview", "maps/preview/data/a.fits"),
    ]
    assert ("#thumbnail", "maps/preview/data/a.fits?size=200") in links("maps.files", "data/a.fits")


NIGHT = """\
collection: night
title: Observations
contact: {name: The archive, email: archive@example.org}
files: "*.fits"
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: int32, release: timestamp, pi: string, file_name: string, access_url: {type: string, required: true, ucd: meta.ref.url}}
    text: {access_url: "{site.url}/collections/night/files/{file_name}"}
    links: [{semantics: this, file: "{target.file_name}"}]
    access:
      files: "release <= now or reader in (pi) or 'survey' in groups"
      take: release <= now or reader in (pi)
      path: file_name
"""


def test_who_may_take_a_file_sees_its_picture_and_nobody_else(tmp_path):
    folder = tmp_path / "collections/night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('name = "levels"\n[people]\ngroups = {survey = ["carl"]}\n')
    (folder / "night.yaml").write_text(NIGHT)
    (folder / "rows.csv").write_text(
        "id,release,pi,file_name\n1,2020-01-01,bert,open.fits\n2,2090-05-01,anna,anna.fits\n"
    )
    for name in ("open.fits", "anna.fits"):
        fits.PrimaryHDU(np.eye(9)).writeto(folder / name)
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "night")
        tokens = {name: made.store.users.add_account(name) for name in ("anna", "bert", "carl")}
        client = Client(create_and_start_application(made))
        found = {}
        for who in ("", *tokens):
            head = {"authorization": f"Bearer {tokens[who]}"} if who else {}
            for name in ("open.fits", "anna.fits"):
                file = client.ask("GET", f"/collections/night/files/{name}", headers=head)
                picture = client.ask("GET", f"/collections/night/preview/{name}", b"size=64", headers={**head, **IMAGE})
                beside = client.ask(
                    "GET", "/collections/night/preview/open.fits", f"size=64&beside={name}".encode(), headers=head
                )
                assert picture.status == beside.status == file.status
                assert "public" not in picture.headers["cache-control"]
                assert picture.headers["content-type"] == "image/png"
                found[who, name] = file.status
                if file.status != 200:
                    assert "anna" not in Image.open(io.BytesIO(picture.body)).text["Description"].replace(
                        "anna.fits", ""
                    )
                answer = client.ask("GET", "/datalink/night.main", b"RESPONSEFORMAT=csv&ID=2", headers=head)
                assert ("preview/anna.fits" in answer.text) == (who in {"anna", "carl"})
        assert [found[who, "anna.fits"] for who in ("", "bert", "carl", "anna")] == [404, 404, 403, 200]
