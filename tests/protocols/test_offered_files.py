"""What is offered can be had, and what can be had is offered: every address of a file that an answer names is asked for by the same reader."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from lxml import etree

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from plugin_needs import require_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = """\
  {table}:
    source: rows.csv
    primary: obs_id
    columns:
      obs_id: {{type: string, ucd: "meta.id;meta.main", description: Name}}
      owner: string
      {file}: string
      access_url: {{type: string, ucd: meta.ref.url}}
      thumbnail_url: {{type: string}}
      preview_url: {{type: string}}
      manual: {{type: string, ucd: meta.ref.url}}
      t_min: {{type: float64, unit: d, ucd: time.start}}
      t_max: {{type: float64, unit: d, ucd: time.end}}
      s_ra: {{type: float64, unit: deg, ucd: "pos.eq.ra;meta.main"}}
      s_dec: {{type: float64, unit: deg, ucd: "pos.eq.dec;meta.main"}}
    map: {{s_ra: "10", s_dec: "20", t_min: "59000", t_max: "59001"}}
    text:
      access_url: "{{site.url}}/collections/{name}/files/{{{file}}}"
      thumbnail_url: "{{site.url}}/collections/{name}/preview/{{{file}}}?size=200"
      preview_url: "{{site.url}}/collections/{name}/preview/{{{file}}}"
      manual: "https://elsewhere.example/{{{file}}}"
    {access}
    {links}
    obscore: {{set: {{dataproduct_type: image, calib_level: 2}}}}
"""
LINKS = """links:
      - {{semantics: this, file: "{{target.{file}}}"}}
      - {{semantics: preview, text: "{{site.url}}/collections/{name}/preview/{{target.{file}}}?size=300"}}
      - {{semantics: auxiliary, text: "{{site.url}}/collections/{name}/as/votable/{{target.{file}}}"}}
      - {{semantics: documentation, text: "https://elsewhere.example/{{target.obs_id}}"}}
"""
# collection: its own words, its tables with theirs
SITES: dict[str, tuple[str, dict[str, tuple[str, bool]]]] = {
    "sealed": ("access: private", {"main": ("access: public", True), "plain": ("access: public", False)}),
    "shared": ("project: hesiod", {"main": ("", True)}),
    "halfway": ("project: wide", {"main": ("", True), "closed": ("access: private", True)}),
    "grouped": (
        "access: \"'spica' in groups\"",
        {"main": ("access: public", True), "plain": ("access: public", False)},
    ),
    "everyones": ("", {"main": ("", True)}),
    "mixed": (
        "",
        {"main": ("access: {take: \"owner = 'open' or reader in (owner)\", path: file}", True), "beside": ("", True)},
    ),
    "shy": (
        "access: private",
        {"main": ("access: {files: \"owner = 'open' or reader in (owner)\", path: file}", True)},
    ),
}
ROWS = "obs_id,owner,file\na,open,a.fits\nb,anna,b.fits\nc,bert,c.fits\ngone,open,gone.fits\nnone,open,\n"
READERS = (None, "anna", "carl")  # nobody, a member and owner of a row, one of a group
HERE = "http://hven.test"
GIVEN = {200, 400}  # looked into: what is in it may not be what was asked for
PATHS = {"a": "a.fits", "b": "b.fits", "c": "c.fits"}
TABLES = [(name, table) for name, (_, some) in SITES.items() for table in some]
LINKED = {(name, table) for name, (_, some) in SITES.items() for table, (_, linked) in some.items() if linked}
FILE = re.compile(r"""http://hven\.test(/collections/[a-z]+/(?:files|preview|cube|headers|as/\w+)/[^"'<>\s,]+)""")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    require_plugins("protocols", "conversions", "previews", "soda")
    directory = tmp_path_factory.mktemp("offered")
    (directory / "hven.toml").write_text(
        'name = "offered"\npublic_url = "http://hven.test"\n[people]\ngroups = {spica = ["carl"]}\n'
        '[projects.hesiod]\ntitle = "Hesiod"\n[projects.wide]\ntitle = "Open"\nopen = true\n'
    )
    for name, (access, tables) in SITES.items():
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        text = f'collection: {name}\ntitle: Files of {name}\n{access}\nfiles: "*.fits"\ntables:\n'
        for table, (own, linked) in tables.items():
            links = LINKS.format(name=name, file="file") if linked else ""
            text += TABLE.format(table=table, name=name, access=own, links=links, file="file")
        (folder / f"{name}.yaml").write_text(text)
        (folder / "rows.csv").write_text(ROWS)
        for one in ("a", "b", "c"):
            image = fits.PrimaryHDU(np.arange(400, dtype="f4").reshape(20, 20))
            image.header.update(
                CTYPE1="RA---TAN",
                CTYPE2="DEC--TAN",
                CRVAL1=10,
                CRVAL2=20,
                CRPIX1=10,
                CRPIX2=10,
                CDELT1=-0.01,
                CDELT2=0.01,
            )
            image.writeto(folder / f"{one}.fits")
    with Site(settings.load_settings(directory)) as made:
        for name in SITES:
            ingest_collection(made, name)
        tokens = {name: made.store.users.add_account(name) for name in READERS if name}
        made.store.grants.add_grant("member", subject="anna", object="hesiod", role="reader", actor="owner")
        yield Client(create_and_start_application(made)), tokens


