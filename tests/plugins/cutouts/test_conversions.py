"""Files in other formats, and parts of files: what is sent is what the file holds, for those who may take the file."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.io.votable import parse

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

DESCRIPTOR = """\
collection: night
title: Night
files: [data/*]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: "meta.id;meta.main"}, file: string, owner: string}
    access: {take: "owner = 'open' or reader in (owner)", path: file}
    links: [{semantics: this, file: "{target.file}"}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("conversions")
    folder = directory / "collections" / "night"
    (folder / "data").mkdir(parents=True)
    (folder / "night.yaml").write_text(DESCRIPTOR)
    names = ["one.fits", "locked.fits", "notes.txt", "broken.fits"]
    (folder / "rows.csv").write_text(
        "id,file,owner\n"
        + "".join(f"{name.partition('.')[0]},data/{name},{'anna' if 'locked' in name else 'open'}\n" for name in names)
    )
    columns = [fits.Column("t", "D", "s", array=np.arange(4.0)), fits.Column("name", "5A", array=["a", "b", "", "d"])]
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(np.arange(12, dtype="i2").reshape(3, 4), name="SCI"),
            fits.BinTableHDU.from_columns(columns, name="TAB"),
        ]
    )
    for name in names[:2]:
        hdus.writeto(folder / "data" / name)
    (folder / "data" / "notes.txt").write_text("nothing")
    (folder / "data" / "broken.fits").write_bytes((folder / "data" / "one.fits").read_bytes()[:3000])
    (directory / "hven.toml").touch()
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "night")
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


AS = "/collections/night/as"


def test_a_part_of_a_file(client: Client) -> None:
    answer = client.get(f"{AS}/fits/data/one.fits", PART="SCI")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/fits")
    assert answer.headers["content-disposition"] == 'attachment; filename="one.fits"'
    assert int(answer.headers["content-length"]) == len(answer.body)
    found = fits.open(io.BytesIO(answer.body))
    assert [one.name for one in found if one.data is not None] == ["SCI"]
    assert np.array_equal(found["SCI"].data, np.arange(12).reshape(3, 4))
    table = fits.open(io.BytesIO(client.get(f"{AS}/fits/data/one.fits", PART="2").body))["TAB"].data
    assert (table["t"].tolist(), table["name"].tolist()) == ([0.0, 1.0, 2.0, 3.0], ["a", "b", "", "d"])


def test_a_table_is_converted_to_votable(client: Client) -> None:
    answer = client.get(f"{AS}/votable/data/one.fits")
    assert answer.headers["content-type"] == "application/x-votable+xml"
    found = parse(io.BytesIO(answer.body)).get_first_table().to_table()
    assert (found["t"].tolist(), str(found["t"].unit), list(found["name"])) == (
        [0.0, 1.0, 2.0, 3.0],
        "s",
        ["a", "b", "", "d"],
    )


def test_it_is_not_sent_twice(client: Client) -> None:
    tag = client.get(f"{AS}/fits/data/one.fits").headers["etag"]
    again = client.ask("GET", f"{AS}/fits/data/one.fits", headers={"if-none-match": tag})
    assert (again.status, again.body) == (304, b"")
    assert client.get(f"{AS}/fits/data/one.fits", PART="1").headers["etag"] != tag


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("fits/data/one.fits?PART=9", 400, "the file has no part '9'"),
        ("votable/data/one.fits?PART=SCI", 400, "SCI is not a table"),
        ("pdf/data/one.fits", 404, "files cannot be converted to 'pdf'"),
        ("fits/data/none.fits", 404, "no file 'data/none.fits'"),
        ("fits/data/../rows.csv", 404, "no file"),
        ("fits/data/%2e%2e/%2e%2e/%2e%2e/hven.toml", 404, "no file"),
        ("fits/data/notes.txt", 400, "Hven cannot read the format of notes.txt"),
        ("fits/data/broken.fits", 400, "broken.fits is damaged"),
        ("fits/data/locked.fits", 401, "is locked"),
    ],
)
def test_what_cannot_be_is_told(client: Client, path: str, status: int, words: str) -> None:
    path, _, query = path.partition("?")
    answer = client.ask("GET", f"{AS}/{path}", query.encode())
    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert "tmp" not in answer.text
