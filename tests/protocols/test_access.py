"""What a reader may see, told by a page; who was given what, for operators; every look at a file that is not everybody's is written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import run_hven

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: {name}
title: Observations
{access}
files: [a.txt, b.fits]
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: id
    columns:
      id: {{type: int32}}
      file: {{type: string, ucd: meta.file}}
"""


@pytest.fixture
def access_site(tmp_path: Path) -> Iterator[Site]:
    groups = 'name = "access"\n[people]\ngroups = {spica = ["anna"]}\n[health]\noperators = ["olga"]\nopen = true\n'
    (tmp_path / "hven.toml").write_text(groups)
    for name, access in (("night", "access: \"'spica' in groups\""), ("noon", "")):
        folder = tmp_path / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
        (folder / "rows.csv").write_text("id,file\n1,b.fits\n2,\n")
        fits.PrimaryHDU().writeto(folder / "b.fits")
        (folder / "a.txt").write_text("words\n")
    with Site(settings.load_settings(tmp_path)) as made:
        for name in ("night", "noon"):
            ingest_collection(made, name)
        yield made


def test_what_readers_and_operators_are_told(access_site: Site) -> None:
    client = Client(create_and_start_application(access_site))
    who = {
        name: {"authorization": f"Bearer {access_site.store.users.add_account(name)}"}
        for name in ("anna", "bob", "olga")
    }
    grant, _ = access_site.store.grants.add_grant("member", subject="bob", object="hesiod", role="reader", actor="olga")
    assert client.ask("GET", "/access").headers["location"].endswith("/login?next=/access")
    pages = {name: client.ask("GET", "/access", headers=headers) for name, headers in who.items()}
    for page in pages.values():
        assert page.status == 200
        assert page.headers["cache-control"] == "private, no-store"
    assert "spica" in pages["anna"].text
    assert '<td class="code">night.main</td><td class="n">2</td>' in pages["anna"].text
    assert "noon.main" not in pages["anna"].text
    assert '<td class="code">night.main</td><td class="n">0</td>' in pages["bob"].text
    assert "hesiod" in pages["bob"].text
    assert "hesiod" not in pages["anna"].text
    # whoever sees the health page is no operator by that
    assert "Audit log" not in pages["anna"].text + pages["bob"].text
    assert "member given" in pages["olga"].text
    form = {"content-type": "application/x-www-form-urlencoded"}
    for name, status in (("anna", 403), ("olga", 303)):
        body = f"ID={grant.id}".encode()
        assert client.ask("POST", "/access/end", body=body, headers={**form, **who[name]}).status == status
    assert access_site.store.grants.list_audit_entries(row_limit=1)[0].by == "olga"
    evil = {**form, **who["olga"], "origin": "https://evil.example"}
    assert client.ask("POST", "/access/end", body=b"ID=x", headers=evil).status in {401, 403}


def test_looks_at_restricted_files_are_written_down(access_site: Site) -> None:
    client = Client(create_and_start_application(access_site))
    anna = {"authorization": f"Bearer {access_site.store.users.add_account('anna')}"}
    for method, path, status in (
        ("GET", "/collections/night/files/a.txt", 200),
        ("HEAD", "/collections/night/files/a.txt", 200),
        ("GET", "/collections/noon/files/a.txt", 200),
        ("GET", "/collections/night/files/b.txt", 404),
    ):
        assert client.ask(method, path, headers=anna).status == status
    client.ask("GET", "/collections/night/files/a.txt")
    grant, secret = access_site.store.grants.add_grant("referee", object="night", actor="owner", with_secret=True)
    referee = {"cookie": f"hven_referee={secret}"}
    assert client.ask("GET", "/collections/night/files/a.txt", headers=referee).status == 200
    key = json.loads(client.ask("GET", "/collections/night/main/rows", headers=referee).text)["keys"][0]
    for name, answered in (("night", "b.fits"), ("noon", "b.fits")):
        address = f"/collections/{name}/main/header?_row={quote(key)}"
        assert json.loads(client.ask("GET", address, headers=anna).text)["file"] == answered
    assert json.loads(client.ask("HEAD", f"/collections/night/main/header?_row={quote(key)}").text or "{}") == {}
    lines = access_site.store.grants.list_audit_entries(object="night")
    assert [(one.by, one.what, one.facts["file"]) for one in reversed(lines) if "file" in one.facts] == [
        ("anna", "file taken", "a.txt"),
        ("anna", "file asked about", "a.txt"),
        (f"invitation:{grant.id}", "file taken", "a.txt"),
        ("anna", "header seen", "b.fits"),
    ]
    assert access_site.store.grants.list_audit_entries(object="noon") == []
    assert (
        f"invitation:{grant.id}"
        in run_hven("audit", "--site", access_site.settings.directory, "--object", "night").stdout
    )