def ask(place: tuple[Client, dict[str, str]], who: str | None, path: str, **params: str) -> Any:
    client, tokens = place
    headers = {"host": "hven.test"} | ({} if who is None else {"authorization": f"Bearer {tokens[who]}"})
    path, _, given = path.partition("?")
    return client.ask("GET", path, (urlencode(params) or given).encode(), headers=headers)


def rows(place: tuple[Client, dict[str, str]], who: str | None, name: str, table: str) -> list[dict[str, str]]:
    answer = ask(place, who, "/tap/sync", LANG="ADQL", QUERY=f"SELECT * FROM {name}.{table}", RESPONSEFORMAT="csv")
    return list(csv.DictReader(io.StringIO(answer.text))) if answer.status == 200 else []


def links(place: tuple[Client, dict[str, str]], who: str | None, table: str, *ids: str) -> list[dict[str, str]]:
    listed = "&".join(f"ID={quote(one)}" for one in ids)
    answer = ask(place, who, f"/datalink/{table}?{listed}&RESPONSEFORMAT=csv")
    return list(csv.DictReader(io.StringIO(answer.text))) if answer.status == 200 else []


STATES: dict[tuple[str | None, str], int] = {}


def had(place: tuple[Client, dict[str, str]], who: str | None, url: str) -> int:
    """Ask for an address, once as each reader."""
    if (who, url) not in STATES:
        STATES[who, url] = _had(place, who, url)
    return STATES[who, url]


def _had(place: tuple[Client, dict[str, str]], who: str | None, url: str) -> int:
    found = FILE.match(url)
    assert found, url
    path, _, query = url.removeprefix("http://hven.test").partition("?")
    return int(ask(place, who, unquote(path) + (f"?{query}" if query else "")).status)


@pytest.mark.parametrize("who", READERS)
def test_links_require_the_rights_of_their_files(place: Any, who: str | None) -> None:
    wrong: list[Any] = []
    for name, table in TABLES:
        seen = rows(place, who, name, table)
        found = links(place, who, f"{name}.{table}", *(row["obs_id"] for row in seen)) if seen else []
        led: set[tuple[str, str]] = set()
        for link in found:
            url = link["access_url"]
            if not url.startswith("http://hven.test/collections/"):
                continue
            status, may = had(place, who, url), link["link_authorized"]
            if (status not in GIVEN) if may == "true" else (status not in {401, 403}):
                wrong.append((name, table, "offered", link["semantics"], url, may, status))
            if link["link_auth"] != ("false" if had(place, None, url) in GIVEN else "true"):
                wrong.append((name, table, "log-in", link["semantics"], url, link["link_auth"]))
            led.add((link["ID"], url))
        for row in seen:  # and nothing that may be had is left out
            path = PATHS.get(row["obs_id"])
            url = f"{HERE}/collections/{name}/files/{quote(path or '')}"
            there = path is not None and had(place, who, url) == 200
            made = (url, url.replace("/files/", "/preview/") + "?size=300") if there and (name, table) in LINKED else ()
            wrong += [(name, table, "left out", one) for one in made if (row["obs_id"], one) not in led]
            cuts = [link for link in found if link["ID"] == row["obs_id"] and link["service_def"]]
            if len(cuts) != (2 if there and (name, table) in LINKED else 0):
                wrong.append((name, table, "cut-outs", row["obs_id"], len(cuts)))
            cut = ask(place, who, "/soda/sync", TABLE=f"{name}.{table}", ID=row["obs_id"], CIRCLE="10 20 0.05").status
            if (cut == 200) != bool(cuts):
                wrong.append((name, table, "cut", row["obs_id"], cut))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("who", READERS)
