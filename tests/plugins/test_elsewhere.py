"""A package reads files of a kind of server that Hven does not know, and vouches for people who log in elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Client

from example_plugins import clear_caches
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.services.remote_files import MAX_CONCURRENT_CALLS, call_concurrently
from hven.site import Site
from hven.site.auth.local import build_principal

PACKAGE = '''\
"""A package with an archive on tapes, and the accounts of an observatory."""

from concurrent.futures import Future

from hven.model.errors import UnauthenticatedError, UpstreamError
from hven.model.plugins import PluginPackage
from hven.services.remote_files import RemoteFileState
from hven.sources.remote_stores import OWNER_REMEDY, RemoteFileFacts, is_pattern_match, open_remote_store

TAPES = {"a.dat": b"far away", "b.txt": b"words"}


class TapeStore:
    def __init__(self, address, options, *, allow_private, timeout_seconds):
        assert (address, dict(options), timeout_seconds > 0) == ("tape://vault/1601", {"key": "said"}, True)

    def fetch_facts(self, path):
        if path not in TAPES:
            raise UpstreamError("the tape is torn", remedy=OWNER_REMEDY)
        return RemoteFileFacts(bytes=len(TAPES[path]))

    def fetch_facts_and_beginning(self, path, size):
        return self.fetch_facts(path), TAPES[path][:size]

    def read_range(self, path, start_offset, end_offset, fact):
        assert fact == self.fetch_facts(path)
        yield TAPES[path][start_offset:end_offset]

    def list_files(self, patterns, ignore_patterns):
        for path in TAPES:
            if is_pattern_match(path, patterns, ignore_patterns):
                yield path, self.fetch_facts(path)


class TapeCache:
    def __init__(self, settings):
        self.settings = settings

    def open(self, root):
        return open_remote_store(root, resolve_secret=None, allow_private=False, timeout_seconds=1.0)

    async def get_file_state(self, root, path):
        fact = self.open(root).fetch_facts(path)
        return RemoteFileState(root=root, path=path, file_fact=fact, bytes=fact.bytes, key=f"tape-{path}")

    async def stream_pieces(self, file, begin, end):
        for piece in self.open(file.root).read_range(file.path, begin, end, file.file_fact):
            yield piece


class Observers:
    def __init__(self, store, settings):
        self.store = store

    def find_or_create_account_by_token(self, token):
        name, issuer, signature = token.split(".")
        if issuer != "hven":
            return None
        if signature != "tycho":
            raise UnauthenticatedError("the observatory did not sign this token")
        if not self.store.users.has_account(name):
            self.store.users.add_account(name)
        return name, {"observers"}

    @staticmethod
    def list_groups(grants, settings):
        return {f"{settings.name}-readers"} if any(grant.kind == "observer" for grant in grants) else set()

    @staticmethod
    def list_login_links(settings):
        return [("/login/observatory", "the observatory")]


PLUGIN = PluginPackage(
    name="night_sky",
    title="Tapes and people of an observatory",
    remote_stores={"tape": "hven_night_sky:TapeStore"},
    remote_file_cache="hven_night_sky:TapeCache",
    external_accounts="hven_night_sky:Observers",
)
'''
DESCRIPTOR = """\
collection: tapes
title: Tapes
files: [{root: "tape://vault/1601", options: {key: said}, files: "*.*", ignore: "*.txt"}]
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    access: shown = 'yes' or 'observers' in groups
    columns: {id: int32, shown: string}
"""
QUERY = "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": "SELECT id FROM tapes.main"})


@pytest.fixture(autouse=True)
def _package(tmp_path: Path) -> Iterator[None]:
    place = tmp_path / "site-packages"
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as context:
        context.delenv(plugins.SELECTION_VARIABLE, raising=False)
        context.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        yield
    plugins.select_plugin_packages(None)
    clear_caches()
    sys.modules.pop("hven_night_sky", None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site/collections/tapes"
    folder.mkdir(parents=True)
    (folder / "tapes.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "rows.csv").write_text("id,shown\n1,yes\n2,no\n", encoding="utf-8")
    (tmp_path / "site/hven.toml").write_text('name = "Hven"\nplugins = ["night_sky"]\n', encoding="utf-8")
    with Site(load_settings(tmp_path / "site")) as opened:
        ingest_collection(opened, "tapes")
        yield opened


def test_files_of_a_new_kind_of_server_are_listed_and_served(site: Site) -> None:
    assert list(plugins.find_plugin_faults()) == []
    client = Client(create_and_start_application(site))
    answer = client.get("/collections/tapes/files/a.dat")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"far away", '"tape-a.dat"')
    part = client.ask("GET", "/collections/tapes/files/a.dat", headers={"range": "bytes=4-"})
    assert (part.status, part.body) == (206, b"away")
    assert client.get("/collections/tapes/files/b.txt").status == 404


def test_a_package_vouches_for_people(site: Site) -> None:
    client = Client(create_and_start_application(site))

    def query(token: str) -> tuple[int, str]:
        answer = client.ask("GET", QUERY, headers={"authorization": f"Bearer {token}"})
        return answer.status, answer.text.replace("\r", "")

    assert query("sophie.hven.tycho") == (200, "id\n1\n2\n")
    status, text = query("sophie.hven.ursus")
    assert (status, "the observatory did not sign this token" in text) == (401, True)
    status, text = query("sophie.elsewhere.tycho")
    assert (status, "does not accept tokens from this issuer" in text) == (401, True)
    page = client.ask("GET", "/login", headers={"accept": "text/html"})
    assert 'href="http://vo.example/login/observatory"' in page.text
    assert "Log in with the observatory" in page.text


def test_groups_that_others_stated_count(site: Site) -> None:
    site.store.users.add_account("sophie")
    assert build_principal("sophie", site.store, site.settings).groups == {"user:sophie"}
    site.store.grants.add_grant("observer", subject="sophie", object="x", actor="observatory")
    assert build_principal("sophie", site.store, site.settings).groups == {"user:sophie", "Hven-readers"}


def test_servers_are_called_side_by_side_and_late_ones_are_not_awaited() -> None:
    everybody = threading.Barrier(MAX_CONCURRENT_CALLS)
    release = threading.Event()

    def call(number: int) -> str:
        if number == MAX_CONCURRENT_CALLS:
            release.wait(60)
            return "too late"
        everybody.wait(60)
        return str(number)

    numbers = range(MAX_CONCURRENT_CALLS + 1)
    try:
        answers = call_concurrently(call, numbers, timeout_seconds=2.0, late_answer="late")
    finally:
        release.set()
    assert answers[-1] == "late"
    assert set(answers[:-1]) <= {"late", *map(str, numbers)}
    assert call_concurrently(str, numbers, timeout_seconds=60.0) == list(map(str, numbers))
    assert call_concurrently(str, numbers) == list(map(str, numbers))
