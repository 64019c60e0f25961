"""Every request whose answer is recorded: from the routes of the application, the plug-ins and the published tables.

A new route, format, table or example adds requests without recorded answers, and the test fails until they are
recorded.
"""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlencode

import rights_matrix
import yaml
from asgi_client import Answer, Client, find_router, share_event_loop
from fixed_time import INSTANT_SECONDS
from normal_form import describe_answer, mask_address
from rights_clock import stop_policy_clock
from rights_matrix import (
    PATH_VALUES,
    POST_ROUTES,
    PUT_BODIES,
    QUERY_STRINGS,
    TABLE_ROUTE,
    Person,
    RightsRequest,
    RightsSite,
    find_job_routes,
)
from starlette.routing import Route

from hven.app._server.application import create_and_start_application
from hven.model import plugins
from hven.site import Site
from hven.site.auth import session

MAX_ROWS = 12
PAGE_LIMITS = {
    "ANSWER_WAIT_SECONDS",
    "COLUMN_TIMEOUT_SECONDS",
    "COUNT_TIMEOUT_SECONDS",
    "COUNT_WAIT_SECONDS",
    "FULL_COUNT_TIMEOUT_SECONDS",
    "LAYOUT_TIMEOUT_SECONDS",
    "LOCAL_TIMEOUT_SECONDS",
    "OVERVIEW_WAIT_SECONDS",
    "QUERY_TIMEOUT_SECONDS",
    "QUICK_TIMEOUT_SECONDS",
    "TABLE_TIMEOUT_SECONDS",
    "TREE_WAIT_SECONDS",
}  # constants of hven.portal and of packages with pages: seconds that a page waits for numbers
MIN_PAGE_LIMITS = 18
NUMERIC = ("short", "int", "long", "float", "double")
KNOWN_PATH_PARAMETERS = {*PATH_VALUES, "table", "table:path"}
TABLE_QUERY_STRINGS: dict[str, list[str]] = {  # route -> query strings for each table of an example; "" for all other routes
    f"{TABLE_ROUTE}/row": ["_row={key}"], f"{TABLE_ROUTE}/header": ["_row={key}"], f"{TABLE_ROUTE}/place": ["_row={key}"], f"{TABLE_ROUTE}/else": ["_row={key}"],
    f"{TABLE_ROUTE}/histogram": ["_x={number}"],
    f"{TABLE_ROUTE}/points": ["_x={number}&_y={number}"],
    f"{TABLE_ROUTE}/facets": ["", "_of={string}"],
    f"{TABLE_ROUTE}/names": ["_like={key}"],
    TABLE_ROUTE: ["", "_order=-{number}", "_view=map", "_view=plot"],
    "/cone/{table}": ["RA={ra}&DEC={dec}&SR=5"],
    "/datalink/{table}": ["ID={key}"],
    "/sia/{table}": ["POS={ra},{dec}&SIZE=10", "FORMAT=METADATA"],
    "/ssa/{table}": ["POS={ra},{dec}&SIZE=10", "FORMAT=METADATA"],
    "/tap/tables/{table:path}": ["", "detail=stats"],
}  # fmt: skip


