"""Old addresses of the site: their parameters, and their settings."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hven.app._server.request_middleware import RequestMiddleware
from hven.model.errors import DescriptorError
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.plugins.heritage.alias_settings import AddressAlias, list_address_aliases
from hven.services import read_params
from hven.site.store import StateStore


@pytest.fixture(autouse=True)
def _change_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ask(app: Any, path: str, query: bytes = b"", method: str = "GET", body: bytes = b"", content_type: str = "") -> Any:
    """Call an ASGI application; give the JSON of its answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"vo.example"), (b"content-type", content_type.encode())]
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "query": dict(request.query_params)})


def application(alias: AddressAlias, route: Route | None = None) -> RequestMiddleware:
    settings = Settings(directory=Path(), brought={"alias": (alias,)})
    app = Starlette(routes=[route or Route("/{rest:path}", echo)])
    return RequestMiddleware(app, settings, StateStore(settings.var_directory))


def test_an_alias_renames_and_fixes_parameters() -> None:
    old = AddressAlias(path="/cgi-bin/scs", to="/cone/stars.main", rename={"radius": "SR"}, set={"VERB": "3"})
    answer = ask(application(old), "/cgi-bin/scs", b"RA=1&DEC=2&RADIUS=0.5")
    assert answer == {"path": "/cone/stars.main", "query": {"RA": "1", "DEC": "2", "SR": "0.5", "VERB": "3"}}


def test_an_alias_yields_to_what_the_reader_says() -> None:
    old = AddressAlias(path="/old", to="/new", set={"VERB": "3"})
    answer = ask(application(old), "/old", b"verb=1")
    assert answer["query"] == {"verb": "1"}


async def parameters(request: Request) -> JSONResponse:
    found = await read_params(request, 10_000)
    return JSONResponse({name: list(values) for name, values in found.values.items()})


SEARCH = AddressAlias(
    path="/search.votable",
    to="/tap/sync",
    rename={"max": "MAXREC"},
    set={"RESPONSEFORMAT": "votable/td"},
    query="SELECT id FROM obs.headers WHERE {where} ORDER BY id",
    where={
        "date_updated_from": "date_updated >= ?",
        "date_updated_to": "date_updated < ?",
        "near": "x BETWEEN ? AND ?",
    },
)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (
            b"date_updated_from=2026-11-01&date_updated_to=2026-11-02",
            "(date_updated >= '2026-11-01') AND (date_updated < '2026-11-02')",
        ),
        (b"DATE_UPDATED_FROM=2026-11-01&date_updated_to=", "(date_updated >= '2026-11-01')"),
        (b"", "1 = 1"),
        (b"near=3", "(x BETWEEN '3' AND '3')"),
        (b"date_updated_to='%20OR%20''='{where}?", "(date_updated < ''' OR ''''=''{where}?')"),
        (b"QUERY=SELECT%20*%20FROM%20x&lang=SQL", "1 = 1"),
    ],
)
def test_an_alias_makes_a_query_of_parameters(asked: bytes, where: str) -> None:
    expected = {
        "LANG": "ADQL",
        "QUERY": f"SELECT id FROM obs.headers WHERE {where} ORDER BY id",
        "RESPONSEFORMAT": "votable/td",
    }
    assert ask(application(SEARCH), "/search.votable", asked) == {
        "path": "/tap/sync",
        "query": expected,
    }
    app = application(SEARCH, Route("/tap/sync", parameters, methods=["POST"]))
    answer = ask(
        app, "/search.votable", method="POST", body=asked + b"&max=7", content_type="application/x-www-form-urlencoded"
    )
    assert answer == {**{name: [value] for name, value in expected.items()}, "MAXREC": ["7"]}


def test_an_alias_holds_for_the_body_of_a_post_too() -> None:
    old = AddressAlias(path="/old", to="/new", rename={"radius": "SR"}, set={"VERB": "3"})
    app = application(old, Route("/new", parameters, methods=["POST"]))
    answer = ask(
        app, "/old", b"ra=1", method="POST", body=b"Radius=0.5&dec=2", content_type="application/x-www-form-urlencoded"
    )
    assert answer == {"RA": ["1"], "SR": ["0.5"], "DEC": ["2"], "VERB": ["3"]}
    answer = ask(app, "/old", method="POST", body=b"verb=1", content_type="application/x-www-form-urlencoded")
    assert answer == {"VERB": ["1"]}, "what the reader says wins, and is not a contradiction"


def list_setting_faults(directory: Path, text: str) -> list[str]:
    (directory / "hven.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DescriptorError) as raised:
        load_settings(directory, {})
    return [str(fault) for fault in raised.value.faults]


def test_aliases_are_read(tmp_path: Path) -> None:
    text = '[[alias]]\npath = "/cs/scs.xml"\nto = "/cone/stars.main"\nrename = {cat = "TABLE"}\nset = {VERB = "2"}\n'
    (tmp_path / "hven.toml").write_text(text, encoding="utf-8")
    assert list_address_aliases(load_settings(tmp_path, {})) == (
        AddressAlias(path="/cs/scs.xml", to="/cone/stars.main", rename={"cat": "TABLE"}, set={"VERB": "2"}),
    )


def test_faults_of_aliases_have_their_lines(tmp_path: Path) -> None:
    text = '[[alias]]\npath = "/a"\nto = "/b"\n[[alias]]\npath = "a"\n'
    assert list_setting_faults(tmp_path, text) == [
        "hven.toml:4: alias.1.to: is missing",
        "hven.toml:5: alias.1.path: 'a' is not valid; expected a path that begins with '/', or ftp://host/path/*",
    ]


def test_the_template_of_a_site_has_an_alias(tmp_path: Path) -> None:
    file = create_site_directory(tmp_path / "x") / "hven.toml"
    lines = [line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines()]
    text = "\n".join(lines[lines.index(next(line for line in lines if line.startswith("[[alias]]"))) :])
    assert tomllib.loads(text)["alias"] == [{"path": "/old/scs.xml", "to": "/cone/stars.main"}]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('to = "/cone/stars.main"\nquery = "SELECT 1"', "hven.toml:4: alias.0.query: needs `to = '/tap/sync'`"),
        (
            'to = "/tap/sync"\nwhere = {x = "a = ?"}',
            "hven.toml:4: alias.0.where: needs a `query`, which is missing",
        ),
        (
            'to = "/tap/sync"\nquery = "SELECT 1"\nwhere = {x = "a = 1"}',
            "hven.toml:5: alias.0.where.x: 'a = 1' is not valid",
        ),
    ],
)
def test_queries_of_aliases_belong_to_tap(tmp_path: Path, entry: str, said: str) -> None:
    found = list_setting_faults(tmp_path, f'[[alias]]\npath = "/a"\n{entry}\n')
    assert len(found) == 1
    assert found[0].startswith(said)
