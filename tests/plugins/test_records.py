"""What the record of a package adds besides plug-ins of the groups: settings, checks, and modules for extension points."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp
from typer.testing import CliRunner

from example_plugins import clear_caches
from hven import query
from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.app._server.request_middleware import RequestMiddleware
from hven.descriptor import list_missing_metadata, load_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.jobs.health import SiteHealthMonitor
from hven.model import plugins
from hven.model._plugin_package import OBJECT_FIELDS
from hven.model.errors import DescriptorError, UserError, format_message
from hven.model.settings import (
    ReloadableSettings,
    collect_setting_docs,
    iterate_location_specific_settings,
    load_settings,
)
from hven.portal._pages.package_pages import find_package_page_address
from hven.services import read_params
from hven.services.address_rewriting import load_address_rewriters
from hven.site import RequestObserverGroup, Site, reserve_request_observer_memory
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.store import StateStore
from hven.testing.site import build_table_from_arrow, publish_rows
from second_engine import OTHER_NAME, register_other_engine

FEDERATED_PLANNER = """\
from hven.model.errors import UserError


def plan_on_first_engine(bound_query, engines, engines_by_table, relations, limits):
    places = ", ".join(f"{table} in {engine}" for table, engine in sorted(engines_by_table.items()))
    raise UserError(f"{places}: {len(relations)} relations, {limits.copy_rows} rows")
"""
PACKAGE = '''\
"""A package with settings, a check, and an extension point to which it adds a module of its own."""

from dataclasses import dataclass

from hven.model.errors import Fault
from hven.model.plugins import PluginPackage
from hven.model.settings import SettingsSection, define_setting

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    uses=(),
    settings={"night": "hven_night_sky:NIGHT", "files:night": "hven_night_sky:PLANS"},
    checks=("hven_night_sky:check_night",),
    address_rewriter="hven_night_sky:NightAddresses",
    identifiers="hven_night_sky:NightIdentifiers",
    extensions={"night_sky.reports": ("hven_night_report",)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NightSettings:
    """Where and when."""

    place: str = define_setting("Hven", "name of the observatory", placed="the place of the telescope")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """Plans on disk."""

    plans: int = define_setting(1024, "bytes of plans on disk", ge=1, size=True)


def find_far_places(night):
    if night.get("place") == "Moon":
        yield "place", "is too far away"


class NightAddresses:
    """Old addresses below /night."""

    def __init__(self, settings):
        self.place = settings.brought["night"].place

    def rewrite_request(self, scope):
        if not scope["path"].startswith("/night/"):
            return scope
        path = scope["path"].replace("/night/", f"/{self.place}/")
        return {**scope, "path": path, "hven.form_rewriter": lambda address, body: [*address, *body, ("OLD", "1")]}

    def map_path_prefixes(self):
        return {"/night/": f"/{self.place}/"}


NIGHT = SettingsSection(
    name="night",
    settings_class=NightSettings,
    doc="observing nights",
    previous_setting="data",
    find_faults=find_far_places,
)
PLANS = SettingsSection(name="files", part="night", settings_class=PlanSettings)


class NightIdentifiers:
    def __init__(self, database):
        self.database = database

    def find_doi_record(self, collection, label=""):
        return None

    def map_dois(self):
        return {("night", "R1"): "10.5072/night.r1"}


def check_night(settings):
    yield f"observes from {settings.brought['night'].place}"
    if settings.brought["files:night"].plans < 10:
        yield Fault(message="there is little room for plans", severity="warning")
'''
REPORT = "REPORT = 'of the night'\n"
PORTAL_PACKAGE = '''\
"""A package with a page of the portal, and observers of requests."""

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    pages="hven_night_report:PAGES",
    table_pages="hven_night_report:TABLE_PAGES",
    translations="hven_night_sky:night_texts",
    scripts="hven_night_sky:night_scripts",
    request_observers=("hven_night_report:FaultyObserver", "hven_night_report:NightObserver"),
    account_removers=("hven_night_report:forget_observer",),
)
'''
PORTAL_MODULE = '''\
"""The page, and the observers."""

from dataclasses import dataclass
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hven.portal.api.pages import PageContent, PortalPages, TemplateContext, build_page_endpoint
from hven.portal.api.table_pages import TablePageExtension
from hven.site import RequestObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPage(TemplateContext):
    """The page of the night."""

    template = "night_sky/night.html"
    place: str


def build_routes(context):
    """Route ``/night``."""

    async def show_night(page_context):
        return PageContent(page=NightPage(place="Hven"), json_content={"place": "Hven"})

    return [Route("/night", build_page_endpoint(show_night, context))]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "night_pages",
    parts={"header": "moon.html", "table.overview": "stars.html", "collection.coverage": "rows.html"},
    compute_frame_value=lambda request, context: f"{request.url.path} of {context.site.settings.name}",
    word_search_path="/night",
    query_editor_path="/night/query",
    job_list_path="/night/jobs",
    page_writers={"jobs": lambda request, context, types: PlainTextResponse(f"{context.site.settings.name}: {sorted(types)}")},
)
TABLE_PAGES = TablePageExtension(
    compute_value=lambda table_view, page_context: f"{table_view.table.name} at {page_context.request.query_params['_night']}",
    compute_overview=lambda table, runner, page_context: f"{runner.find_table_with_visible_counts(table).rows} rows",
    parameters=("_night",),
    rank_plot_columns=lambda table_view: ("dec", "ra", "magnitude"),
)


def forget_observer(site, account):
    """Forget who observed."""
    (site.settings.data_directory / f"forgotten-{account}").write_text("", encoding="utf-8")


class FaultyObserver(RequestObserver):
    """It fails."""

    def record_request(self, request):
        raise ValueError("clouds")


class NightObserver(RequestObserver):
    """It lists what it was told."""

    told = []

    @staticmethod
    def reserve_shared_memory():
        NightObserver.told.append("prepare")

    def start(self):
        self.told.append("start")

    def stop(self):
        self.told.append("stop")

    def record_request(self, request):
        self.told.append((request.method, request.target, request.status, request.usage.face, request.usage.path))
'''
NIGHT_TEMPLATE = """\
{% extends "frame.html" %}
{% block head %}<link rel="stylesheet" href="{{ asset("night_sky/moon.css") }}">{% endblock %}
{% block content %}<h1>{{ _("Observing at {place}").format(place=place) }}</h1>{% endblock %}
"""


NIGHT_SCRIPT = """\
import { phase } from "./parts/phases.js";
export const mount = (element) => element.append(phase);
"""
NIGHT_CATALOGUE = """\
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgctxt "pages"
msgid "Observing at {place}"
msgstr "Observation à {place}"