@dataclass
class Recorder:
    """A site and the normal forms of its answers.

    Attributes
    ----------
    answers
        Key of a request -> normal form of its answer.
    """

    site: Site
    directory: Path
    answers: dict[str, list[str]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = Client(create_and_start_application(self.site))
        self.replaced = {str(self.directory): "DIRECTORY", **self.replaced}

    def ask(self, address: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Send a request as an anonymous user and keep the answer."""
        headers = {"content-type": "application/x-www-form-urlencoded"} if method == "POST" else {}
        answer = self.client.ask(method, address, body=body, headers=headers)
        self.keep(f"{method} {address}", answer)
        return answer

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer under a key that is the same in each run."""
        self.answers[mask_address(key, self.replaced).replace("\n", " ")] = describe_answer(
            answer.status, answer.headers, answer.body, self.replaced
        )


@contextmanager
def speed_up_requests() -> Iterator[None]:
    """Use one event loop for all requests, and give pages all the time that they need to count."""
    limits = [
        (module, name, getattr(module, name))
        for path, module in list(sys.modules.items())
        if path.startswith(("hven.portal.", "hven.plugins."))
        for name in PAGE_LIMITS & vars(module).keys()
    ]
    # a limit that has another name by now makes answers depend on how busy the machine is
    assert {name for _, name, _ in limits} == PAGE_LIMITS, "say in PAGE_LIMITS how constants of pages are called"
    assert len(limits) >= MIN_PAGE_LIMITS, f"only {len(limits)} limits of pages are known: have some got other names?"
    with ExitStack() as stack:
        for module, name, seconds in limits:
            stack.enter_context(mock.patch.object(module, name, 60 * seconds))
        stack.enter_context(share_event_loop())
        stack.enter_context(mock.patch.object(session, "MAX_DELAY_SECONDS", 0.0))  # wrong proof is answered late
        token_hex = secrets.token_hex
        # `normal_form` takes an identifier without a letter for a number
        stack.enter_context(mock.patch.object(secrets, "token_hex", lambda count: f"a0{token_hex(count)[2:]}"))
        yield


def list_routes(site: Site) -> dict[str, set[str]]:
    """List the paths of the application with their methods, without those that only add a slash."""
    found: dict[str, set[str]] = {}
    for route in find_router(create_and_start_application(site)).routes:
        if isinstance(route, Route) and (route.path == "/" or not route.path.endswith("/")):
            found.setdefault(route.path, set()).update(route.methods or {"GET", "HEAD", "POST"})
    return found


# --- the site of the matrix of rights: every route, format and query, by each kind of reader


def record_rights(directory: Path) -> dict[str, list[str]]:
    """Record each route with its query strings and each format, each query, and each method of a route."""
    with speed_up_requests(), stop_policy_clock(lambda: rights_matrix.NOW), rights_matrix.open_rights_site(directory, rights_matrix.ROWS, rights_matrix.POLICY) as place:  # fmt: skip
        replaced = {place.first: "FIRST", quote(place.first): "FIRST", **name_times(directory)}
        recorder = Recorder(place.site, directory, replaced=replaced)
        owner, nobody, named = rights_matrix.PEOPLE[0], rights_matrix.NOBODY, rights_matrix.PEOPLE[4]
        assert named.account == "anna"
        routes = list_routes(place.site)
        ways = rights_matrix.build_requests()
        for person in (nobody, named):
            for asks in ways.values():
                for ask in asks:
                    record_request(recorder, place, person, ask)
        for path in sorted(routes):
            address, *others = fill_path(path)
            for other in (address, *others) if path not in QUERY_STRINGS else ():
                record_request(recorder, place, nobody, RightsRequest(other))
            line = QUERY_STRINGS.get(path, [""])[0]
            plain = place.ask(nobody, RightsRequest(f"{address}?{line}"))
            for name in plugins.list_plugins("formats") if plain.status == 200 and "RESPONSEFORMAT" not in line else ():
                record_request(
                    recorder,
                    place,
                    nobody,
                    RightsRequest(f"{address}?{f'{line}&' if line else ''}RESPONSEFORMAT={name}"),
                )
        for reader, query in ((nobody, rights_matrix.ALL), (owner, rights_matrix.ALL), (named, "SELECT nope FROM obs.main")):  # fmt: skip
            for ask, answer in rights_matrix.run_job(place, reader, query):
                recorder.keep(f"{reader.name}: {ask.method} {ask.address}", answer)
        for path, methods in sorted(routes.items()):
            for method in sorted(methods - {"GET", "HEAD", "OPTIONS"}):
                record_request(
                    recorder, place, nobody, RightsRequest(fill_path(path)[0], method, "", rights_matrix.FORM)
                )
        return recorder.answers


def name_times(directory: Path) -> dict[str, str]:
    """Map the modification times of files, in the formats of pages, to a name."""
    moments = {datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in directory.glob("collections/*/*")}
    forms = ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M")
    return {f"{moment:{form}}": "NOW" for form in forms for moment in moments}  # the longer ones first


def fill_path(path: str) -> list[str]:
    """Fill the parameters of a route as the matrix does; unknown ones get a name that does not exist."""
    return rights_matrix.fill_route(
        re.sub(r"\{([\w:]+)\}", lambda hole: hole[0] if hole[1] in KNOWN_PATH_PARAMETERS else "nothing", path)
    )


def record_request(recorder: Recorder, place: RightsSite, person: Person, ask: RightsRequest) -> None:
    """Send a request as a person and keep the answer."""
    recorder.keep(f"{person.name}: {ask.method} {ask.address} {ask.body}".rstrip(), place.ask(person, ask))


# --- sites of examples: each table by each route that is about tables, and by each format


def record_site(site: Site, directory: Path) -> dict[str, list[str]]:
    """Record the answers of a site about all its collections and tables."""
    with speed_up_requests(), stop_policy_clock(lambda: INSTANT_SECONDS * 1_000_000):
        recorder = Recorder(site, directory)
        tables = {
            name: find_values(recorder, item.table)
            for name, item in sorted(site.get_published_state().tables_by_name.items())
        }
        for path in sorted(list_routes(site)):
            for address in fill_route(recorder, path, tables):
                recorder.ask(address)
        for values in tables.values():
            query = f"SELECT TOP {MAX_ROWS} * FROM {values['from']}{values['order']}"
            for kind in plugins.list_plugins("formats"):
                recorder.ask("/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": kind, "QUERY": query}))
            recorder.ask("/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": f"SELECT COUNT(*) AS n FROM {values['from']}"}))  # fmt: skip
        for path in sorted(directory.glob("collections/*/*.yaml")):
            for example in yaml.safe_load(path.read_text(encoding="utf-8")).get("examples") or ():
                if isinstance(example, dict) and "query" in example:
                    ask_example(recorder, example["query"])
        record_series(recorder)
        return recorder.answers


