"""A site with a list that users fill, for the tests of this package."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from asgi_client import Answer, Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings._sections import AccountGroupSettings
from hven.site import Site
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files

STARS = """\
collection: bad
title: Bad calibrators
tables:
  stars:
    title: Stars
    source:
      kind: push
      columns: {id: int64, name: string, ra: float64, dec: float64, mag: float32, grade: string, binary: bool, seen: timestamp, note: string, secret: string,
        mags: 'float32[*]', place: 'float64[2]', counts: 'int32[*]'}
      ids: id
      writers: [mia, max]
    entries: {submitters: [anna, bob]}
    comments: {authors: [anna, bob], moderators: [mia, max]}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      name: {type: string, required: true, ucd: meta.id;src, label: {en: Star, fr: Étoile}, description: "Name <of> the star"}
      ra: {type: float64, unit: deg, minimum: 0, maximum: 360, ucd: pos.eq.ra, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec, description: Declination}
      mag: {type: float32, unit: mag, ucd: phot.mag, description: Magnitude}
      grade: {type: string, enum: grades, description: Grade}
      binary: {type: boolean, description: Whether it is a binary}
      seen: {type: timestamp, ucd: time.epoch, description: When it was seen}
      note: {type: string, ucd: meta.note, description: Note}
      mags: {type: "float32[*]", unit: mag, ucd: phot.mag, description: Magnitudes}
      place: {type: "float64[2]", unit: m, ucd: pos.cartesian, description: Place}
      counts: {type: "int32[*]", ucd: meta.number, description: Counts}
    enums: {grades: {A: good, B: doubtful}}
    rules:
      bright: {if: "mag IS NULL OR mag < 12", severity: warning, message: {en: the star is faint, fr: l'étoile est faible}}
      not_both: {if: "NOT (grade = 'A' AND note = 'bad')", message: a good star is not bad}
"""
OTHERS = """\
collection: others
title: Other tables
tables:
  hidden:
    access: private
    source: {kind: push, columns: {id: int64}, ids: id, writers: [mia]}
    entries: {}
    primary: id
    columns: {id: int64}
  shots:
    access: {rows: public, files: "reader = 'mia'"}
    source: {kind: push, columns: {id: int64, access_url: string, n: int32}, ids: id, writers: [mia]}
    entries: {}
    comments: {moderators: [max]}
    primary: id
    columns: {id: int64, access_url: string, n: int32}
  told:
    title: Told
    source:
      - {kind: csv, files: told.csv}
      - {kind: push, columns: {id: int64, name: string, ra: float64, dec: float64, link: string}, writers: [curators]}
    entries: {submitters: [observers], reason: required, history: public}
    comments: {authors: [observers], moderators: [curators, max]}
    primary: id
    access: {rows: "id < 100 or reader = 'mia'", files: "reader = 'mia'"}
    frames: {sky: {system: FK5, equinox: J2000}}
    columns:
      id: int64
      name: {type: string, ucd: meta.id;src}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, frame: sky}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, frame: sky}
      link: {type: string, ucd: meta.ref.url}
  fixed:
    source: {kind: csv, files: fixed.csv}
    primary: n
    comments: {}
    access: {rows: "n < 2 or reader = 'mia'"}
    columns: {n: int32}
"""
STAR = {"name": "Vega", "ra": 279.23, "mag": 0.03, "grade": "A", "seen": "2026-11-20T21:00:00"}
PEOPLE = ("anna", "bob", "mia", "max", "eve")
GROUPS = {"observers": ("anna", "bob"), "curators": ("mia",)}
_numbers = itertools.count(1)


class Person:
    """A client with a token, or without for an empty name."""

    def __init__(self, client: Client, site: Site, name: str) -> None:
        self.client = client
        self.proof: dict[str, str] = {}
        if name:
            token = create_personal_token(site.store, name, "all", 1, created_by=name)[1]
            self.proof = {"authorization": f"Bearer {token}"}

    def get(self, path: str, **headers: str) -> Answer:
        return self.client.ask("GET", path, headers={"accept": "application/json", **self.proof, **headers})

    def send(self, path: str, document: object, **headers: str) -> Answer:
        sent = {"content-type": "application/json", "accept": "application/json", **self.proof}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.client.ask("POST", path, body=body, headers={**sent, **headers})

    def post_form(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        sent = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html", **self.proof}
        return self.client.ask("POST", path, body=urlencode(fields).encode(), headers={**sent, **headers})

    def show(self, path: str, **headers: str) -> Answer:
        return self.get(path, accept="text/html", **headers)

    def submit(self, values: dict[str, Any], table: str = "bad.stars", **more: Any) -> dict[str, Any]:
        answer = self.send(f"/entries/{table}", {"values": values, "action": "submit", **more})
        assert answer.status == 201, answer.text
        entry: dict[str, Any] = json.loads(answer.body)
        return entry

    def take(self, entry: dict[str, Any], action: str, **more: Any) -> Answer:
        return self.send(path_of(entry), {"action": action, "etag": entry["etag"], **more})


def path_of(entry: dict[str, Any]) -> str:
    return f"/entries/{entry['table']}/{entry['number']}"


def read_entry(answer: Answer, status: int = 200) -> dict[str, Any]:
    assert answer.status == status, answer.text
    entry: dict[str, Any] = json.loads(answer.body)
    return entry


def make_name() -> str:
    """Return the name of a star that no other test uses."""
    return f"star {next(_numbers)}"


def query_stars(client: Client, columns: str, name: str) -> list[list[str]]:
    """Query stars by TAP, as an anonymous reader."""
    text = client.get(
        "/tap/sync",
        LANG="ADQL",
        QUERY=f"SELECT {columns} FROM bad.stars WHERE name = '{name}' ORDER BY id",
        RESPONSEFORMAT="csv",
    ).text
    return [line.split(",") for line in text.splitlines()[1:]]


@contextmanager
def open_entry_site(directory: Path, **settings: Any) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    settings.setdefault("people", AccountGroupSettings(groups=GROUPS))
    with open_site_with_uningested_files(directory, STARS, **settings) as site:
        folder = site.settings.collections_directory / "others"
        folder.mkdir()
        (folder / "others.yaml").write_text(OTHERS)
        (folder / "fixed.csv").write_text("n\n1\n2\n")
        (folder / "told.csv").write_text("id,name,ra,dec,link\n1,from a file,1,2,\n")
        site.refresh_published_state()
        for name in ("bad", "others"):
            ingest_collection(site, name)
        for name in PEOPLE:
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        yield site, client, {name: Person(client, site, name) for name in (*PEOPLE, "")}