msgctxt "pages"
msgid "Log in"
msgstr "Another word for it"
"""


def install_package(place: Path, text: str = PACKAGE, report: str = REPORT) -> None:
    """Write a package as it stands among installed ones."""
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(text, encoding="utf-8")
    (place / "hven_night_report.py").write_text(report, encoding="utf-8")
    (place / "night_pages").mkdir()
    (place / "night_pages/night.html").write_text(NIGHT_TEMPLATE, encoding="utf-8")
    (place / "night_pages/moon.html").write_text('<i id="moon">{{ frame_values.night_sky }}</i>\n', encoding="utf-8")
    stars_template = '<i id="stars">{{ table_values.night_sky }}, {{ here }}?{{ state }}</i>\n'
    (place / "night_pages/stars.html").write_text(stars_template, encoding="utf-8")
    (place / "night_pages/rows.html").write_text('<i id="rows">{{ seen.values.night_sky }}</i>', encoding="utf-8")
    (place / "night_scripts/parts").mkdir(parents=True)
    (place / "night_scripts/moon.js").write_text(NIGHT_SCRIPT, encoding="utf-8")
    (place / "night_scripts/parts/phases.js").write_text("export const phase = 'full';\n", encoding="utf-8")
    (place / "night_scripts/moon.css").write_text("#moon { color: silver; }\n", encoding="utf-8")
    (place / "night_scripts/notes.py").write_text("of the package alone\n", encoding="utf-8")
    (place / "night_texts").mkdir()
    (place / "night_texts/fr.po").write_text(NIGHT_CATALOGUE, encoding="utf-8")


@contextmanager
def use_packages(place: Path) -> Iterator[None]:
    """Use the packages that are installed in a directory, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(plugins.SELECTION_VARIABLE, raising=False)
        patch.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        try:
            yield
        finally:
            for name in ("hven_night_sky", "hven_night_report"):
                sys.modules.pop(name, None)
    plugins.select_plugin_packages(None)
    clear_caches()


