"""The matrix of rights: users, kinds of rows, and all routes of a site; a reference site has only the visible rows.

The routes are those of the application, with the requests of `QUERY_STRINGS`, `POST_BODIES` and `PUT_BODIES`. Routes
of jobs (`find_job_routes`) are tested apart. Further requests test formats, queries, errors, jobs, uploads, user
tables, earlier states, tags of others, HEAD, ranges and compressed answers. A new route needs a line here.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from unittest import mock
from urllib.parse import quote, unquote, urlencode

import numpy as np
from asgi_client import Answer, Client, find_router, share_event_loop
from astropy.io import fits
from rights_clock import let_pages_wait, stop_grants_clock, stop_policy_clock
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hven import formats
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import plugins, settings
from hven.portal._pages.assets import ASSETS_DIRECTORY
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL, session
from hven.site.auth._referee_invitations import REFEREE_COOKIE
from package_modules import load_package_modules
from package_rights import merge_package_rights

RELEASE = "R4"
ASSET = next(path.name for path in sorted(ASSETS_DIRECTORY.glob("main-*.js")))
NOW = 1_893_456_000_000_000  # microseconds: 2030-01-01T00:00:00, the time of all requests
POLICY = "release <= now or reader in (pi, coi) or project in groups or category = 'CALIB'"
OPEN_POLICY = f"1 = 1 or {POLICY}"  # the same, but that everybody sees every row
SETTINGS = """\
name = "rights"
title = "Rights"
contact_email = "vo@rights.example"
logo = "logo.svg"

[people]
groups = {p1 = ["dora"], p2 = ["emil"]}
aliases = {anna = ["Anna Berg"], bob = ["Bob@X.org"], rita = ["Carl"]}

[projects.hesiod]
title = "HESIOD"
"""
HELP = """\
# How to search