def test_columns_lead_to_available_files(place: Any, who: str | None) -> None:
    """By TAP, the table's page, the panel of a row, ivoa.obscore, SIA and SSA, scripts; addresses of other servers stay."""
    wrong: list[Any] = []
    key = quote(json.dumps(["b"]))
    paths = [
        "/sia2/ivoa.obscore?POS=CIRCLE+10+20+1",
        "/sia/ivoa.obscore?POS=10,20&SIZE=1",
        "/ssa/ivoa.obscore?REQUEST=queryData",
        "/hipslist",
    ]
    paths.append(
        f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': 'SELECT * FROM ivoa.obscore', 'RESPONSEFORMAT': 'csv'})}"
    )
    for name, table in TABLES:
        seen = [row for row in rows(place, who, name, table) if row["file"]]
        wrong += [row for row in seen if row["manual"] != f"https://elsewhere.example/{row['file']}"]
        here = f"/collections/{name}/{table}"
        text = urlencode({"LANG": "ADQL", "QUERY": f"SELECT * FROM {name}.{table}", "RESPONSEFORMAT": "csv"})
        paths += [
            f"/tap/sync?{text}", f"{here}/rows", f"{here}/row?_row={key}", f"{here}/script?format=wget",
            f"/datalink/{name}.{table}?ID=b&RESPONSEFORMAT=html", f"/sia/{name}.{table}/cutouts?POS=10,20&SIZE=0.1",
        ]  # fmt: skip
    for name in ("sealed", "mixed"):
        paths += [
            f"/collections/{name}",
            f"/collections/{name}/main",
            f"/collections/{name}/main?_row={key}",
            f"/collections/{name}/files",
        ]
    asked = 0
    for path in paths:
        answer = ask(place, who, path)
        for one in sorted(set(FILE.findall(answer.text.replace("&amp;", "&").replace("\\u0026", "&")))):
            if "gone.fits" not in one and "PATH" not in one:  # a file that is lost is no secret
                asked += 1
                if (status := had(place, who, f"{HERE}{one}")) not in GIVEN | {401, 403}:
                    wrong.append((path, one, status))
    assert not wrong, "\n".join(map(str, wrong))
    assert asked > 20


@pytest.mark.parametrize("who", READERS)
def test_observations_lead_to_available_files(place: Any, who: str | None) -> None:
    answer = ask(
        place, who, "/tap/sync", LANG="ADQL", QUERY="SELECT obs_publisher_did FROM ivoa.obscore", RESPONSEFORMAT="csv"
    )
    ids = answer.text.split()[1:]
    assert len(ids) > 20
    wrong = []
    for link in links(place, who, "ivoa.obscore", *ids):
        if link["access_url"].startswith("http://hven.test/collections/"):
            status = had(place, who, link["access_url"])
            if (status not in GIVEN) if link["link_authorized"] == "true" else (status not in {401, 403}):
                wrong.append((link, status))
    assert not wrong, "\n".join(map(str, wrong))


def test_descriptors_of_services_name_their_parameters(place: Any) -> None:
    """The bounds of a file that nobody may look into are told to nobody."""
    for who, many in ((None, 0), ("anna", 2), ("carl", 0)):
        answer = ask(place, who, "/datalink/shy.main?ID=b")
        root = etree.fromstring(answer.body)
        found = [one for one in root.iter("{*}PARAM") if one.get("name") == "PIXELS_1"]
        assert len(found) == many, answer.text
