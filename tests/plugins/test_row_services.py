"""A package has services for the files of rows: results describe them, ObsCore leads to them, and SIA lists their cut-outs; what is made of files in advance."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Client

from example_plugins import clear_caches
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import plugins
from hven.model.errors import UserError
from hven.model.settings import load_settings
from hven.services.face import ServiceContext
from hven.services.file_preparation import prepare_files_and_remove_stale_products
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL

PACKAGE = '''\
"""A package with a service that cuts images."""

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    protocols={"night": "hven_night_service"},
    file_services={"night": "hven_night_service:build_link"},
    file_preparations={"spectra": "hven_night_service:COPIES"},
    file_archivers={"7z": "hven_night_service:ARCHIVER"},
    collection_folders=("nights",),
)
'''
SERVICE = '''\
"""Images of the night."""

from starlette.responses import PlainTextResponse

from hven.model.params import Param
from hven.model.table import (
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    write_target_column_reference,
)
from hven.services.collection_files import locate_original_file
from hven.services.face import FilePages, ServiceFace
from hven.services.file_preparation import FilePreparation


def build_link(table):
    key = TemplateExpression(write_target_column_reference(table.identifier_column.name))
    inputs = (
        ServiceParameter(param=Param(name="ROW"), value=(key,)),
        ServiceParameter(param=Param(name="TABLE"), value=(table.qualified_name,)),
    )
    service = ServiceDescriptor(address=(SITE_URL_EXPRESSION, "/night"), inputs=inputs)
    return LinkTemplate(semantics="#nights", address=(), description=("Nights",), service=service)


def build_links(table, context):
    (own,) = table.row_file_links
    page = LinkTemplate(
        semantics="#auxiliary",
        address=(SITE_URL_EXPRESSION, "/night/", *own.address),
        description=("A night",),
        page_text="The night of {name}",
    )
    return [build_link(table), page]


def list_page_paths(context, collection, paths):
    assert context.site is not None
    return [f"/night/{collection}/{path}" if path.endswith("vega.txt") else None for path in paths]


def list_image_cutouts(context, principal, table, identifiers, region):
    for identifier in identifiers:
        yield identifier, {"title": f"{identifier} {region}", "url": f"/night?{table.name}"}


def create_input_describer(context, collection):
    return lambda path, state: None if "altair" in path else state


def prepare_file(file, report):
    original_file = locate_original_file(file.context, file.principal, file.found_files, file.path)
    directory = original_file.get_products_directory("nights")
    directory.mkdir(parents=True)
    (directory / "copy").write_bytes(original_file.path.read_bytes())
    report.copies += 1
    return True


def remove_stale_products(context, collection):
    for copy in (context.site.settings.var_directory / "nights" / collection).glob("*/copy"):
        if copy.read_bytes() != b"bright":
            copy.unlink()


class Archive:
    def __init__(self, addresses):
        self.addresses = addresses
        self.file_count = len(addresses)
        self.missing_count = self.total_bytes = 0

    def answer(self, request, kind, name, readme_lines):
        return PlainTextResponse(f"{kind} {name} {dict(readme_lines)['Column']} {self.addresses}")


class Archiver:
    def get_max_files(self, settings):
        return 3

    def read_addresses(self, context, result, base_url, columns=(), link_template=None):
        return [name for batch in result.iterate_batches() for name in batch.column(columns[0]).to_pylist()]

    def plan(self, context, request, addresses):
        return Archive(addresses)


ARCHIVER = Archiver()
COPIES = FilePreparation(
    create_input_describer=create_input_describer,
    prepare_file=prepare_file,
    remove_stale_products=remove_stale_products,
)
FACE = ServiceFace(
    name="night",
    title="Night",
    applies=lambda table: table.has_row_files,
    build_links=build_links,
    list_image_cutouts=list_image_cutouts,
    file_pages=FilePages(title="Nights of files", list_page_paths=list_page_paths),
)
'''
DESCRIPTOR = """\
collection: stars
title: Stars
files: [data/*]
prepare: [spectra]
services: [tap, datalink, obscore, sia, files, portal{services}]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {{id: {{type: string, ucd: "meta.id;meta.main"}}, file: string}}
    links: [{{semantics: this, file: "{{target.file}}"}}]
    obscore:
      set: {{dataproduct_type: image, calib_level: 2, s_ra: 10.0, s_dec: 20.0}}
      text: {{access_url: "{{site.url}}/collections/stars/files/{{file}}"}}
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path) -> Iterator[None]:
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
        yield
    plugins.select_plugin_packages(None)
    clear_caches()
    for name in ("hven_night_sky", "hven_night_service"):
        sys.modules.pop(name, None)


def make_site(directory: Path, services: str = ", night", selection: str = '["night_sky"]') -> Site:
    folder = directory / "collections/stars"
    (folder / "data").mkdir(parents=True)
    (directory / "hven.toml").write_text(
        f'public_url = "https://vo.example"\nplugins = {selection}\n', encoding="utf-8"
    )
    (folder / "rows.csv").write_text("id,file\nVega,data/vega.txt\n", encoding="utf-8")
    for name in ("altair", "vega"):
        (folder / f"data/{name}.txt").write_text("bright", encoding="utf-8")
    (folder / "stars.yaml").write_text(DESCRIPTOR.format(services=services), encoding="utf-8")
    site = Site(load_settings(directory))
    ingest_collection(site, "stars")
    return site


def query(client: Client, text: str, **params: str) -> str:
    return client.get("/tap/sync", LANG="ADQL", QUERY=text, **params).text


def test_results_describe_the_service(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        result = query(client, "SELECT id FROM stars.main")
        assert 'ID="nights"' in result or 'name="nights"' in result
        assert "https://vo.example/night" in result
        assert "/night" not in query(client, "SELECT file FROM stars.main"), "without an identifier"


@pytest.mark.parametrize(
    ("services", "selection"), [("", '["night_sky"]'), ("", "[]")], ids=["not of this table", "left out"]
)
def test_without_the_service_rows_have_only_their_file(tmp_path: Path, services: str, selection: str) -> None:
    with make_site(tmp_path, services, selection) as site:
        client = Client(create_and_start_application(site))
        assert "/night" not in query(client, "SELECT id FROM stars.main")
        address = query(client, "SELECT access_url FROM ivoa.obscore", RESPONSEFORMAT="csv").split()[1]
        assert address == "https://vo.example/collections/stars/files/data/vega.txt"
        assert client.get("/sia/stars.main/cutouts", POS="10,20", SIZE="1").status == 404


def test_observations_lead_to_the_links_of_their_rows(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        address = query(client, "SELECT access_url FROM ivoa.obscore", RESPONSEFORMAT="csv").split()[1]
        assert address == "https://vo.example/datalink/stars.main?ID=Vega"
        links = client.get("/datalink/stars.main", ID="Vega", RESPONSEFORMAT="csv").text
        assert "#nights" in links


def test_sia_lists_the_cut_outs_of_the_service(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        text = client.get("/sia/stars.main/cutouts", POS="10,20", SIZE="1", RESPONSEFORMAT="csv").text
        (image,) = csv.DictReader(text.splitlines())
        assert image["url"] == "https://vo.example/night?main"
        assert image["title"].startswith("ivo:") or image["title"].startswith("Vega")


def test_pages_link_to_pages_about_files(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"}).text
        assert 'Nights of files: <a href="https://vo.example/night/stars/data/vega.txt">vega.txt</a></p>' in page
        row = client.ask("GET", f"/collections/stars/main/row?{urlencode({'_row': json.dumps(['Vega'])})}")
        texts = {link["text"] for link in json.loads(row.body)["links"]}
        assert "The night of vega.txt" in texts


def test_pages_offer_archives(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        offers = json.loads(client.get("/collections/stars/main/take").text)
        assert [script["name"] for script in offers["scripts"]] == ["7z"]
        answer = client.get("/collections/stars/main/script?_as=7z")
        assert answer.text == "7z stars.main id ['Vega']"


def test_files_are_prepared_after_each_ingest(tmp_path: Path) -> None:
    with make_site(tmp_path) as site:
        assert run_next_job(site)
        copies = list((site.settings.var_directory / "nights/stars").glob("*/copy"))
        assert [copy.read_text() for copy in copies] == ["bright"]
        copies[0].write_text("old")
        context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        report = prepare_files_and_remove_stale_products(context, OWNER_PRINCIPAL, "stars", ["spectra"])
        assert (report.files, copies[0].exists()) == (0, False)


def test_files_are_not_prepared_without_the_package(tmp_path: Path) -> None:
    with make_site(tmp_path, "", "[]") as site:
        assert not run_next_job(site)
        context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        with pytest.raises(UserError, match="spectra"):
            prepare_files_and_remove_stale_products(context, OWNER_PRINCIPAL, "stars", ["spectra"])
