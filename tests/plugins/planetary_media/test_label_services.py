"""Labels and their data in services: converted, drawn, cut, explored, for those who may take both."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from file_servers import ServedFiles, serve_ftp, serve_http, serve_s3
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins, settings
from hven.site import Site
from plugin_needs import require_plugins

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
AS = "/collections/night/as"
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
    require_plugins("protocols", "conversions", "cubes", "previews", "soda")
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
        client = Client(create_and_start_application(site))
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
    require_plugins("protocols", "conversions", "cubes", "previews", "soda")
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
        client = Client(create_and_start_application(site))

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


def test_names_of_cubes_and_images_tell_their_kind(tmp_path: Path) -> None:
    require_plugins("protocols", "conversions")
    folder = tmp_path / "collections" / "night"
    (folder / "data").mkdir(parents=True)
    (folder / "night.yaml").write_text(
        DESCRIPTOR.replace("    access: {take: \"owner = 'open' or reader in (owner)\", path: file}\n", "")
    )
    names = {"a": "a.QUB", "b": "b.img", "c": "c.cub"}
    (folder / "rows.csv").write_text(
        "id,file,owner\n" + "".join(f"{key},data/{name},open\n" for key, name in names.items())
    )
    for name in names.values():
        (folder / "data" / name).write_text("nothing")
    (tmp_path / "hven.toml").touch()
    with Site(settings.load_settings(tmp_path)) as site:
        ingest_collection(site, "night")
        client = Client(create_and_start_application(site))

        def find_kind_as_fits(one: str) -> str | None:
            links = csv.DictReader(io.StringIO(client.get("/datalink/night.main", ID=one, RESPONSEFORMAT="csv").text))
            return next((row["content_qualifier"] for row in links if row["local_semantics"] == "fits"), None)

        assert [find_kind_as_fits(one) for one in names] == ["#spectral-cube", "#image", ""]


FAR_LABEL = b'PDS_VERSION_ID = PDS3\nRECORD_BYTES = 8\n^IMAGE = "beside.dat"\nOBJECT = IMAGE\nLINES = 3\nLINE_SAMPLES = 4\nSAMPLE_BITS = 16\nSAMPLE_TYPE = LSB_INTEGER\nEND_OBJECT\nEND\n'
FAR_FILES = {"label.lbl": FAR_LABEL, "beside.dat": np.arange(12, dtype="<i2").tobytes()}
FAR_TABLE = """\
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, name: string}
    links:
      - {semantics: this, file: "{target.name}"}
"""


def check_far_label(directory: Path, root: str, *, options: str = "", secret: str = "", more: str = "") -> None:
    """Check that services read a label and its data below an address, both by ranges."""
    require_plugins("protocols", "conversions", "soda")
    folder = directory / "site" / "collections" / "far"
    folder.mkdir(parents=True)
    line = f'files: [{{root: "{root}", from: main, path: "{{name}}"{options}}}]\n'
    (folder / "far.yaml").write_text(f"collection: far\ntitle: Far\n{line}{FAR_TABLE}")
    (folder / "rows.csv").write_text("id,name\nlabel,label.lbl\nbeside,beside.dat\n")
    (directory / "site" / "secrets.toml").write_text(f'STORE = "{secret}"\n')
    (directory / "site" / "hven.toml").write_text(f'name = "far"\nallow_private = true\n{more}')
    with Site(settings.load_settings(directory / "site")) as site:
        ingest_collection(site, "far")
        client = Client(create_and_start_application(site))
        found = client.get("/soda/sync", TABLE="far.main", ID="label", PIXELS_1="2 3")
        assert found.status == 200, found.text
        assert np.array_equal(fits.open(io.BytesIO(found.body))[0].data, np.arange(12).reshape(3, 4)[:, 1:3])
        whole = client.get("/collections/far/as/fits/label.lbl")
        assert fits.open(io.BytesIO(whole.body))[0].data.shape == (3, 4)


@pytest.mark.parametrize("store", ["disk", "http", "ftp", "memory", "s3"])
def test_a_label_elsewhere_is_looked_into_as_if_it_lay_here(tmp_path: Path, store: str) -> None:
    if store == "disk":
        root = tmp_path / "archive"
        root.mkdir()
        for name, body in FAR_FILES.items():
            (root / name).write_bytes(body)
        check_far_label(tmp_path, str(root), options=", checksums: false", more=f'roots = ["{root}"]\n')
    elif store == "s3":
        with serve_s3({f"level 2/{name}": body for name, body in FAR_FILES.items()}) as (address, key, secret):
            options = f", options: {{endpoint_url: '{address}', key: {key}, secret: $STORE}}"
            check_far_label(tmp_path, "s3://observatory/level%202", options=options, secret=secret)
    elif store == "memory":
        import fsspec

        memory = fsspec.filesystem("memory")
        memory.pipe({f"/{tmp_path.name}/{name}": body for name, body in FAR_FILES.items()})
        check_far_label(tmp_path, f"memory://{tmp_path.name}")
        memory.rm(f"/{tmp_path.name}", recursive=True)
    else:
        serve = serve_http if store == "http" else serve_ftp
        with serve(ServedFiles({f"/{name}": body for name, body in FAR_FILES.items()})) as there:
            check_far_label(tmp_path, there.address)


def test_a_site_without_the_package_serves_the_rest_and_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "collections" / "night"
    (folder / "data").mkdir(parents=True)
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("id,file,owner\na,data/free.lbl,open\nb,data/free.img,open\n")
    (folder / "data/free.lbl").write_text(LABEL.format(file="free.img").replace("\n", "\r\n"))
    (folder / "data/free.img").write_bytes(bytes(range(12)))
    require_plugins("protocols", "conversions")
    others = [package.name for package in plugins.list_plugin_packages() if package.name != "planetary_media"]
    (tmp_path / "hven.toml").write_text(f"plugins = {others}\n")
    try:
        with Site(settings.load_settings(tmp_path)) as site:
            ingest_collection(site, "night")
            client = Client(create_and_start_application(site))
            assert client.get("/collections/night/files/data/free.img").body == bytes(range(12))
            answer = client.get(f"{AS}/fits/data/free.lbl")
            assert answer.status == 400
            assert (
                "the plug-in package planetary_media opens such files, but it is not enabled on this site"
                in answer.text
            )
    finally:
        plugins.select_plugin_packages(None)
