"""Files in other formats, and parts of files: what is sent is what the file holds, for those who may take the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.io.votable import parse

from hven.app._server import create_application
from hven.ingest import ingest_collection
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
    return Client(create_application(site))


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


def test_a_table_as_votable(client: Client) -> None:
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
        ("fits/data/notes.txt", 400, "Hven cannot explore the format of notes.txt"),
        ("fits/data/broken.fits", 400, "broken.fits is damaged"),
        ("fits/data/locked.fits", 401, "is locked"),
    ],
)
def test_what_cannot_be_is_told(client: Client, path: str, status: int, words: str) -> None:
    path, _, query = path.partition("?")
    answer = client.ask("GET", f"{AS}/{path}", query.encode())
    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert "tmp" not in answer.text


LABEL = """\
PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 4
FILE_RECORDS = 3
^IMAGE = "{file}"
OBJECT = IMAGE
  LINES = 3
  LINE_SAMPLES = 4
  SAMPLE_TYPE = UNSIGNED_INTEGER
  SAMPLE_BITS = 8
END_OBJECT = IMAGE
END
"""


@pytest.mark.parametrize(("data", "status"), [("free.img", 200), ("shut.img", 401), ("unlisted.dat", 404)])
def test_what_is_read_with_a_label_must_be_the_reader_s_as_well(tmp_path: Path, data: str, status: int) -> None:
    folder = tmp_path / "collections" / "night"
    (folder / "data").mkdir(parents=True)
    (folder / "night.yaml").write_text(DESCRIPTOR.replace("[data/*]", '["data/*.[il]*"]'))
    (folder / "rows.csv").write_text(
        "id,file,owner\na,data/label.lbl,open\nb,data/free.img,open\nc,data/shut.img,anna\n"
    )
    (folder / "data" / "label.lbl").write_text(LABEL.format(file=data).replace("\n", "\r\n"))
    for name in ("free.img", "shut.img", "unlisted.dat"):
        (folder / "data" / name).write_bytes(bytes(range(12)))
    (tmp_path / "hven.toml").touch()
    with Site(settings.load_settings(tmp_path)) as site:
        ingest_collection(site, "night")
        client = Client(create_application(site))
        answer = client.get(f"{AS}/fits/data/label.lbl")
        assert answer.status == status, answer.text
        if status == 200:
            assert np.array_equal(fits.open(io.BytesIO(answer.body))[0].data, np.arange(12).reshape(3, 4))
        for path, params in (
            ("/collections/night/preview/data/label.lbl", {}),
            ("/collections/night/cube/data/label.lbl", {}),
            ("/soda/sync", {"TABLE": "night.main", "ID": "a"}),
        ):
            assert client.get(path, **params).status == status, path
        # whoever asks for links is told that there are cuts, and nothing of the bounds of a file that may not be theirs
        links = client.get("/datalink/night.main", ID="a").text
        assert "SODA#sync" in links
        assert "<MIN" not in links
        assert "<MAX" not in links


def test_what_is_made_of_a_label_and_its_data_changes_with_both(tmp_path: Path) -> None:
    folder = tmp_path / "collections" / "night"
    (folder / "data").mkdir(parents=True)
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("id,file,owner\na,data/free.lbl,open\nb,data/free.img,open\n")
    label, data = folder / "data/free.lbl", folder / "data/free.img"
    label.write_text(LABEL.format(file="free.img").replace("\n", "\r\n"))
    data.write_bytes(bytes(range(12)))
    (tmp_path / "hven.toml").touch()
    addresses = [
        *(f"/collections/night/{face}/data/{name}" for face in ("as/fits", "preview", "cube") for name in ("free.lbl", "free.img")),
        "/soda/sync?TABLE=night.main&ID=a&PIXELS_1=1+2",
    ]  # fmt: skip
    with Site(settings.load_settings(tmp_path)) as site:
        client = Client(create_application(site))

        def tags() -> list[str]:
            answers = [client.get(one) for one in addresses]
            assert {one.status for one in answers} == {200}
            return [one.headers["etag"] for one in answers]

        ingest_collection(site, "night")
        first = tags()
        assert tags() == first
        data.write_bytes(bytes(reversed(range(12))))
        assert {client.get(one).status for one in addresses} == {503}  # not what was published
        ingest_collection(site, "night")
        second = tags()
        assert not {*first} & {*second}
        drawn = client.ask("GET", addresses[2], headers={"if-none-match": first[2]})
        assert drawn.status == 200
        label.write_text(LABEL.format(file="free.img").replace("UNSIGNED", "SIGNED").replace("\n", "\r\n"))
        ingest_collection(site, "night")
        assert not {*second} & {*tags()}
