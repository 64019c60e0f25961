"""A site that leaves the package out: nobody gets in by an institute, no group of one counts, and `hven check` names it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import UnauthenticatedError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth.local import LocalIdentityProvider, build_principal
from process_runner import run_hven

SETTINGS = """name = "x"
[identity.ours]
issuer = "https://aai.example.org"
client_id = "hven"
title = "Our institute"
groups = "groups"
join = true
"""
STARS = """
collection: stars
title: Stars
services: [tap, portal]
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    access: shown = 'yes' or 'spica' in groups
    columns: {id: int32, shown: string}
"""
QUERY = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+id+FROM+stars.main"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site on which bob logged in at his institute, which stated a group."""
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(STARS)
    (folder / "rows.csv").write_text("id,shown\n1,yes\n2,no\n")
    (tmp_path / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        site.store.users.add_account("bob")
        facts = {"provider": "ours", "groups": ["spica"], "seen": time.time()}
        identity = "https://aai.example.org bob"
        site.store.grants.add_grant("identity", subject="bob", object=identity, actor="ours", facts=facts)
        assert build_principal("bob", site.store, site.settings).groups == {"user:bob", "spica"}
    return tmp_path


def build_token(**claims: object) -> str:
    parts = ({"alg": "none"}, {"iss": "https://aai.example.org", "sub": "bob", "aud": "hven", **claims})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "signature"])


def test_nobody_gets_in(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert "Log in with Our institute" in client.ask("GET", "/login", headers={"accept": "text/html"}).text
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/login", headers={"accept": "text/html"})
        assert (page.status, "Our institute" in page.text, 'name="token"' in page.text) == (200, False, True)
        for path in ("/login/oidc/ours", "/login/oidc/ours/back?code=c&state=s"):
            assert client.get(path).status == 404
        bearer = {"authorization": f"Bearer {build_token(exp=time.time() + 60)}"}
        refused = client.ask("GET", QUERY, headers=bearer)
        assert (refused.status, "does not accept tokens from this issuer" in refused.text) == (401, True)
        with pytest.raises(UnauthenticatedError, match="does not accept tokens from this issuer"):
            LocalIdentityProvider(site.store, site.settings).begin_session(None, build_token())
        assert client.get(QUERY).text.split() == ["id", "1"]


def test_groups_of_the_institute_do_not_count(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    with Site(load_settings(directory)) as site:
        assert build_principal("bob", site.store, site.settings).groups == {"user:bob"}
        proof = site.store.sessions.begin_session("bob", 60.0)  # of before the package was left out
        client = Client(create_and_start_application(site))
        found = client.ask("GET", QUERY, headers={"cookie": f"hven_session={proof}"})
        assert (found.status, found.text.split()) == (200, ["id", "1"])


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    output = run_hven("check", "--site", directory, expected_code=0).stdout
    (warning,) = (line for line in output.splitlines() if "identity" in line)
    assert "belongs to the plug-in package institute_log_in, but `plugins` does not list this package" in warning