Write what you seek.
"""
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n'
FREE_ROWS = "name,n\nHven,7\n"
NEWS = """\
---
title: Hello
date: 2026-01-01
---
The site opens.
"""
DESCRIPTOR = """\
collection: obs
title: Observations
description: Made-up observations
subjects: [stars]
facility: [Uraniborg]
files:
  - README.md
  - data/*.fits
tables:
  main:
    title: Main
    source: {{kind: csv, file: rows.csv}}
    primary: ident
    position: [ra, dec]
    access: {{rows: "{access}", path: path}}
    columns:
      ident: {{type: string, ucd: meta.id;meta.main, description: Name, rank: 1}}
      n: {{type: int32, description: Number, rank: 1}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA, rank: 1}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec, rank: 1}}
      release: {{type: timestamp, description: When everybody sees it, rank: 2}}
      pi: {{type: string, description: Who asked for it, rank: 2}}
      coi: {{type: string, description: With whom, rank: 2}}
      project: {{type: string, description: Project, rank: 2}}
      category: {{type: string, description: Category, rank: 2}}
      mag: {{type: float32, unit: mag, ucd: phot.mag, description: Brightness, rank: 2, indexed: true}}
      note: {{type: string, description: Words, rank: 2}}
      file: {{type: string, ucd: meta.ref.url, description: Where its file is, rank: 2}}
      path: {{type: string, description: Its file here, rank: 2}}
    links:
      - {{semantics: this, file: "{{target.path}}", description: "{{target.note}}"}}
      - {{semantics: progenitor, text: "{{target.file}}", description: "{{target.note}}", type: application/fits}}
      - {{semantics: preview, text: "https://rights.example/{{target.ident}}.png", if: mag > 0}}
      - {{semantics: coderived, from: bright, where: bright.project = target.project, order: bright.ident, text: "https://rights.example/{{bright.ident}}"}}
    series: {{time: release}}
{package_keys}    obscore:
      set: {{dataproduct_type: image, calib_level: 2}}
      map:
        obs_id: ident
        target_name: note
        access_url: file
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
  bright:
    title: A view
    view: SELECT ident, n, ra, dec, project, note, mag FROM obs.main WHERE mag < 90
  free:
    title: Rows that everybody sees
    source: {{kind: csv, file: free.csv}}
    columns:
      name: {{type: string, description: Name}}
      n: {{type: int32, description: Number}}
{package_tables}"""
COLUMN_NAMES = ("ident", "n", "ra", "dec", "release", "pi", "coi", "project", "category", "mag", "note", "file", "path")


@dataclass(frozen=True)
class Row:
    """A kind of row: the values that decide who sees it."""

    word: str
    release: str = "2999-01-01T00:00:00"
    pi: str = ""
    coi: str = ""
    project: str = ""
    category: str = "SCIENCE"
    file: str = ""
    bare: bool = False  # all else is null

    @property
    def path(self) -> str:
        """Path of the file of the row.

        No two rows share it: such a file is closed to readers who may not see all its rows, and a twin has only some
        of them.
        """
        return f"data/{self.word}.fits"

    def format_line(self, number: int, *, before: bool = False) -> str:
        """Format the row as CSV; no other row has one of its texts, numbers or its position."""
        shown = [
            f"id{self.word}",
            _compute_number(number),
            f"{20.1234 + 13.4567 * number:.4f}",
            f"{-60.4321 + 4.7654 * number:.4f}",
        ]
        mag, file = f"{5.125 + 3 * number + before}", f"http://files.example/{self.file or self.word}.fits"
        rest = ["", "", "", ""] if self.bare else [mag, f"note {self.word}", file, self.path]
        people = [self.release, self.pi, self.coi, self.project, self.category]
        return ",".join(map(str, (*shown, *people, *rest) if not self.bare else (*shown[:2], "", "", *people, *rest)))


def write_row_files(folder: Path, rows: Sequence[Row]) -> None:
    """Write an image for each file of the rows; its header and pixels tell the row."""
    for row in rows:
        if row.bare:
            continue
        number = NUMBERS.get(row.word, 20)
        place = [("CRVAL1", 20.1234 + 13.4567 * number), ("CRVAL2", -60.4321 + 4.7654 * number)]
        axes = [
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CRPIX1", 4.5),
            ("CRPIX2", 4.5),
            ("CDELT1", -0.01),
            ("CDELT2", 0.01),
        ]
        header = fits.Header([("OBJECT", f"note {row.word}"), ("OBSERVER", row.pi), *axes, *place])
        path = folder / row.path
        path.parent.mkdir(exist_ok=True)
        fits.PrimaryHDU(np.full((8, 8), _compute_number(number), "i4"), header).writeto(path, overwrite=True)
        os.utime(path, (FILE_TIME_SECONDS, FILE_TIME_SECONDS))


def _compute_number(number: int) -> int:
    """Compute a number that no other row has, nor is the mean of other numbers."""
    return 7_310_007 + 1_009 * number + 17 * number**3


ROWS = (
    Row("zqcalib", category="CALIB"),
    Row("zqreleased", release="2001-02-03T04:05:06"),
    Row("zqembargo"),
    Row("zqinstant", release="2030-01-01T00:00:00"),
    Row("zqsoon", release="2030-01-01T00:00:00.000001"),
    Row("zqdateless", release="", pi="Olga"),
    Row("zqnopi", coi="Anna Berg"),
    Row("zqseveral", pi="Anna Berg / bob@x.org"),
    Row("zqspelling", pi="aNNA   BERG"),
    Row("zqcarl", pi="Carl", coi="rita;carl"),
    Row("zqgroup", project="p1"),
    Row("zqother", project="p2"),
    Row("zqmember", project="project:hesiod"),
    Row("zqcurator", project="project:hesiod:curator"),
    Row("zqnull", release="", category="", bare=True),
    Row("zqopen", release="2001-02-03T04:05:06", file="zqshared"),
    Row("zqclosed", file="zqshared"),
)
NUMBERS = {row.word: number for number, row in enumerate(ROWS)}


@dataclass(frozen=True)
class Person:
    """A kind of user, and the rows that they see."""

    name: str
    account: str | None
    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    owner: bool = False
    refused: bool = False  # their proof of identity is no longer valid
    invitation: str = ""  # which cookie of a referee they show

    def can_see(self, row: Row) -> bool:
        """Return whether the person sees a row, by a simple reading of the policy."""
        people = {" ".join(one.lower().split()) for text in (row.pi, row.coi) for one in re.split("[/;|]", text)} - {""}
        return (
            self.owner
            or self.invitation == "valid"
            or (row.release != "" and row.release <= "2030-01-01T00:00:00")
            or bool(people & self.names)
            or row.project in self.groups
            or row.category == "CALIB"
        )


PEOPLE = (
    Person("the owner", None, owner=True),  # first: nobody else may get cached answers of a user who sees everything
    Person("anonymous", None),
    Person("a stranger", "nobody", frozenset({"nobody"})),
    Person("named by account", "carl", frozenset({"carl"})),
    Person("named by an alias", "anna", frozenset({"anna", "anna berg"})),
    Person("named by e-mail", "bob", frozenset({"bob", "bob@x.org"})),
    Person("member of the group", "dora", frozenset({"dora"}), frozenset({"p1"})),
    Person("member of another project", "emil", frozenset({"emil"}), frozenset({"p2"})),
    Person("member of a project", "hana", frozenset({"hana"}), frozenset({"project:hesiod"})),
    Person(
        "curator of a project", "ines", frozenset({"ines"}), frozenset({"project:hesiod", "project:hesiod:curator"})
    ),
    Person("delegate", "gerd", frozenset({"gerd", "carl"})),
    Person("delegate whose time is over", "hugo", frozenset({"hugo"})),
    Person("referee", None, invitation="valid"),
    Person("referee whose invitation has ended", None, invitation="ended"),
    Person("referee whose time is over", None, invitation="over"),
    Person("member who left the project", "lena", frozenset({"lena"})),
    Person("delegate whose delegation was ended", "kurt", frozenset({"kurt"})),
    Person("with a token that was revoked", "rita", frozenset({"rita", "carl"}), refused=True),
)
NOBODY = PEOPLE[1]


# --- requests


@dataclass(frozen=True)
class RightsRequest:
    """A request; ``{first}`` in its address is the first snapshot."""

    address: str
    method: str = "GET"
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    kept: str = ""  # texts that the person sent earlier

    @property
    def words(self) -> str:
        """The texts of the request, which an answer may repeat."""
        return f"{self.address} {self.body} {self.kept}"


def build_query(query: str, **more: str) -> RightsRequest:
    """Build a synchronous query."""
    return RightsRequest("/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query, **more}))


ALL = "SELECT * FROM obs.main ORDER BY n"
HIDDEN = ("zqembargo", "zqcarl", "zqgroup", "zqnull")
# the first is the one that most people may not see: the quick part of the matrix tries it
FILES = (
    *(f"data/{word}.fits" for word in ("zqembargo", "zqcarl", "zqgroup", "zqcalib", "zqopen", "nothing")),
    "README.md",
)
SEARCHES = (
    "",
    "mag=1/60",
    "ident=id*",
    "note=*zq*",
    "_q=zqembargo",
    "pi=carl",
    "_place=60 -40 90",
    "_order=-mag",
    "n=7310007/7319999",
    "project=p1",
    "release=2998/3000",
    "mag=null",
    "nope=1",
)
COLUMNS = ("ident", "n", "ra", "release", "pi", "project", "category", "mag", "note", "file")
TABLE_ROUTE = "/collections/{name}/{table}"
VIEWS = [f"{TABLE_ROUTE}/{pane}" for pane in ("rows", "count", "facets", "take", "download", "script", "moc")]
QUERY_STRINGS: dict[str, Sequence[str]] = {  # route -> query strings
    "/": ["", "lang=fr", "_json=1"],
    "/index.json": [""],
    "/tree": ["", "_of=obs"],
    "/collections": [""],
    "/news": [""], "/news.json": [""], "/news.rss": [""], "/news.atom": [""], "/news/{name}": [""],
    "/access": [""],
    "/openapi.json": [""],
    "/health": [""], "/health.json": [""], "/health/ready": [""], "/health/fresh": [""], "/metrics": [""],
    "/collections/{name}": ["", "lang=fr"],
    **{f"/collections/{{name}}/{part}{twin}": [""] for part in ("columns", "downloads") for twin in ("", ".json")},
    "/sitemap.xml": [""],
    "/collections/{name}/files": [""],
    "/collections/{name}/files/{path:path}": [""],
    "/collections/{name}/headers/{path:path}": ["", "RESPONSEFORMAT=json"],
    TABLE_ROUTE: [*SEARCHES, "lang=fr", "_view=map", "_view=plot"],
    **dict.fromkeys(VIEWS, SEARCHES),
    f"{TABLE_ROUTE}/download": [*SEARCHES, *(f"_as={name}&_all=1" for name in ("votable", "csv", "fits", "parquet", "json")), "_key=idzqembargo"],
    f"{TABLE_ROUTE}/take": [*SEARCHES, "_keyed=1", "_all=1", "_key=idzqembargo&_key=idzqcalib"],
    f"{TABLE_ROUTE}/script": ["", "_as=curl", "_as=python", "note=*zq*", "_key=idzqembargo"],
    f"{TABLE_ROUTE}/moc": ["", "_as=ascii", "_as=json", "_of=region&_place=60 -40 9", "_as=shape", "mag=1/60&_as=ascii"],
    f"{TABLE_ROUTE}/facets": [*SEARCHES, *(f"_of={column}" for column in COLUMNS), "_of=note&_like=zq", "_of=pi&_like=a"],
    f"{TABLE_ROUTE}/histogram": [*(f"_x={column}" for column in COLUMNS), "_x=mag&mag=1/60"],
    f"{TABLE_ROUTE}/points": ["_x=ra&_y=dec", "_x=mag&_y=n&_c=release", "_x=release"],
    f"{TABLE_ROUTE}/names": ["_like=zq", "_like=id", "_like=no", "_like=note"],
    **{f"{TABLE_ROUTE}/{what}": [f"_row=id{word}" for word in ("zqcalib", *HIDDEN, "nothing")] for what in ("row", "header", "place")},
    f"{TABLE_ROUTE}/services/{{face}}": [""],
    f"{TABLE_ROUTE}/panes/{{pane}}": ["", "mag=1/60"],
    "/datalink/{table}": ["", "&".join(f"ID=id{word}" for word in ("zqcalib", *HIDDEN, "nothing")), *(f"ID=id{word}&RESPONSEFORMAT=csv" for word in HIDDEN), "ID=y2030&ID=zqembargo.fits&MAXREC=1"],
    "/datalink/{table}/capabilities": [""],
    **{f"/hapi{what}": [""] for what in ("", "/about", "/capabilities", "/{path:path}")},
    "/hapi/catalog": ["", "depth=all"],
    "/hapi/info": ["dataset=obs_main", "dataset=obs_main&parameters=note"],
    "/hapi/data": [f"dataset=obs_main&start={start}&stop={stop}&format={kind}" for start, stop in (("1999", "2999-01-02"), ("2030", "2030-01-02"), ("2998", "2999-02")) for kind in ("csv", "binary", "json")],
    "/series/{id}": ["", *(f"PARAMETER={name}&WIDTH={width}&TILE={number}{more}" for name in ("mag", "n", "note") for width, number in ((86_400_000_000, 42), (864_000_000_000_000, 0), (20_000_000_000_000_000, 0)) for more in ("", "&SHOW=peak"))],
    "/das2/server": ["", *(f"server={what}&dataset=obs/main" for what in ("list", "discovery", "dsdf", "peers", "id", "logo")), *(f"server=dataset&dataset=obs/main&start_time={start}&end_time={stop}&ascii=1{more}" for start, stop in (("1999", "2999-01-02"), ("2030", "2030-01-02"), ("2998", "2999-02")) for more in ("", "&resolution=86400", "&resolution=1e8&format.version=3"))],
    "/das2/catalog.json": [""], "/das2/catalog/{path:path}": [""], "/das2/source/{path:path}": [""],
    "/sia/{table}": ["POS=60,-40&SIZE=180", "POS=60,-40&SIZE=180&RESPONSEFORMAT=csv&VERB=3", "POS=60,-40&SIZE=0", "FORMAT=METADATA"],
    "/sia/{table}/capabilities": [""],
    "/sia/{table}/cutouts": ["POS=60,-40&SIZE=180", "POS=60,-40&SIZE=0&RESPONSEFORMAT=csv", "FORMAT=METADATA"],
    "/sia/{table}/cutouts/capabilities": [""],
    "/sia2/{table}": ["", "DPTYPE=image&RESPONSEFORMAT=csv", "POS=CIRCLE 60 -40 90&RESPONSEFORMAT=csv", "TARGET=zqembargo", "POS=CIRCLE 60 -40 9&MAXREC=1"],
    "/sia2/{table}/capabilities": [""],
    "/ssa/{table}": ["", "POS=60,-40&SIZE=180&RESPONSEFORMAT=csv", "TARGETNAME=zqembargo", "FORMAT=METADATA"],
    "/ssa/{table}/capabilities": [""],
    "/cone/{table}": ["RA=60&DEC=-40&SR=90&VERB=3&RESPONSEFORMAT=csv", "RA=60&DEC=-40&SR=90", "RA=66.9&DEC=-43&SR=2&RESPONSEFORMAT=csv", "RA=x"],
    "/cone/{table}/capabilities": [""],
    "/tap": [""],
    "/tap/tables": ["", "detail=min", "detail=max", "detail=stats"],
    "/tap/tables/{table:path}": ["", "detail=stats"],
    "/tap/capabilities": [""], "/tap/availability": [""], "/tap/examples": [""],
    "/tap/sync": [urlencode({"LANG": "ADQL", "QUERY": ALL})],
    "/jobs": [""],
    "/login": [""],
    "/projects": [""], "/projects.json": [""], "/projects/{name}": [""],
    "/referee/{secret}": [""],
}  # fmt: skip
# routes that show no rows, or none without a body: tested as all others
QUERY_STRINGS |= {
    path: [""]
    for path in (
        "/health/live", "/robots.txt", "/help", "/help/{page}", "/help/{name}/{page}", "/logo", "/assets/sky/{path:path}", "/assets/{file}",
        "/assets/ground/{name}",
        "/results/{ident}", "/results/{ident}/rows",
    )
}  # fmt: skip
QUERY_STRINGS["/collections/{name}/releases/{label}"] = ["", "lang=fr"]
QUERY_STRINGS = merge_package_rights("QUERY_STRINGS", QUERY_STRINGS)
POST_BODIES: dict[str, Sequence[str]] = {  # route that only accepts POST -> bodies
    "/logout": [""], "/access/end": ["", "ID=nothing"], "/access/as": ["", "AS=anna", "AS=anonymous"], "/login/password": ["", "OLD=x&NEW=y"],
    "/login/tokens": ["", "SCOPE=none&DAYS=1"], "/login/tokens/end": ["", "ID=nothing"], "/sign": ["", "url=/nothing"], "/tap/load/{table}": ["id,n\n3,4\n"],
    "/results": [urlencode({"QUERY": query}) for query in ("SELECT * FROM obs.main", "SELECT COUNT(*) AS n FROM obs.main", "SELECT nope FROM obs.main", "SELECT * FROM obs.free")],
}  # fmt: skip
POST_ROUTES = frozenset(POST_BODIES)  # of the core; routes of packages also answer GET, at least in words
POST_BODIES = merge_package_rights("POST_BODIES", POST_BODIES)
PUT_BODIES = {"/tap/tables/{table}": "id,n\n1,2\n"}  # likewise
PACKAGE_REQUESTS = load_package_modules("rights_requests")
# route -> values of its parameters, instead of `PATH_VALUES`
ROUTE_VALUES: dict[str, Mapping[str, str]] = merge_package_rights(
    "ROUTE_VALUES",
    {
        "/help/{name}/{page}": {"name": "obs"},
        "/assets/{file}": {"file": ASSET},
        "/assets/sky/{path:path}": {"path:path": "properties"},
        "/assets/ground/{name}": {"name": "Mars-imagery.png"},
    },
)
for _module in PACKAGE_REQUESTS:
    QUERY_STRINGS |= _module.QUERY_STRINGS
    ROUTE_VALUES |= _module.ROUTE_VALUES


def find_job_routes(paths: Iterable[str]) -> set[str]:
    """Return the routes of jobs: `run_job` tests those of queries, test_rights_lost.py all types of jobs."""
    of_jobs = {path for path in paths if "{job}" in path}
    return of_jobs | {path.partition("/{job}")[0] for path in of_jobs} | {path for path in paths if path.startswith("/jobs/shown/")}  # fmt: skip


QUERIES: dict[str, Sequence[str]] = {  # way -> queries
    "rows by key": [f"SELECT * FROM obs.main WHERE ident = 'id{word}'" for word in ("zqcalib", *HIDDEN)] + ["SELECT n, note FROM obs.main WHERE n IN (7310007, 7312025, 7319088)"],
    "TOP": ["SELECT TOP 4 * FROM obs.main ORDER BY mag DESC, n", "SELECT TOP 1 note FROM obs.main ORDER BY n OFFSET 1"],
    "cone by TAP": ["SELECT * FROM obs.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(67, -43, 3)) ORDER BY n", "SELECT note, DISTANCE(POINT(ra, dec), POINT(67, -43)) AS d FROM obs.main ORDER BY 2, 1"],
    "counts": ["SELECT COUNT(*) AS n FROM obs.main", "SELECT COUNT(note) AS a, COUNT(DISTINCT pi) AS b, COUNT(mag) AS c FROM obs.main", "SELECT COUNT(*) AS n FROM obs.main WHERE pi = 'Carl'", "SELECT COUNT(*) AS n FROM obs.main WHERE mag IS NULL"],
    "aggregates": ["SELECT MIN(mag) AS a, MAX(mag) AS b, AVG(n) AS c, SUM(n) AS d, MIN(release) AS e, MAX(release) AS f, MAX(note) AS g FROM obs.main"],
    "groups": ["SELECT project, category, COUNT(*) AS n FROM obs.main GROUP BY project, category ORDER BY 1, 2", "SELECT pi FROM obs.main GROUP BY pi HAVING COUNT(*) > 0 ORDER BY pi"],
    "windows": ["SELECT note, RANK() OVER (ORDER BY mag, n) AS r, COUNT(*) OVER () AS n FROM obs.main ORDER BY n"],
    "set operations": ["SELECT note FROM obs.main UNION SELECT pi FROM obs.main ORDER BY 1", "SELECT n FROM obs.main EXCEPT SELECT n FROM obs.main WHERE mag > 20 ORDER BY 1"],
    "joins": ["SELECT a.note, b.note AS other FROM obs.main AS a LEFT JOIN obs.main AS b ON b.n = a.n + 1009 ORDER BY a.n", "SELECT a.note FROM obs.main AS a JOIN ivoa.obscore AS o ON o.obs_id = a.ident ORDER BY a.n"],
    "subqueries": ["SELECT note FROM obs.main WHERE n IN (SELECT n + 1009 FROM obs.main) ORDER BY n", "WITH w AS (SELECT * FROM obs.main) SELECT note, (SELECT COUNT(*) FROM obs.main AS b WHERE b.mag < w.mag) AS k FROM w ORDER BY n"],
    "views": ["SELECT * FROM obs.bright ORDER BY n", "SELECT COUNT(*) AS n FROM obs.bright"],
    "ivoa.obscore": ["SELECT * FROM ivoa.obscore ORDER BY obs_id", "SELECT COUNT(*) AS n, MAX(access_url) AS a FROM ivoa.obscore"],
    "TAP_SCHEMA": [f"SELECT * FROM TAP_SCHEMA.{name}" for name in ("schemas", "tables", "columns", "keys", "key_columns")],
    "errors of evaluation": ["SELECT CAST(SUBSTRING(note, 6) AS INTEGER) AS x FROM obs.main WHERE pi = 'Carl'", "SELECT CAST(mag * 1000 AS SMALLINT) AS x FROM obs.main WHERE mag > 30", "SELECT n FROM obs.main WHERE CAST(file AS INTEGER) = 7 AND project = 'p1'",
                             "SELECT (SELECT note FROM obs.main WHERE project = 'p1') AS x FROM obs.main ORDER BY 1", "SELECT x.y FROM (SELECT CAST(mag * 500 AS SMALLINT) AS y FROM obs.main UNION ALL SELECT CAST(mag * 500 AS SMALLINT) FROM obs.main) AS x"],
    "errors of names": ["SELECT nope FROM obs.main", "SELECT zqembargo FROM obs.main", "SELECT * FROM obs.mian", "SELECT note FROM obs.main WHERE ident = zqcarl"],
    "overflow": ["SELECT TOP 3 note FROM obs.main"],
}  # fmt: skip
UPLOAD_ROWS = b"id,n\nidzqcalib,7310007\nidzqembargo,7312025\nidzqcarl,7319088\nidzqgroup,7320097\n"
FORM = (("content-type", "application/x-www-form-urlencoded"),)


PATH_VALUES = {
    "name": "obs",
    "kind": "obscore",
    "path:path": "README.md",
    "rest:path": "count",
    "name:path": "obs",
    "face": "cone",
    "pane": "rows",
    "job": "nothing",
    "id": "obs_main",
    "secret": "{invitation}",
    "label": RELEASE,
    "ident": "{result}", "page": "search", "file": "nothing",
}  # fmt: skip
PATH_VALUES = merge_package_rights("PATH_VALUES", PATH_VALUES)
# route -> a parameter of it, with all values that are tried
ROUTE_CHOICES: dict[str, tuple[str, Sequence[str]]] = merge_package_rights(
    "ROUTE_CHOICES",
    {f"/collections/{{name}}/{what}/{{path:path}}": ("path:path", FILES) for what in ("files", "headers")}
    | {
        "/das2/catalog/{path:path}": ("path:path", ("obs/main.json", "obs.json")),
        "/das2/source/{path:path}": ("path:path", ("obs/main.json",)),
        "/hapi/{path:path}": ("path:path", ("nothing",)),
        "/tap/tables/{table}": ("table", ("tap_user.yours", "obs.main")),
        "/tap/load/{table}": ("table", ("tap_user.yours", "obs.main")),
        f"{TABLE_ROUTE}/panes/{{pane}}": ("pane", ("rows",)),
    },
)


def fill_route(path: str) -> list[str]:
    """Fill the parameters of a route."""
    tables = ["main", "bright"] if path.startswith(TABLE_ROUTE) else ["obs.main", "ivoa.obscore"]
    if path in ROUTE_CHOICES:
        hole, choices = ROUTE_CHOICES[path]
        return [one for choice in choices for one in fill_route(path.replace(f"{{{hole}}}", choice))]
    named = (
        "hesiod"
        if path.startswith("/projects")
        else "2026-01-01-hello"
        if path.startswith(("/news", "/help"))
        else "obs"
    )
    holes = {**PATH_VALUES, "name": named, **ROUTE_VALUES.get(path, {})}
    if "{table" not in path:
        return [re.sub(r"\{([\w:]+)\}", lambda hole: holes[hole[1]], path)]
    return [
        re.sub(r"\{([\w:]+)\}", lambda hole: holes[hole[1]], re.sub(r"\{table(:path)?\}", one, path)) for one in tables
    ]


def list_routes(site: Site) -> set[str]:
    """List the paths of the application, without those that only add a slash."""
    found = {route.path for route in find_router(create_and_start_application(site)).routes if isinstance(route, Route)}
    return {path for path in found if path == "/" or not path.endswith("/")}


def find_content_type(path: str, body: str) -> tuple[tuple[str, str], ...]:
    """Find the headers that tell what a body is."""
    if path.startswith("/tap/load"):
        return (("content-type", "text/csv"),)
    if body.startswith("{"):
        return (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))
    return FORM


def build_requests() -> dict[str, list[RightsRequest]]:
    """Build the requests of routes, formats and queries."""
    ways = {}
    for path, body in PUT_BODIES.items():  # first: later requests read these tables
        ways[f"PUT {path}"] = [
            RightsRequest(one, "PUT", body, (("content-type", "text/csv"),)) for one in fill_route(path)
        ]
    for path, bodies in POST_BODIES.items():
        ways[f"POST {path}"] = [
            RightsRequest(one, "POST", body, find_content_type(path, body))
            for one in fill_route(path)
            for body in bodies
        ]
    for path, lines in QUERY_STRINGS.items():
        shown = f"{path} " if path in QUERIES else path
        ways[shown] = [RightsRequest(f"{one}?{line}" if line else one) for one in fill_route(path) for line in lines]
    for name in plugins.list_plugins("formats"):
        ways[f"RESPONSEFORMAT={name}"] = [
            build_query(ALL, RESPONSEFORMAT=name),
            build_query("SELECT nope FROM obs.main", RESPONSEFORMAT=name),
        ]
    for name, queries in QUERIES.items():
        ways[name] = [
            build_query(query, **({"MAXREC": "2", "RESPONSEFORMAT": "votable"} if name == "overflow" else {}))
            for query in queries
        ]
    for name, addresses in merge_package_rights("WAYS", {}).items():
        ways[name] = [RightsRequest(address) for address in addresses]
    ways["ASOF"] = [
        build_query(ALL, ASOF="{first}"),
        build_query("SELECT COUNT(*) AS n FROM obs.main", ASOF="{first}"),
        RightsRequest("/collections/obs/main/rows?_asof={first}"),
    ]
    ways["POST"] = [
        RightsRequest("/tap/sync", "POST", urlencode({"LANG": "ADQL", "QUERY": ALL, "RESPONSEFORMAT": "csv"}), FORM),
        RightsRequest("/cone/obs.main", "POST", "RA=60&DEC=-40&SR=90", FORM),
    ]
    return ways  # fmt: skip


# --- sites and users


def decode_paths(application: ASGIApp) -> ASGIApp:
    """Decode paths before an application, as servers do: identifiers in them have question marks."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await application({**scope, "path": unquote(scope["path"])}, receive, send)

    return answer


@dataclass
class RightsSite:
    """A site and its clients."""

    site: Site
    first: str
    result: str
    tokens: Mapping[str, str]
    invitations: Mapping[str, str]
    _clients: dict[bool, Client] = field(default_factory=dict)

    def ask(self, who: Person, ask: RightsRequest) -> Answer:
        """Send a request as a person."""
        if who.owner not in self._clients:
            self._clients[who.owner] = Client(decode_paths(create_and_start_application(self.site, identify_principal=lambda _: OWNER_PRINCIPAL) if who.owner else create_and_start_application(self.site)))  # fmt: skip
        headers = dict(ask.headers)
        if who.account:
            headers["authorization"] = f"Bearer {self.tokens[who.account]}"
        if who.invitation:
            headers["cookie"] = f"{REFEREE_COOKIE}={self.invitations[who.invitation]}"
        address = ask.address.replace("{first}", quote(self.first)).replace("{result}", self.result)
        address = address.replace("{invitation}", self.invitations["valid"])
        return self._clients[who.owner].ask(ask.method, address, body=ask.body.encode("latin-1"), headers=headers)


@contextmanager
def open_rights_site(directory: Path, rows: Sequence[Row], access: str) -> Iterator[RightsSite]:
    """Open a site with two states of rows."""
    folder = directory / "collections" / "obs"
    folder.mkdir(parents=True)
    (directory / "hven.toml").write_text(SETTINGS)
    package_keys = "".join(merge_package_rights("TABLE_KEYS", {}).values())
    package_tables = "".join(merge_package_rights("TABLES", {}).values())
    (folder / "obs.yaml").write_text(
        DESCRIPTOR.format(access=access, package_keys=package_keys, package_tables=package_tables)
    )
    (folder / "README.md").write_text("Read me\n")
    (folder / "free.csv").write_text(FREE_ROWS)
    (directory / "logo.svg").write_text(LOGO)
    (directory / "grounds").mkdir()
    (directory / "grounds/Mars-imagery.png").write_text(LOGO)
    for place in (directory, folder):
        (place / "help").mkdir()
        (place / "help/search.md").write_text(HELP)
    (directory / "news").mkdir()
    news_path = directory / "news/2026-01-01-hello.md"
    news_path.write_text(NEWS)
    os.utime(news_path, (FILE_TIME_SECONDS, FILE_TIME_SECONDS))
    write_row_files(folder, rows)
    with Site(settings.load_settings(directory), watch_for_changes=False) as site:
        for before in (True, False):
            lines = [row.format_line(NUMBERS.get(row.word, 20 + at), before=before) for at, row in enumerate(rows)]
            (folder / "rows.csv").write_text("\n".join([",".join(COLUMN_NAMES), *lines]) + "\n")
            for path in folder.iterdir():  # answers have the times of files: they are the same on every day
                os.utime(path, (FILE_TIME_SECONDS, FILE_TIME_SECONDS + (0 if before else 3_600)))
            report = ingest_collection(site, "obs")
            assert report.published, report.error
            site.refresh_published_state()
            if before:
                first = site.store.read_published_snapshot_ids()[1]["obs.main"]
                site.store.releases.add_collection_releases(RELEASE, ["obs"])
                site.refresh_published_state()
        tokens = {one.account: site.store.users.add_account(one.account) for one in PEOPLE if one.account}
        for one in PEOPLE:
            if one.refused and one.account:
                site.store.users.renew_token_and_end_sessions(one.account)
        give = site.store.grants.add_grant
        give("member", subject="hana", object="hesiod", role="reader", actor="owner")
        give("member", subject="ines", object="hesiod", role="curator", actor="owner")
        give("delegation", subject="gerd", object="carl", actor="carl", expiry_time=NOW / 1e6 + 1)
        give("delegation", subject="hugo", object="carl", actor="carl", expiry_time=NOW / 1e6)
        ended = [give("member", subject="lena", object="hesiod", role="curator", actor="owner")[0]]
        ended.append(give("delegation", subject="kurt", object="carl", actor="carl")[0])
        cookies = {}
        for word, until in (("valid", NOW / 1e6 + 1), ("ended", None), ("over", NOW / 1e6)):
            grant, cookies[word] = give("referee", object="obs", actor="owner", with_secret=True, expiry_time=until)
            ended += [grant] if word == "ended" else []
        for grant in ended:
            site.store.grants.revoke_grant(grant.id, actor="owner")
        here = RightsSite(site, first, "", tokens, cookies)
        kept = here.ask(
            PEOPLE[0], RightsRequest("/results", "POST", urlencode({"QUERY": "SELECT * FROM obs.free"}), FORM)
        )
        here.result = kept.headers.get("location", "").rpartition("/results/")[2].partition("?")[0]
        yield here


# --- answers

# texts of which an answer has one if the pattern finds anything (searching for them takes a tenth of the time), the
# pattern, what stands for what it finds
VOLATILE_PATTERNS = (
    (("202",), re.compile(r"\b202\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00| UTC)?"), "TIME"),
    ((" (UTC)",), re.compile(r"\b\d\d:\d\d:\d\d \(UTC\)"), "TIME"),
    (("z",), re.compile(r"\b\d{4}-[A-Z][a-z]{2}-\d\d,\d\d:\d\d:\d\dz"), "TIME"),  # of Sesame
    ((" ingest:", " sync:"), re.compile(r"\b\d\d:\d\d(?= (?:ingest|sync):)"), "TIME"),  # of a run in the morning's summary
    ((" GMT",), re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b"), "TIME"),  # of RSS
    (("202",), re.compile(r"\b202\d{5}T\d{6,9}-[0-9a-f]+\b"), "IDENT"),
    (("[request ", "urn:uuid:"), re.compile(r"(?<=\[request )[0-9a-f]+|(?<=urn:uuid:)[0-9a-f-]+"), "IDENT"),
    (("<request xmlns",), re.compile(r"(?<=<request xmlns=\"\">)[0-9a-f]{12}(?=</request>)"), "IDENT"),  # in the facts of a job
    ((" s", " ms", '"seconds":', '"lag":'), re.compile(r"\b\d+(?:\.\d+)? m?s\b|(?<=\"seconds\":)[\d.e-]+|(?<=\"lag\":)[\d.e-]+"), "SECONDS"),
    (("just now", " ago"), re.compile(r"just now|(?:\d+|an?|one) (?:second|minute)s? ago"), "AGO"),
    (("à l", "il y a "), re.compile(r"à l(?:'|&#39;)instant|il y a (?:\d+|une) (?:second|minut)es?"), "AGO"),
    # counts of all requests differ between sites, and a site may serve several persons
    (("hven_",), re.compile(r"(?m)^(?:# \w+ )?hven_(?!tables|table_|engine|alert).*\n"), ""),
    (('"queries":',), re.compile(r"\"queries\":\{[^}]*\}[^}]*\}"), "QUERIES"),
    (("access: ",), re.compile(r"access: .*"), "access: SAID"),
    (("IDENT~",), re.compile(r"(?<=IDENT~)[0-9a-f]+"), "SCOPE"),
    (("hven-signed=",), re.compile(r"(?<=hven-signed=)[\w.-]+"), "SIGNATURE"),
    (("invitation:",), re.compile(r"(?<=invitation:)[0-9a-f]{12}"), "IDENT"),
    (("hven_referee=", "hven_as="), re.compile(r"(?<=hven_referee=)[\w.-]+|(?<=hven_as=)[\w.-]+"), "SECRET"),
    (("Max-Age=",), re.compile(r"(?<=Max-Age=)\d+"), "SECONDS"),
    (('"id":"',), re.compile(r"(?<=\"id\":\")[0-9a-f]{20}(?=\")"), "IDENT"),  # of a result
    (("/results/",), re.compile(r"(?<=/results/)[\w-]+"), "IDENT"),
    (("there is no result ",), re.compile(r"(?<=there is no result &#39;)[0-9a-f]{20}|(?<=there is no result ')[0-9a-f]{20}"), "IDENT"),
    (('filename="',), re.compile(r"(?<=filename=\")[0-9a-f]{20}(?=\.)"), "IDENT"),  # of a result
    (('name="token"',), re.compile(r"(?<=name=\"token\" value=\")[0-9a-f]{32}"), "SECRET"),  # of a form
    # of a site: operators see it on /health
    ((tempfile.gettempdir(),), re.compile(re.escape(tempfile.gettempdir()) + r"[^\"'<>\s]*"), "DIRECTORY"),
)  # fmt: skip
# routes whose answers may differ under another policy: only their words are checked
DIFFERING_ROUTES = {
    "/metrics": "what others have asked",
    "/login": "a new session each time",
}
DIFFERING_ROUTES = merge_package_rights("DIFFERING_ROUTES", DIFFERING_ROUTES)
# routes that use only rows that everybody may see, whoever asks: what the twin tells of other rows may be missing
PUBLIC_ROUTES = merge_package_rights("PUBLIC_ROUTES", {})
MAY_DIFFER = (*DIFFERING_ROUTES, *PUBLIC_ROUTES)  # beginnings of addresses
# `link_auth` of a DataLink document: whether a log-in is needed, which it is not on the twin, where all is public
LINK_AUTH_PATTERN = re.compile(
    r"(?<=<TD>)(?:true|false)(?=</TD><TD>true</TD></TR>)|(?:true|false)(?=\"?,\"?true\"?\]?,?[\r\n])"
)
# ways that refuse everybody here, and why
REFUSED_WAYS = {
    "/hapi/{path:path}": "catch-all: it tells which endpoints there are",
    f"{TABLE_ROUTE}/panes/{{pane}}": "only packages of others have panes: hven/testing/portal_pane.py",
    "/sia/{table}/cutouts": "no table here has `sia` in its services: not tried yet",
    "/sia/{table}/cutouts/capabilities": "the same",
    "errors of names": "queries that are wrong for everybody: only what their errors say is compared",
    "POST /access/end": "only operators end grants of others: tests/protocols/test_access.py",
    "POST /login/password": "the accounts here have no passwords",
    "POST /login/tokens/end": "a token has another number on each site",
}
REFUSED_WAYS = merge_package_rights("REFUSED_WAYS", REFUSED_WAYS)
FILE_TIME_SECONDS = 1_767_225_600  # 2026-01-01
IGNORED_HEADERS = {"etag", "date", "last-modified", "x-request-id", "content-length"}


def normalize_answer(answer: Answer, *, idents: Sequence[str] = ()) -> str:
    """Write an answer without times and without identifiers that differ between sites."""
    said = "\n".join(
        f"{name}: {value}" for name, value in sorted(answer.headers.items()) if name not in IGNORED_HEADERS
    )
    whole = f"{answer.status}\n{said}\n\n{answer.body.decode('utf-8', 'backslashreplace')}"
    for ident in idents:
        whole = whole.replace(ident, "IDENT")
    return mask_volatile_parts(whole)


@lru_cache(maxsize=200)
def mask_volatile_parts(whole: str) -> str:
    """Replace times and identifiers; several comparisons need each answer, and many persons get the same one."""
    for needed, pattern, word in VOLATILE_PATTERNS:
        if any(text in whole for text in needed):
            whole = pattern.sub(word, whole)
    return whole


@dataclass
class RightsMatrix:
    """The findings; a cell is a person, a row and a route.

    Attributes
    ----------
    leaks
        A row that the person does not see changes an answer.
    refusals
        A row that the person sees is missing.
    """

    leaks: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    cells: int = 0
    answers: int = 0
    ways: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)  # ways that at least one person was not refused
    showing: dict[str, set[str]] = field(default_factory=dict)  # route -> words that it showed to a person

    def judge(self, way: str, who: Person, ask: RightsRequest, answer: Answer, twin: Answer) -> None:
        """Compare the answer of the site with that of a site that has only the rows of this person."""
        self.ways.add(way)
        self.answers += 1
        if answer.status < 400:
            self.answered.add(way)
        one, two = normalize_answer(answer), normalize_answer(twin)
        if ask.address.startswith("/datalink/"):
            one, two = LINK_AUTH_PATTERN.sub("AUTH", one), LINK_AUTH_PATTERN.sub("AUTH", two)
        is_public = ask.address.startswith(tuple(PUBLIC_ROUTES))
        asked = f"{who.name}: {way}: {ask.method} {ask.address}"
        if 500 in {answer.status, twin.status}:
            self.leaks.append(f"{asked}: an error of Hven itself")
        for row in ROWS:
            self.cells += 1
            words = {
                row.word,
                str(_compute_number(NUMBERS[row.word])),
                f"{20.1234 + 13.4567 * NUMBERS[row.word]:.4f}",
            }
            here, there = ({word for word in words if word in text and word not in ask.words} for text in (one, two))
            if (
                not who.can_see(row) and here - there
            ):  # the twin only shows visible rows: a mean may equal the number of a row
                self.leaks.append(f"{asked}: {sorted(here)} of a row that is not seen")
            if (NOBODY if is_public else who).can_see(row) and there - here:
                self.refusals.append(f"{asked}: {sorted(there - here)} of a row that is seen is not told")
            if here:
                self.showing.setdefault(way, set()).add(row.word)
        if one != two and not ask.address.startswith(MAY_DIFFER):
            (self.leaks if "zq" not in _show_difference(two, one) else self.refusals).append(
                f"{asked}: {_show_difference(one, two)}"
            )


def _show_difference(one: str, two: str) -> str:
    at = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return f"...{one[max(0, at - 60) : at + 80]!r} beside {two[at : at + 80]!r}"


def check_refusal(who: Person, ask: RightsRequest, answer: Answer, matrix: RightsMatrix, way: str) -> None:
    """Check that invalid proof of identity is refused, not ignored."""
    matrix.ways.add(way)
    matrix.answers += 1
    matrix.cells += len(ROWS)
    normal = normalize_answer(answer)
    found = [row.word for row in ROWS if row.word in normal and row.word not in ask.words]
    if answer.status != 401 or found:
        matrix.leaks.append(f"{who.name}: {way}: {ask.method} {ask.address}: {answer.status}, not 401; {found}")


def run_job(
    at: RightsSite, who: Person, query: str, *, reader: Person | None = None
) -> Iterator[tuple[RightsRequest, Answer]]:
    """Run a job and request all its addresses, as its owner or as another person."""
    made = at.ask(who, RightsRequest("/tap/async", "POST", urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query, "PHASE": "RUN"}), FORM))  # fmt: skip
    if made.status != 303:
        yield RightsRequest("/tap/async", "POST", query), made
        return
    while run_next_job(at.site):
        pass
    there = "/tap/async" + made.headers["location"].partition("/tap/async")[2]
    for rest in ("", "/phase", "/results", "/results/result", "/error", "/parameters", "/parameters/query", "/owner"):
        yield RightsRequest(f"/tap/async/JOB{rest} {query}"), at.ask(reader or who, RightsRequest(there + rest))
    yield RightsRequest("/tap/async " + query), at.ask(reader or who, RightsRequest("/tap/async"))
    yield RightsRequest("/jobs " + query), at.ask(reader or who, RightsRequest(f"/jobs?job={there.rpartition('/')[2]}"))
    at.ask(who, RightsRequest(there, "DELETE"))


def build_upload_query(query: str) -> RightsRequest:
    """Build a query with an upload, as browsers and STILTS send it."""
    given = {"LANG": "ADQL", "QUERY": query, "UPLOAD": "t,param:t", "RESPONSEFORMAT": "csv"}
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in given.items()]
    parts += [
        f'Content-Disposition: form-data; name="t"; filename="t.csv"\r\nContent-Type: text/csv\r\n\r\n{UPLOAD_ROWS.decode()}'
    ]
    body = "".join(f"--mark\r\n{part}\r\n" for part in parts) + "--mark--\r\n"
    return RightsRequest("/tap/sync", "POST", body, (("content-type", "multipart/form-data; boundary=mark"),))


def fill_matrix(directory: Path, *, part: int = 1, people: Sequence[Person] = PEOPLE) -> tuple[RightsMatrix, set[str]]:
    """Fill the matrix with one of `part` requests of each route, always with the first; return the routes, too."""
    matrix = RightsMatrix()
    with ExitStack() as stack:
        stack.enter_context(share_event_loop())
        stack.enter_context(stop_policy_clock(lambda: NOW))
        stack.enter_context(stop_grants_clock(lambda: NOW))
        stack.enter_context(let_pages_wait())
        stack.enter_context(mock.patch.object(session, "MAX_DELAY_SECONDS", 0.0))  # wrong proof is answered late
        whole = stack.enter_context(open_rights_site(directory / "whole", ROWS, POLICY))
        alike: dict[frozenset[Row], RightsSite] = {}
        for who in people:
            rows = frozenset(filter(who.can_see, ROWS))
            if not who.refused and rows not in alike:
                seen = [row for row in ROWS if row in rows]
                alike[rows] = stack.enter_context(open_rights_site(directory / f"of{len(alike)}", seen, OPEN_POLICY))
        twins = {who: alike.get(frozenset(filter(who.can_see, ROWS)), whole) for who in people}
        tags: dict[RightsRequest, dict[str, str]] = {}
        for way, asks in build_requests().items():
            for number, ask in enumerate(asks):
                if number and number % part:
                    continue
                for who in people:
                    _compare_request(
                        matrix,
                        way,
                        who,
                        ask,
                        whole,
                        twins[who],
                        tags,
                        every=part == 1 or (number == 0 and len(way) % 3 == 0),
                    )
        for who in people:
            if not who.refused:
                _compare_further_requests(
                    matrix, who, whole, twins[who], people if part == 1 or who.account is None else ()
                )
        return matrix, list_routes(whole.site)


def _compare_request(
    matrix: RightsMatrix,
    way: str,
    who: Person,
    ask: RightsRequest,
    whole: RightsSite,
    twin: RightsSite,
    tags: dict[RightsRequest, dict[str, str]],
    *,
    every: bool,
) -> None:
    if who.invitation == "valid" and "/releases/" in ask.address:
        return None  # an invitation covers the current state; of a release, referees see what everybody sees
    answer = whole.ask(who, ask)
    if who.refused:
        return check_refusal(who, ask, answer, matrix, way)
    other = twin.ask(who, ask)
    matrix.judge(way, who, ask, answer, other)
    text = normalize_answer(answer).partition("\n\n")[2]  # without the headers, which name the reader
    known = tags.setdefault(ask, {})
    for tag, said in known.items() if every else ():  # tags of earlier persons
        again = whole.ask(who, RightsRequest(ask.address, ask.method, ask.body, (*ask.headers, ("if-none-match", tag))))
        matrix.ways.add("tags of others")
        # two persons who see the same rows have the same tag if even the seconds in their answers are the same by chance
        if again.status == 304 and tag != answer.headers.get("etag") and said != text:
            matrix.leaks.append(f"{who.name}: {ask.address}: a tag of another answer is good")
    if tag := answer.headers.get("etag"):
        known[tag] = text
    if every and ask.method == "GET":
        for name, more in (("HEAD", ()), ("ranges", (("range", "bytes=0-99"),)), ("packed", (("accept-encoding", "gzip"),)), ("JSON of pages", (("accept", "application/json"),)), ("a tag of one's own", (("if-none-match", answer.headers.get("etag", '"x"')),))):  # fmt: skip
            asked = RightsRequest(ask.address, "HEAD" if name == "HEAD" else "GET", "", (*ask.headers, *more))
            if name.startswith("a tag"):
                again = whole.ask(who, asked)
                matrix.judge(name, who, ask, answer if again.status == 304 and not again.body else again, other)
            elif name == "packed":
                one, two = (here.ask(who, asked) for here in (whole, twin))
                # whether an answer is packed depends on how quickly it was there; if both are, they are as long as
                # each other, but for times and names of runs
                both = all("content-encoding" in here.headers for here in (one, two))
                if both and abs(len(one.body) - len(two.body)) > 60 and not ask.address.startswith(MAY_DIFFER):
                    matrix.leaks.append(f"{who.name}: {ask.address}: packed {len(one.body)} beside {len(two.body)}")
                matrix.ways.add(name)
            else:
                matrix.judge(name, who, asked, whole.ask(who, asked), twin.ask(who, asked))
    return None


def list_package_requests(module: ModuleType, at: RightsSite, who: Person) -> list[tuple[str, str, bool]]:
    """List the requests of a plug-in package for files that a person sees now."""
    return list(module.list_file_requests(lambda address: at.ask(who, RightsRequest(address)).text, "obs.main"))


def _compare_further_requests(
    matrix: RightsMatrix, who: Person, whole: RightsSite, twin: RightsSite, people: Sequence[Person]
) -> None:
    for module in PACKAGE_REQUESTS:
        for request, request_of_twin in zip(
            *(list_package_requests(module, here, who) for here in (whole, twin)), strict=True
        ):
            name, address, has_same_bytes = request
            one, two = whole.ask(who, RightsRequest(address)), twin.ask(who, RightsRequest(request_of_twin[1]))
            if has_same_bytes:
                matrix.judge(f"files of {module.__name__}", who, RightsRequest(name), one, two)
            elif one.status != two.status:
                matrix.leaks.append(f"{who.name}: {name}: {one.status} beside {two.status}")
    for query in (
        ALL,
        "SELECT COUNT(*) AS n FROM obs.main",
        "SELECT CAST(mag * 1000 AS SMALLINT) AS x FROM obs.main WHERE mag > 30",
    ):
        for (ask, answer), (_, other) in zip(run_job(whole, who, query), run_job(twin, who, query), strict=True):
            matrix.judge("jobs", who, ask, *(_mask_job_names(one) for one in (answer, other)))
    joined = build_upload_query(
        "SELECT t.id, m.note, m.pi FROM TAP_UPLOAD.t AS t LEFT JOIN obs.main AS m ON t.id = m.ident ORDER BY t.id"
    )
    matrix.judge("uploads", who, joined, whole.ask(who, joined), twin.ask(who, joined))
    for other in people:
        if other.owner or ((other.account or other.invitation) and not other.refused and other is not who):
            for ask, answer in run_job(whole, other, ALL, reader=who) if not other.owner else ():
                normal = normalize_answer(answer)
                hidden = [row.word for row in ROWS if not who.can_see(row) and row.word in normal]
                matrix.ways.add("jobs of others")
                matrix.answers += 1
                matrix.cells += len(ROWS)
                if hidden:
                    matrix.leaks.append(f"{who.name}: a job of {other.name}: {ask.address}: {hidden}")
    if who.account:
        for ask in (
            build_query(ALL),
            build_query("SELECT COUNT(*) AS n FROM obs.main"),
            RightsRequest("/collections/obs/main/download?_as=csv"),
        ):
            answers = []
            for here in (whole, twin):
                given = here.ask(who, RightsRequest("/sign", "POST", urlencode({"URL": ask.address}), FORM))
                assert given.status == 200, given.text
                signed = RightsRequest(json.loads(given.body)["url"].partition("vo.example")[2])
                answers.append(here.ask(NOBODY, signed))  # a signed address shows what its creator sees
            matrix.judge("signed addresses", who, ask, *answers)
    if who.account and "user_tables" in plugins.list_plugins("protocols"):
        for here in {id(one): one for one in (whole, twin)}.values():
            kept = here.ask(
                who,
                RightsRequest("/tap/user_tables/mine", "PUT", UPLOAD_ROWS.decode(), (("content-type", "text/csv"),)),
            )
            assert kept.status == 201, kept.text
        for query in (
            "SELECT t.id, m.note FROM tap_user.mine AS t LEFT JOIN obs.main AS m ON t.id = m.ident ORDER BY t.id",
            "SELECT COUNT(*) AS n FROM tap_user.mine AS t JOIN obs.main AS m ON t.n = m.n",
        ):
            ask = replace(build_query(query), kept=UPLOAD_ROWS.decode())
            matrix.judge("user tables", who, ask, whole.ask(who, ask), twin.ask(who, ask))
        for here in {id(one): one for one in (whole, twin)}.values():
            here.ask(who, RightsRequest("/tap/user_tables/mine", "DELETE"))


def _mask_job_names(answer: Answer) -> Answer:
    """Remove the names of jobs and their durations."""
    pattern = re.compile(
        rb"(?<=async/)[\w-]+|(?<=job=)[\w-]+|(?<=<uws:jobId>)[^<]+|\b[0-9a-f]{16,}\b|\d+(?:\.\d+)?(?= (?:s|ms|seconds)\b)"
    )
    headers = {name: re.sub(r"async/[\w-]+", "async/JOB", value) for name, value in answer.headers.items()}
    return Answer(status=answer.status, headers=headers, body=pattern.sub(b"JOB", answer.body))


__all__ = [
    "PEOPLE",
    "POST_BODIES",
    "POST_ROUTES",
    "PUT_BODIES",
    "QUERY_STRINGS",
    "ROWS",
    "RightsMatrix",
    "fill_matrix",
    "find_job_routes",
    "formats",
]
