"""A site with a collection to cite, and a local DataCite server into which tests inject faults."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from json_servers import JsonServer, Reply, Request

PASSWORD = "correct horse"
LOGIN = "Basic " + base64.b64encode(f"URA.BORG:{PASSWORD}".encode()).decode()
MEDIA_TYPE = "application/vnd.api+json"
PSZ2 = """\
collection: psz2
title: Clusters of galaxies & their masses
description: The list, release by release.
subjects: [galaxy clusters, Sunyaev-Zeldovich effect]
creators:
  - {name: "Brahe, Tycho", orcid: 0000-0002-1825-0097, affiliation: Uraniborg, ror: "https://ror.org/02feahw73"}
  - {name: "Brahe, Sophie"}
  - The Uraniborg <team>
contributors: [{name: "Kepler, Johannes", role: DataCurator, orcid: 0000-0001-5109-3700}]
contact: {name: The desk, email: desk@uraniborg.example}
funding: [{funder: Crown of Denmark, ror: "https://ror.org/02feahw73", award: DK-1576, title: An island, url: "https://example.org/dk"}]
related: ["10.1051/0004-6361/201525830", {relation: IsDerivedFrom, id: "arXiv:1502.01598"}, {relation: Cites, id: "https://example.org/x?a=1&b=2"}]
acknowledgement: Based on observations made at Uraniborg.
publisher: Uraniborg
bibcode: 2016A&A...594A..27P
licence: CC-BY-4.0
created: 2015-02-05
facility: [Planck]
waveband: [Millimeter]
type: [Catalog]
tables:
  main:
    title: Clusters
    description: One row per cluster
    primary: name
    source: {kind: csv, files: a.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      begin: {type: timestamp, ucd: time.start;obs, description: Begin}
      end: {type: timestamp, ucd: time.end;obs, description: End}
"""
ROWS = "name,ra,dec,begin,end\n" + "".join(f"c{n},{n * 36},{n - 5},2010-01-{n + 1:02}T00:00:00,2010-02-{n + 1:02}T12:00:00\n" for n in range(10))  # fmt: skip
SETTINGS = """\
title = "Uraniborg"
authority = "uraniborg.example"
public_url = "http://vo.example"
contact_email = "vo@uraniborg.example"
"""


def build_site(
    directory: Path, descriptor: str = PSZ2, *, settings: str = "", endpoint: str = "", rows: str = ROWS
) -> Path:
    """Write a site with one collection and publish it."""
    folder = directory / "collections/psz2"
    folder.mkdir(parents=True, exist_ok=True)
    doi = f'\n[doi]\nprefix = "10.5072"\nrepository = "URA.BORG"\npassword = "$DATACITE"\nendpoint = "{endpoint}"\nseconds = 2\n' if endpoint else ""  # fmt: skip
    (directory / "hven.toml").write_text(SETTINGS + settings + doi)
    (directory / "secrets.toml").write_text(f'DATACITE = "{PASSWORD}"\n')
    (directory / "secrets.toml").chmod(0o600)
    (folder / "psz2.yaml").write_text(descriptor)
    (folder / "a.csv").write_text(rows)
    with Site(load_settings(directory), watch_for_changes=False) as site:
        ingest_collection(site, "psz2")
    return directory


@dataclass
class DataCiteServer(JsonServer):
    """The part of DataCite's interface for DOIs: states draft, registered, findable; one repository and prefix."""

    dois: dict[str, dict[str, Any]] = field(default_factory=dict)
    foreign_dois: set[str] = field(default_factory=set)  # of other repositories

    def answer(self, asked: Request) -> Reply:
        reply = super().answer(asked)
        reply.kind = MEDIA_TYPE if reply.kind == "application/json" else reply.kind
        return reply

    def list_write_methods(self) -> list[str]:
        return [one.method for one in self.asked if one.method != "GET"]

    def reply(self, asked: Request) -> Reply:
        if asked.headers.get("authorization") != LOGIN:
            return _build_error(401, "Bad credentials.")
        name = asked.path.removeprefix("/dois").strip("/").lower()
        if asked.method == "GET":
            if name in self.foreign_dois:
                return _build_error(403, "You are not authorized to access this resource.")
            return self._build_reply(name) if name in self.dois else _build_error(404, "The resource you are looking for doesn't exist.")  # fmt: skip
        assert asked.headers["content-type"].startswith(MEDIA_TYPE)
        assert asked.body["data"].get("type", "dois") == "dois"
        said = asked.body["data"]["attributes"]
        name = name or said["doi"].lower()
        if not name.startswith("10.5072/"):
            return _build_error(422, "Prefix is not in this repository", source="doi")
        if asked.method == "POST":
            if name in self.dois or name in self.foreign_dois:
                return _build_error(422, "This DOI has already been taken", source="doi")
        elif name in self.foreign_dois:
            return _build_error(403, "You are not authorized to access this resource.")
        known = self.dois.get(name, {"doi": name, "state": "draft"})
        event = said.get("event")
        made = {**known, **{key: value for key, value in said.items() if key not in {"event", "doi"}}}
        if event in {"publish", "register"}:
            lacks = [key for key in ("url", "creators", "titles", "publisher", "publicationYear", "types") if not made.get(key)]  # fmt: skip
            if lacks:
                return _build_error(422, f"can't be blank: {', '.join(lacks)}", source="metadata")
            made["state"] = {"publish": "findable", "register": "registered"}[event]
        self.dois[name] = made
        return self._build_reply(name, 201 if asked.method == "POST" else 200)

    def _build_reply(self, name: str, status: int = 200) -> Reply:
        return Reply.from_document({"data": {"id": name, "type": "dois", "attributes": self.dois[name]}}, status)


def _build_error(status: int, title: str, **more: str) -> Reply:
    return Reply.from_document({"errors": [{"status": str(status), "title": title, **more}]}, status)


def copy_attributes(world: DataCiteServer, doi: str = "10.5072/psz2") -> dict[str, Any]:
    """Return the attributes of a DOI as JSON has them."""
    found: dict[str, Any] = json.loads(json.dumps(world.dois[doi]))
    return found