def ask_example(recorder: Recorder, query: str) -> None:
    """Run an example of a descriptor; sort the rows of a query without an order."""
    address = "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query})
    answer = recorder.ask(address)
    if not re.search(r"\bORDER\s+BY\b", query, re.IGNORECASE):
        head, *rows = answer.body.splitlines()
        recorder.keep(f"GET {address}", replace(answer, body=b"\n".join([head, *sorted(rows)])))


def record_series(recorder: Recorder) -> None:
    """Record each data set of HAPI: its description and its samples."""
    catalogue = json.loads(recorder.ask("/hapi/catalog").body)
    for dataset in catalogue.get("catalog", ()):
        told = json.loads(recorder.ask("/hapi/info?" + urlencode({"dataset": dataset["id"]})).body)
        span = {"start": told.get("startDate", ""), "stop": told.get("stopDate", "")}
        for kind in ("csv", "json"):
            recorder.ask("/hapi/data?" + urlencode({"dataset": dataset["id"], **span, "format": kind}))


def find_values(recorder: Recorder, table: Any) -> dict[str, str]:
    """Find values for requests about a table: key and position of its first row, a numeric and a text column."""
    columns = [column for column in table.columns if not column.hidden]
    values = {
        "key": "nothing", "ra": "10", "dec": "10",
        "number": next((c.name for c in columns if c.type.datatype in NUMERIC and not c.type.arraysize), "nothing"),
        "string": next((c.name for c in columns if c.type.datatype in ("char", "unicodeChar")), "nothing"),
        "from": quote_name(table.schema) + "." + quote_name(table.name),
        "order": "".join(f"{', ' if at else ' ORDER BY '}{quote_name(name)}" for at, name in enumerate(table.primary)),
    }  # fmt: skip
    wanted = {"key": table.primary[0] if table.primary else None, **dict(zip(("ra", "dec"), table.position or (), strict=False))}  # fmt: skip
    names = {word: name for word, name in wanted.items() if name}
    if names:
        query = f"SELECT TOP 1 {', '.join(f'{quote_name(name)} AS c{at}' for at, name in enumerate(names.values()))} FROM {values['from']}{values['order']}"
        answer = recorder.client.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=query)
        rows = list(csv.reader(io.StringIO(answer.text))) if answer.status == 200 else []
        if len(rows) > 1:
            values |= dict(zip(names, map(quote, rows[1]), strict=True))
    return values


def quote_name(name: str) -> str:
    return (
        name
        if re.fullmatch(r"[A-Za-z]\w*", name) and name.upper() not in {"SCHEMA", "TABLES", "COLUMNS"}
        else f'"{name}"'
    )


def fill_route(recorder: Recorder, path: str, tables: dict[str, dict[str, str]]) -> Iterator[str]:
    """Write the addresses of a route: for each table or collection, with its query strings."""
    site = recorder.site
    if "{" not in path:
        if path not in {*POST_ROUTES, *PUT_BODIES, *find_job_routes([path])}:
            yield path
        return
    if path.startswith(TABLE_ROUTE):
        holes = [{"name": name.partition(".")[0], "table": name.partition(".")[2]} for name in tables]
    elif re.search(r"\{table(:path)?\}", path):
        holes = [{"table": name, "table:path": name} for name in tables]
    elif "/collections/{name}" in path:
        holes = [{"name": name} for name in sorted(site.get_published_state().resources)]
    else:
        return  # these routes do not depend on published data; the site of rights covers them
    for values in holes:
        collection = values.get("name", "")
        filled = {**PATH_VALUES, **values, "path:path": find_first_file(recorder, collection, tables)}
        address = re.sub(r"\{([\w:]+)\}", lambda hole, filled=filled: filled.get(hole[1], "nothing"), path)
        name = values.get("table", "") if "." in values.get("table", "") else f"{collection}.{values.get('table')}"
        for line in TABLE_QUERY_STRINGS.get(path, [""]):
            told = line.format(**tables[name]) if line else ""
            yield f"{address}?{told}" if told else address


def find_first_file(recorder: Recorder, collection: str, tables: dict[str, dict[str, str]]) -> str:
    """Return the first file of a collection."""
    if f"{collection}.files" not in tables:
        return "nothing"
    answer = recorder.client.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=f"SELECT TOP 1 path FROM {collection}.files ORDER BY path")  # fmt: skip
    rows = list(csv.reader(io.StringIO(answer.text)))
    return quote(rows[1][0]) if answer.status == 200 and len(rows) > 1 else "nothing"
