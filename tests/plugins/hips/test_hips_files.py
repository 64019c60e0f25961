"""HiPS among the files of collections: their tiles, and the list that tells of them; to those alone who may know of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from PIL import Image

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from shared import shared

DESCRIPTOR = """\
collection: {name}
title: Surveys
access: {access}
files: [{{files: "maps/**", checksums: false}}]
"""
PROPERTIES = """\
# made for a test
obs_title = GLIMPSE 360
hips_order = 3
hips_tile_format = jpeg
hips_frame = galactic
hips_service_url = https://elsewhere.example/G
hips_release_date = 2020-01-02T03:04Z
"""


def stand_in(folder: Path) -> None:
    """Make two surveys that are like real ones: properties of a copy that another site serves, and a tile."""
    tile = io.BytesIO()
    Image.new("RGB", (512, 512), "navy").save(tile, "JPEG")
    for name, said in (("2MASS6XH", "creator_did          = ivo://CDS/P/2MASS6X/H\nhips_order           = 9\nhips_frame           = equatorial\nhips_tile_format     = png jpeg fits\nobs_title            = 2MASS6X H\nhips_release_date    = 2017-03-28T09:34Z\nhips_service_url     = http://other.example/2MASS6X_H\n#hips_master_url     = none\n"), ("GLIMPSE360", PROPERTIES)):  # fmt: skip
        (folder / name / "Norder3" / "Dir0").mkdir(parents=True)
        (folder / name / "properties").write_text(said)
        (folder / name / "Norder3" / "Dir0" / "Npix448.jpg").write_bytes(tile.getvalue())


@pytest.fixture(scope="module", params=["real", "made"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("hips")
    for name, access in (("seen", "public"), ("shut", "private")):
        folder = directory / "collections" / name
        if request.param == "real":
            shutil.copytree(shared("data/images/hips"), folder / "maps")
        else:
            stand_in(folder / "maps")
        (folder / "maps" / "GLIMPSE360" / "properties").write_text(PROPERTIES)
        (folder / "maps" / "other").mkdir()
        (folder / "maps" / "other" / "properties").write_text("colour = blue\n")
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(settings.load_settings(directory)) as site:
        for name in ("seen", "shut"):
            ingest_collection(site, name)
        found = Client(create_and_start_application(site))
        found.folder = directory / "collections" / "seen" / "maps"
        yield found


AT = "/collections/seen/files/maps/GLIMPSE360"


def test_the_list_has_only_public_surveys(client: Client) -> None:
    answer = client.get("/hipslist")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    real, record = sorted(answer.text.strip().split("\n\n"), key=lambda one: "hips_order           = 3" in one)
    assert "creator_did          = ivo://CDS/P/2MASS6X/H\n" in real
    assert "hips_service_url     = https://vo.example/collections/seen/files/maps/2MASS6XH\n" in real
    said = dict(map(str.strip, line.split("=", 1)) for line in record.splitlines())
    assert said["hips_service_url"] == f"https://vo.example{AT}"
    assert said["creator_did"] == f"ivo://example.org{AT.removeprefix('/collections')}"
    assert (said["hips_release_date"], said["obs_title"], said["hips_order"]) == (
        "2020-01-02T03:04Z",
        "GLIMPSE 360",
        "3",
    )
    assert "shut" not in answer.text


def test_tiles_and_properties_are_files(client: Client) -> None:
    properties = client.get(f"{AT}/properties")
    assert (properties.text, properties.headers["content-type"].partition(";")[0]) == (PROPERTIES, "text/plain")
    tile = client.get(f"{AT}/Norder3/Dir0/Npix448.jpg")
    assert tile.headers["content-type"] == "image/jpeg"
    assert tile.body == (client.folder / "GLIMPSE360/Norder3/Dir0/Npix448.jpg").read_bytes()
    assert client.get(f"{AT}/Norder3/Dir0/Npix1.jpg").status == 404
    assert client.get(AT.replace("seen", "shut") + "/properties").status in {401, 404}
