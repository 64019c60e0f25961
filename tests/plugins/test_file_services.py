"""A package has what belongs to files of collections: surveys for maps, pictures, and what a purge deletes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from asgi_client import Client
from starlette.requests import Request
from typer.testing import CliRunner

from example_plugins import clear_caches
from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.portal._views.overview_pictures import build_informative_picture_check
from hven.portal._views.page_formats import build_page_context
from hven.services.face import ServiceContext, load_service_faces
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_page_part

PACKAGE = '''\
"""A package with a service that has HiPS of images."""

from hven.model.plugins import FilePictureAddresses, PluginPackage

PLUGIN = PluginPackage(
    name="night_sky",
    title="Maps of the night",
    protocols={"night": "hven_night_service"},
    collection_folders=("night",),
    file_pictures=FilePictureAddresses(picture="night/{path}/picture", thumbnail="night/{path}?small=yes"),
)
'''
SERVICE = '''\
"""HiPS of the collections of a site."""

from hven.services.face import PictureService, ServiceFace


def list_surveys(context, collection, base_url):
    assert context.site is not None
    yield f"{base_url}/night/{collection}"


def is_informative(context, principal, collection, path):
    assert collection == "stars"
    return "bright" in path


PICTURES = PictureService(is_informative=is_informative, find_thumbnail=lambda *_: None, draw_thumbnail=lambda *_: b"")
FACE = ServiceFace(name="night", title="Night", list_surveys=list_surveys, pictures=PICTURES)
'''
DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    position: [ra, dec]
    columns: {name: string, ra: {type: float64, unit: deg}, dec: {type: float64, unit: deg}}
"""

THUMBNAILS = """\
collection: maps
title: Maps
files: ["*.fits", "*.txt"]
tables:
  main:
    source: {kind: csv, files: maps.csv}
    primary: file
    columns: {file: string, thumbnail_url: string}
    links: [{semantics: this, file: "{target.file}"}]
"""


@pytest.fixture(autouse=True)
def package_place(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
    (place / "hven_night_service.py").write_text(SERVICE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as context:
        context.delenv(plugins.SELECTION_VARIABLE, raising=False)
        context.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        yield place
    plugins.select_plugin_packages(None)
    clear_caches()
    for name in ("hven_night_sky", "hven_night_service"):
        sys.modules.pop(name, None)


@pytest.fixture
def site_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    (directory / "collections/stars").mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "x"\nsurveys = ["https://hips.example.org/DSS"]\n', encoding="utf-8")
    (directory / "collections/stars/stars.csv").write_text("name,ra,dec\nVega,279.2,38.8\n", encoding="utf-8")
    (directory / "collections/stars/stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "stars")
    return directory


def test_maps_of_tables_show_surveys_of_services(site_directory: Path) -> None:
    require_page_part("table.map")
    with Site(load_settings(site_directory)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/stars/main", headers={"accept": "text/html"}).text
    surveys = re.findall(r'data-surveys="([^"]*)"', page)
    assert [address.split("/", 3)[3] for address in surveys[0].split()] == ["DSS", "night/stars"]


@pytest.mark.parametrize("selection", ["", "plugins = []\n"])
def test_a_purge_deletes_what_the_package_has_made(site_directory: Path, selection: str) -> None:
    (site_directory / "hven.toml").write_text(f'name = "x"\n{selection}', encoding="utf-8")
    folder = site_directory / "var/night"
    for collection in ("stars", "planets"):
        (folder / collection).mkdir(parents=True)
        (folder / collection / "night.fits").write_bytes(b"")
    words = ["--site", str(site_directory), "remove", "stars", "--purge"]
    removed = CliRunner().invoke(build_typer_app("remove"), words)
    assert (removed.exit_code, [path.name for path in folder.iterdir()]) == (0, ["planets"])


def test_rows_lead_to_the_thumbnails_of_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "collections/maps"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text(
        'public_url = "https://vo.example"\nplugins = ["night_sky"]\n', encoding="utf-8"
    )
    (folder / "maps.yaml").write_text(THUMBNAILS, encoding="utf-8")
    (folder / "maps.csv").write_text("file\na.fits\nb.txt\n", encoding="utf-8")
    for name in ("a.fits", "b.txt"):
        (folder / name).write_bytes(b"")
    query = "SELECT thumbnail_url FROM maps.main ORDER BY file"
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "maps")
        answer = Client(create_and_start_application(site)).get(
            "/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv"
        )
    address = "https://vo.example/collections/maps/night/a.fits?small=yes"
    assert [line.strip('"') for line in answer.text.splitlines()] == ["thumbnail_url", address, ""]


@pytest.mark.parametrize("selection", ["night_sky", ""])
def test_pages_ask_the_service_which_pictures_show_something(site_directory: Path, selection: str) -> None:
    """Without a service, pictures that it would draw are not shown, and those that the browser draws are."""
    settings = f'name = "x"\npublic_url = "https://vo.example"\nplugins = ["{selection}"]\n'
    (site_directory / "hven.toml").write_text(settings, encoding="utf-8")
    folder = "https://vo.example/collections/stars"
    with Site(load_settings(site_directory)) as site:
        night_faces = {name: face for name, face in load_service_faces().items() if name == "night"}
        context = replace(ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), faces=night_faces)
        request = Request({"type": "http", "path": "/", "headers": [(b"host", b"vo.example")], "query_string": b""})
        is_informative = build_informative_picture_check(build_page_context(request, context))
        addresses = [f"{folder}/preview/bright.fits", f"{folder}/files/bright.png", f"{folder}/files/dark.png"]
        verdicts = [is_informative(address) for address in (*addresses, "https://other.example/dark.png")]
    assert verdicts == ([True, True, False, True] if selection else [False, True, True, True])