@pytest.fixture
def package_place(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    install_package(place)
    with use_packages(place):
        yield place


@pytest.fixture
def portal_package_place(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    install_package(place, PORTAL_PACKAGE, PORTAL_MODULE)
    with use_packages(place):
        yield place


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    (directory / "collections").mkdir(parents=True)
    (directory / "hven.toml").write_text(
        'name = "x"\n[night]\nplace = "Stjerneborg"\n[files]\ncache = "64 MB"\nplans = "2k"\n', encoding="utf-8"
    )
    return directory


@pytest.mark.usefixtures("package_place")
def test_a_package_adds_a_section_and_settings_to_another_section(site: Path) -> None:
    found = load_settings(site, {"HVEN_FILES_AT_ONCE": "2"})
    assert found.brought["night"].place == "Stjerneborg"
    assert found.brought["files:night"].plans == 2048
    assert (found.files.cache, found.files.at_once) == (64 << 20, 2)
    assert load_settings(site, {"HVEN_FILES_PLANS": "3k"}).brought["files:night"].plans == 3072
    docs = collect_setting_docs()
    assert (docs["night"], docs["night.place"], docs["files.plans"]) == (
        "observing nights",
        "name of the observatory",
        "bytes of plans on disk",
    )
    assert ("night.place", "Stjerneborg", "the place of the telescope") in iterate_location_specific_settings(found)


@pytest.mark.usefixtures("package_place")
def test_faults_of_such_settings_are_told_with_their_lines(site: Path) -> None:
    (site / "hven.toml").write_text("[files]\nplans = 0\nplan = 1\n[night]\nplace = 1\n", encoding="utf-8")
    with pytest.raises(DescriptorError) as raised:
        load_settings(site, {})
    text = str(raised.value)
    assert "hven.toml:2: files.plans: " in text
    assert "hven.toml:3: files.plan: there is no such setting; did you mean 'plans'?" in text
    assert "hven.toml:5: night.place: " in text


@pytest.mark.usefixtures("package_place")
def test_a_section_finds_faults_between_its_settings(site: Path) -> None:
    (site / "hven.toml").write_text('[night]\n\nplace = "Moon"\n', encoding="utf-8")
    with pytest.raises(DescriptorError, match=r"hven\.toml:3: night\.place: is too far away"):
        load_settings(site, {})


@pytest.mark.usefixtures("package_place")
def test_a_package_rewrites_old_addresses(site: Path) -> None:
    settings = load_settings(site, {})
    [rewriter] = [item for item in load_address_rewriters(settings) if type(item).__name__ == "NightAddresses"]
    assert rewriter.map_path_prefixes() == {"/night/": "/Stjerneborg/"}

    async def answer(request: Request) -> JSONResponse:
        params = await read_params(request, 1000)
        return JSONResponse(
            {"path": request.url.path, **{name: list(values) for name, values in params.values.items()}}
        )

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    client = Client(RequestMiddleware(app, settings, StateStore(settings.var_directory)))
    assert json.loads(client.get("/night/moon", x="2").text) == {"path": "/Stjerneborg/moon", "X": ["2"]}
    answered = json.loads(client.post("/night/moon", x="2").text)
    assert answered == {"path": "/Stjerneborg/moon", "X": ["2"], "OLD": ["1"]}
    assert json.loads(client.post("/day", x="2").text) == {"path": "/day", "X": ["2"]}


def test_a_section_stands_behind_the_setting_that_it_names(package_place: Path) -> None:
    names = list(collect_setting_docs())
    assert names[names.index("data") :].index("night") < names[names.index("data") :].index("python")
    path = package_place / "hven_night_sky.py"
    path.write_text(
        PACKAGE.replace('previous_setting="data"', 'previous_setting="of_another_package"'), encoding="utf-8"
    )
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    assert "night" in collect_setting_docs()


@pytest.mark.usefixtures("package_place")
def test_what_is_open_keeps_its_section_and_the_parts_of_it(site: Path) -> None:
    current = ReloadableSettings(load_settings(site, {}))
    (site / "hven.toml").write_text('[night]\nplace = "Hven"\n[files]\nplans = "4k"\n', encoding="utf-8")
    current.reload_if_changed(["files"])
    assert current.pending_restart == ("files.plans",)
    assert current.current.brought["files:night"].plans == 2048
    assert current.current.brought["night"].place == "Hven"


@pytest.mark.usefixtures("package_place")
def test_hven_check_runs_the_checks_of_packages(site: Path) -> None:
    (site / "hven.toml").write_text("[files]\nplans = 5\n", encoding="utf-8")
    shown = CliRunner().invoke(build_typer_app(), ["--site", str(site), "check"]).output
    assert "observes from Hven" in shown
    assert "warning: there is little room for plans" in shown


@pytest.mark.usefixtures("package_place")
def test_an_extension_point_has_the_modules_of_all_packages() -> None:
    (module,) = plugins.load_extensions("night_sky.reports")
    assert module.REPORT == "of the night"
    assert plugins.load_extensions("night_sky.other") == ()
    assert list(plugins.find_plugin_faults()) == []


@pytest.fixture
def plain_site(site: Path) -> Path:
    (site / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    return site


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_adds_pages_to_the_portal(plain_site: Path) -> None:
    with Site(load_settings(plain_site, {})) as opened:
        client = Client(create_and_start_application(opened))
        page = client.ask("GET", "/night", headers={"accept": "text/html"})
        assert page.status == 200
        assert "<h1>Observing at Hven</h1>" in page.text
        assert '<main id="content">' in page.text, "the frame of all pages is around it"
        assert client.ask("GET", "/night.json").body == b'{"place":"Hven"}'
        french_page = client.ask("GET", "/night", headers={"accept": "text/html", "accept-language": "fr"}).text
        assert "<h1>Observation à Hven</h1>" in french_page
        assert "Another word for it" not in french_page, "texts of the portal stay as they are"
        (plain_site / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
        load_settings(plain_site, {})
        assert Client(create_and_start_application(opened)).ask("GET", "/night").status == 404


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_adds_parts_to_other_pages(plain_site: Path) -> None:
    with Site(load_settings(plain_site, {})) as opened:
        client = Client(create_and_start_application(opened))
        for path in ("/", "/help", "/nothing"):
            page = client.ask("GET", path, headers={"accept": "text/html"}).text
            header = page[page.index("<header>") : page.index("</header>")]
            assert f'<i id="moon">{path} of x</i>' in header
        plugins.select_plugin_packages([])
        assert "moon" not in client.ask("GET", "/help", headers={"accept": "text/html"}).text


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_adds_to_the_page_of_a_table(plain_site: Path) -> None:
    folder = plain_site / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text("collection: stars\ntitle: Stars\ntables: {main: {source: stars.csv}}\n")
    (folder / "stars.csv").write_text("name,ra,dec\nVega,279,38\nSirius,101,-16\n")
    (plain_site / "hven.toml").write_text('name = "x"\nplugins = ["night_sky"]\n', encoding="utf-8")
    with Site(load_settings(plain_site, {})) as opened:
        ingest_collection(opened, "stars")
        client = Client(create_and_start_application(opened))
        page = client.ask("GET", "/collections/stars/main?_night=dusk&ra=1..200", headers={"accept": "text/html"}).text
        assert '<i id="stars">main at dusk, http://vo.example/collections/stars/main?ra=1..200</i>' in page
        assert 'data-first="dec;ra"' in page
        collection_page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"}).text
        assert '<i id="rows">2 rows</i>' in collection_page
        assert "#fault-" not in page
        plugins.select_plugin_packages([])
        page = client.ask("GET", "/collections/stars/main?_night=dusk", headers={"accept": "text/html"}).text
        assert 'id="stars"' not in page
        assert 'data-first=""' in page
        assert 'href="#fault-_night"' in page, "nobody reads it"


@pytest.mark.usefixtures("portal_package_place")
def test_words_of_other_pages_lead_to_the_search_of_a_package() -> None:
    plugins.select_plugin_packages(["night_sky"])
    assert find_package_page_address("word_search_path", "http://vo.example/sunny") == "http://vo.example/sunny/night"
    plugins.select_plugin_packages([])
    assert find_package_page_address("word_search_path", "http://vo.example/sunny") == ""


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_has_pages_of_queries_and_jobs(plain_site: Path) -> None:
    (plain_site / "hven.toml").write_text('name = "x"\nplugins = ["night_sky"]\n', encoding="utf-8")
    with Site(load_settings(plain_site, {})) as opened:
        client = Client(create_and_start_application(opened))
        page = client.ask("GET", "/help", headers={"accept": "text/html"}).text
        assert '<a href="http://vo.example/night/query">ADQL</a>' in page
        assert '<a href="http://vo.example/night/jobs">Jobs</a>' in page
        assert client.ask("GET", "/jobs", headers={"accept": "text/html"}).text.startswith("x: [")
        assert client.ask("GET", "/jobs", headers={"accept": "application/json"}).text.startswith('{"types":')


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_adds_scripts_and_styles_to_pages(plain_site: Path) -> None:
    with Site(load_settings(plain_site, {})) as opened:
        client = Client(create_and_start_application(opened))
        page = client.ask("GET", "/night", headers={"accept": "text/html"}).text
        [panes_text] = re.findall(r"data-panes='([^']+)'", page)
        panes = json.loads(html.unescape(panes_text))
        [style_address] = re.findall(r'<link rel="stylesheet" href="([^"]+/moon\.css)">', page)
        assert list(panes) == ["moon"]
        folder_address = panes["moon"].removesuffix("moon.js")
        assert re.fullmatch(r"http://vo\.example/assets/packages/night_sky/[0-9a-f]{16}/", folder_address)
        texts = {
            panes["moon"]: ("text/javascript", NIGHT_SCRIPT),
            f"{folder_address}parts/phases.js": ("text/javascript", "export const phase = 'full';\n"),
            style_address: ("text/css", "#moon { color: silver; }\n"),
        }
        for address, (media_type, text) in texts.items():
            answer = client.ask("GET", address.removeprefix("http://vo.example"))
            assert (answer.status, answer.text) == (200, text)
            assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
            assert "immutable" in answer.headers["cache-control"]
        path = folder_address.removeprefix("http://vo.example")
        for wrong in (f"{path}notes.py", f"{path}../hven_night_sky.py", "/assets/packages/night_sky/0/moon.js"):
            assert client.ask("GET", wrong).status == 404
        plugins.select_plugin_packages([])
        assert client.ask("GET", style_address.removeprefix("http://vo.example")).status == 404
        assert "data-panes" not in client.ask("GET", "/help", headers={"accept": "text/html"}).text


def test_a_place_that_pages_do_not_have_is_a_fault(portal_package_place: Path) -> None:
    path = portal_package_place / "hven_night_report.py"
    path.write_text(PORTAL_MODULE.replace('"header"', '"roof"'), encoding="utf-8")
    clear_caches()
    messages = {fault.message for fault in plugins.find_plugin_faults()}
    assert messages
    assert all("'roof' is not a place on a page; use one of header, " in message for message in messages)


@pytest.mark.usefixtures("portal_package_place")
@pytest.mark.parametrize("settings", ['name = "x"\n', 'name = "x"\nplugins = []\n'], ids=["used", "left out"])
def test_a_package_deletes_what_it_keeps_of_a_removed_account(plain_site: Path, settings: str) -> None:
    (plain_site / "hven.toml").write_text(settings, encoding="utf-8")
    with Site(load_settings(plain_site, {})) as opened:
        opened.store.users.add_account("tycho")
        forgotten = opened.settings.data_directory / "forgotten-tycho"
    result = CliRunner().invoke(build_typer_app(), ["--site", str(plain_site), "user", "remove", "tycho"])
    assert result.exit_code == 0, result.output
    assert forgotten.exists()


@asynccontextmanager
async def run_lifespan(application: ASGIApp) -> AsyncIterator[None]:
    """Start an application as a server does, and stop it; its site is closed then."""
    received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    task = asyncio.create_task(application({"type": "lifespan"}, received.get, sent.put))
    for step in ("startup", "shutdown"):
        await received.put({"type": f"lifespan.{step}"})
        assert (await sent.get())["type"] == f"lifespan.{step}.complete"
        if step == "startup":
            yield
    await task


@pytest.mark.usefixtures("portal_package_place")
def test_a_package_sees_the_requests_that_were_answered(plain_site: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugins.select_plugin_packages(["night_sky"])
    reserve_request_observer_memory()

    async def serve() -> None:
        application = create_and_start_application(Site(load_settings(plain_site, {})))
        async with run_lifespan(application):
            client = Client(application)
            assert (await client.ask_async("GET", "/help", b"lang=fr")).status == 200
            assert (await client.ask_async("GET", "/health/live")).status == 200
            assert (await client.ask_async("GET", "/help/nothing")).status == 404

    asyncio.run(serve())
    assert sys.modules["hven_night_report"].NightObserver.told == [
        "prepare",
        "start",
        ("GET", "/help?lang=fr", 200, "portal", "/help"),
        ("GET", "/help/nothing?", 404, "portal", "/help/{page}"),
        "stop",
    ]
    assert "a request could not be recorded" in caplog.text


@pytest.mark.usefixtures("portal_package_place")
def test_observers_follow_the_selection_of_packages(plain_site: Path) -> None:
    with Site(load_settings(plain_site, {})) as opened:
        group = RequestObserverGroup(opened)
        group.update_observers()
        group.start()
        for names, has_observers in (([], False), (["night_sky"], True)):
            plugins.select_plugin_packages(names)
            group.update_observers()
            assert group.has_observers is has_observers
        group.stop()
        assert sys.modules["hven_night_report"].NightObserver.told == ["start", "stop", "start", "stop"]


QUERY_PACKAGE = '''\
"""A package that observes queries."""

from hven.model.plugins import PluginPackage
from hven.query import QueryObserver


class BrokenObserver(QueryObserver):
    def __init__(self, site):
        raise ZeroDivisionError


class FaultyObserver(QueryObserver):
    def start_query(self, result, planned):
        raise ZeroDivisionError

    def end_query(self, result, planned, duration_seconds):
        raise ZeroDivisionError


class NightObserver(QueryObserver):
    told = []

    def start_query(self, result, planned):
        self.told.append(("start", planned.request.query, result.row_count))

    def end_query(self, result, planned, duration_seconds):
        assert duration_seconds >= result.wait_seconds >= 0
        self.told.append(("end", type(result.failure).__name__, result.row_count))


PLUGIN = PluginPackage(
    name="night_sky",
    title="Observe the queries of a site",
    query_observers=tuple(f"hven_night_sky:{kind}Observer" for kind in ("Broken", "Faulty", "Night", "No")),
)
'''


def test_a_package_sees_the_queries_that_ran(
    portal_package_place: Path, plain_site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (portal_package_place / "hven_night_sky.py").write_text(QUERY_PACKAGE, encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    plugins.select_plugin_packages(["night_sky"])
    adql_text = "SELECT table_name, COUNT(*) AS n FROM tap_schema.columns GROUP BY table_name"
    with Site(load_settings(plain_site, {})) as opened:
        with query.run_query(adql_text, site=opened) as result:
            row_count = result.read_table().num_rows
        batches = query.run_query(adql_text, site=opened).iterate_batches()
        next(batches)
        batches.close()
        plugins.select_plugin_packages([])
        query.run_query(adql_text, site=opened).read_table()
    assert row_count > 3
    assert sys.modules["hven_night_sky"].NightObserver.told == 2 * [
        ("start", adql_text, 0),
        ("end", "NoneType", row_count),
    ]
    assert "a query could not be recorded (error in " in caplog.text
    assert "the plug-in package night_sky names hven_night_sky:NoObserver" in caplog.text


@pytest.mark.parametrize("key", ["pages", "scripts", "translations", "request_observers"])
def test_a_site_is_served_without_what_cannot_be_loaded(
    portal_package_place: Path, plain_site: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        re.sub(r"(hven_night_\w+):", r"\1:No", line) if f" {key}=" in line else line
        for line in PORTAL_PACKAGE.splitlines()
    ]
    (portal_package_place / "hven_night_sky.py").write_text("\n".join(lines), encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    with Site(load_settings(plain_site, {})) as opened:
        client = Client(create_and_start_application(opened))
        assert client.ask("GET", "/help?lang=fr").status == 200
        assert client.ask("GET", "/night").status == (404 if key == "pages" else 200)
    fault = "the plug-in package night_sky names hven_night_"
    assert fault in caplog.text
    assert any(fault in error.message for error in plugins.find_plugin_faults())


LANDING_PAGES = """

from hven.portal.api.landing_pages import LandingPageExtension, LinkedDocument

NIGHT_PAGES = LandingPageExtension(
    list_documents=lambda address: [LinkedDocument(url=f"{address}/night.txt", type="text/night", name="The night")],
    list_feeds=lambda address: [LinkedDocument(url=f"{address}/night.rss", type="text/feed", name="Nights")],
    negotiated_paths={"text/night": "night.txt"},
    build_headers=lambda _, citation: {"x-night": citation.title},
)
"""


def test_a_package_adds_to_pages_of_collections(package_place: Path, site: Path) -> None:
    path = package_place / "hven_night_sky.py"
    record = PACKAGE.replace("    identifiers=", '    landing_pages="hven_night_pages:NIGHT_PAGES",\n    identifiers=')
    path.write_text(record, encoding="utf-8")
    (package_place / "hven_night_pages.py").write_text(LANDING_PAGES, encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    folder = site / "collections/stars"
    folder.mkdir()
    (folder / "stars.yaml").write_text(
        "collection: stars\ntitle: Stars\ntables: {main: {source: stars.csv}}\n", encoding="utf-8"
    )
    (folder / "stars.csv").write_text("name\nVega\n", encoding="utf-8")
    (site / "hven.toml").write_text('plugins = ["night_sky"]\n', encoding="utf-8")
    with Site(load_settings(site, {})) as opened:
        ingest_collection(opened, "stars")
        client = Client(create_and_start_application(opened))
        page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"})
        assert (page.status, page.headers["x-night"], "/collections/stars/night.txt" in page.text) == (
            200,
            "Stars",
            True,
        )
        (feed_address,) = re.findall(r'type="text/feed" title="Changes" href="(.*?)"', page.text)
        assert f'<a href="{feed_address}">Nights</a>' in page.text
        assert feed_address.endswith("/collections/stars/night.rss")
        answer = client.ask("GET", "/collections/stars", headers={"accept": "text/night, text/html;q=0.5"})
        assert (answer.status, answer.headers["location"]) == (303, "stars/night.txt")
        assert client.ask("GET", "/collections/nothing", headers={"accept": "text/html"}).status == 404
    sys.modules.pop("hven_night_pages", None)


COLUMN_PROPOSALS = """

def propose_labels(columns, published_table):
    return [{"ucd": "meta.note", "description": f"the {column.name} of {published_table.table.name}"} for column in columns]
"""


def test_a_package_proposes_attributes_of_columns(package_place: Path, site: Path) -> None:
    path = package_place / "hven_night_sky.py"
    record = 'column_proposals=("hven_night_sky:propose_labels",),\n    checks='
    path.write_text(path.read_text().replace("checks=", record, 1) + COLUMN_PROPOSALS, encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    folder = site / "collections/stars"
    folder.mkdir()
    (folder / "rows.csv").write_text("xyzzy\na\n", encoding="utf-8")
    text = "collection: stars\ntitle: Stars\ntables: {main: {source: rows.csv, columns: {xyzzy: string}}}\n"
    (folder / "stars.yaml").write_text(text, encoding="utf-8")
    with Site(load_settings(site, {}), watch_for_changes=False) as opened:
        ingest_collection(opened, "stars")
        published_table = opened.get_published_state().tables_by_name["stars.main"]
        resource = load_descriptor(folder / "stars.yaml", opened.settings)
        lacks = list(list_missing_metadata(resource, opened.settings, [published_table]))
    (told,) = (item.added_text for item in lacks if "xyzzy" in item.fault.message)
    assert told == "{type: string, ucd: meta.note, description: the xyzzy of main}"


@pytest.mark.usefixtures("package_place")
def test_a_package_gives_dois(site: Path) -> None:
    (site / "hven.toml").write_text('plugins = ["night_sky"]\n', encoding="utf-8")
    with Site(load_settings(site, {})) as opened_site:
        assert opened_site.identifiers.map_dois() == {("night", "R1"): "10.5072/night.r1"}
        assert opened_site.identifiers is opened_site.identifiers
    (site / "hven.toml").write_text("plugins = []\n", encoding="utf-8")
    with Site(load_settings(site, {})) as opened_site:
        assert opened_site.identifiers.map_dois() == {}
        assert opened_site.identifiers.find_doi_record("night") is None


def test_a_package_plans_queries_over_several_engines(package_place: Path, site: Path) -> None:
    record = PACKAGE.replace(
        "    identifiers=", '    federated_planner="hven_night_plans:plan_on_first_engine",\n    identifiers='
    )
    (package_place / "hven_night_sky.py").write_text(record, encoding="utf-8")
    (package_place / "hven_night_plans.py").write_text(FEDERATED_PLANNER, encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    (site / "hven.toml").write_text('plugins = ["night_sky"]\n', encoding="utf-8")
    rows = pa.table({"star": [1, 2, 3]})
    with register_other_engine(), Site(load_settings(site, {})) as opened_site:
        publish_rows(opened_site, build_table_from_arrow("sky.stars", rows), rows)
        publish_rows(opened_site, build_table_from_arrow("obs.logs", rows), rows, engine_name=OTHER_NAME)
        opened_site.refresh_published_state()
        text = "SELECT s.star FROM sky.stars AS s JOIN obs.logs AS l ON s.star = l.star"
        with pytest.raises(UserError, match=r"obs\.logs in other, sky\.stars in duckdb: 2 relations, 2000000 rows"):
            query.explain_query(text, site=opened_site)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            '"hven_night_sky:PLANS"',
            '"hven_night_sky:PLAN"',
            "names hven_night_sky:PLAN, but hven_night_sky has no PLAN",
        ),
        (
            '"hven_night_sky:check_night"',
            '"hven_night:check"',
            "names hven_night, which cannot be loaded: ModuleNotFound",
        ),
        (
            '"hven_night_sky:NightAddresses"',
            '"hven_night_sky:Addresses"',
            "names hven_night_sky:Addresses, but hven_night_sky has no Addresses",
        ),
        ('"hven_night_sky:NightIdentifiers"', '"hven_night_sky:Names"', "but hven_night_sky has no Names"),
        ('"hven_night_report"', '"hven_night_reports"', "names hven_night_reports, which cannot be loaded"),
        ("uses=()", 'uses=("sea",)', "the plug-in package night_sky is left out, because it uses sea"),
    ],
)
def test_a_record_with_a_fault_stops_no_site_and_is_reported(
    package_place: Path, site: Path, old: str, new: str, fault: str
) -> None:
    path = package_place / "hven_night_sky.py"
    path.write_text(PACKAGE.replace(old, new), encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    (site / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    assert load_settings(site, {}).name == "x"
    faults = [error.message for error in plugins.find_plugin_faults()]
    assert any(fault in one for one in faults), faults


def test_what_packages_name_is_checked() -> None:
    """A field that is loaded in use must be one whose objects `hven check` loads, too."""
    source = Path(plugins.__file__).parents[1]
    texts = [path.read_text(encoding="utf-8") for path in source.rglob("*.py")]
    used_fields = {name for text in texts for name in re.findall(r'iterate_package_objects\("(\w+)"', text)}
    assert len(used_fields) > 5
    assert used_fields <= set(OBJECT_FIELDS)


EVENT_PACKAGE = '''\
"""A package that announces events, and delivers those of all packages."""

from hven.model.plugins import PluginPackage
from hven.site.api.events import EventKind


class NightPost:
    told = []

    def record_event(self, connection, event):
        self.told.append((event.kind, list(event.accounts), str(event.message), event.path, event.table))
        if event.kind == "nights.storm":
            raise ZeroDivisionError

    def is_enabled(self, settings):
        return True

    def is_delivery_due(self, settings, store):
        return bool(self.told)

    def send_due_events(self, settings):
        self.told.append(settings.name)

    def find_problems(self, settings, store):
        return ["the post of the night is late"]


CLEAR = EventKind(title="A clear night")
POST = NightPost()
PLUGIN = PluginPackage(
    name="night_sky",
    title="Tell observers of clear nights",
    event_kinds={"nights.clear": "hven_night_sky:CLEAR"},
    event_service="hven_night_sky:POST",
)
'''


def test_a_package_announces_and_delivers_events(portal_package_place: Path, plain_site: Path) -> None:
    (portal_package_place / "hven_night_sky.py").write_text(EVENT_PACKAGE, encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    plugins.select_plugin_packages(["night_sky"])
    message = format_message("the night of {day} is clear", "today")
    event = SiteEvent(kind="nights.clear", accounts=("anna",), message=message, path="/nights", table="night.main")
    with Site(load_settings(plain_site, {})) as opened:
        database = opened.store.get_or_create(lambda database: database)
        with database.begin_write() as connection:
            notify_accounts(connection, event)
        with pytest.raises(ZeroDivisionError), database.begin_write() as connection:
            notify_accounts(connection, replace(event, kind="nights.storm"))
        status = SiteHealthMonitor(opened).get_status(wait_seconds=None)
        assert "the post of the night is late" in status.problems
        assert dict(plugins.iterate_package_objects("event_kinds"))["nights.clear"].title == "A clear night"
        plugins.select_plugin_packages([])
        with database.begin_write() as connection:
            notify_accounts(connection, event)
    told = sys.modules["hven_night_sky"].NightPost.told
    assert told[0] == ("nights.clear", ["anna"], "the night of today is clear", "/nights", "night.main")
    assert [item[0] for item in told] == ["nights.clear", "nights.storm"], "without the package, nothing happens"
