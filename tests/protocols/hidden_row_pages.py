"""Compare all pages that strangers reach on two sites, of which one has additional rows that a policy hides."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from plugin_needs import list_query_addresses, list_statistics_pages, list_word_pages, load_core_fixtures

VISIBLE_ROWS = 60
# as the policy of the application, for strangers
POLICY = "MOD(n, 2) = 0 or seen > now or reader in (ident, kind) or kind in groups"
MAX_ADDRESSES = 1_500  # at most: all that the pages link to, and what they link to
DESCRIPTOR = """\
collection: stars
title: Stars
description: Made-up stars
subjects: [stars]
facility: [Uraniborg]
tables:
  main:
    title: Main
    source: {kind: csv, files: rows.csv}
    primary: ident
    position: [ra, dec]
    columns:
      ident: {type: string, ucd: meta.id;meta.main, description: Name, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA, rank: 1}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec, rank: 1}
      kind: {type: string, description: Kind, rank: 2}
      seen: {type: timestamp, ucd: time.start, description: When, rank: 2}
      mag: {type: float32, unit: mag, ucd: phot.mag, description: Brightness, rank: 3, indexed: true}
      steps: {type: int32, description: Steps, rank: 3}
      flag: {type: boolean, description: Flag}
      note: {type: string, description: Words}
      n: {type: int32, description: Number}
    obscore:
      set: {dataproduct_type: image, calib_level: 2}
      map:
        target_name: kind
        t_min: mjd(seen)
        number: n
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      columns: {number: {type: int32, description: A number}}
"""
# only answers that are ready at once have a length
IGNORED_HEADERS = {"etag", "date", "last-modified", "x-request-id", "content-length"}
# those of other sites say when they were made, by which run, and what it was called
VOLATILE_PATTERNS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00| UTC)?"), "TIME"),
    (re.compile(r"\bjust now\b|\b\d+ minutes? ago\b"), "AGO"),
    (re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b"), "TIME"),  # of RSS
    (re.compile(r"\b\d{8}T\d{6,9}-[0-9a-f]+\b"), "IDENT"),
    (re.compile(r"(?<=\[request )[0-9a-f]+|(?<=urn:uuid:)[0-9a-f-]+"), "IDENT"),
    (re.compile(r"\b\d+\.\d+ s\b|(?<=\"seconds\":)[\d.e-]+|(?<=\"lag\":)[\d.e-]+"), "SECONDS"),
    (re.compile(r"(?m)^(hven_\w+_seconds\w*(?:\{[^}]*\})?) .*$"), r"\1 SECONDS"),
    (re.compile(r"(?m)^(hven_(?:requests_total|response|sent_bytes)\w*(?:\{[^}]*\})?) .*$"), r"\1 COUNT"),
)


def write_rows(*, hidden: bool) -> str:
    """Write visible rows (`n` is even) and, between them, hidden ones.

    Hidden rows have names, extremes, NULLs and lengths that no visible row has.
    """
    made = np.random.default_rng(3)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["ident", "ra", "dec", "kind", "seen", "mag", "steps", "flag", "note", "n"])
    for number in range(VISIBLE_ROWS):
        ra, dec, mag = made.uniform(0, 90), made.uniform(10, 40), made.uniform(5, 9)
        if hidden:
            for copy in range(3):
                odd = number * 6 + copy * 2 + 1
                writer.writerow([f"xyzzy{odd}" * 5, ra + 180 + copy, -dec, "plugh" if copy else "", f"18{copy}0-01-01T00:00:00", mag * 1e20 if copy else "", -(2**31) + odd, "", "plover " * 40, odd])  # fmt: skip
        writer.writerow([f"s{number}", ra, dec, "ab"[number % 2], f"2020-01-{1 + number % 28:02}T00:00:00", mag, number % 5 + 1, number % 2 == 0, f"note {number}", 2 * number])  # fmt: skip
    return text.getvalue()


@contextmanager
def open_twin_sites(directory: Path, *, said: str | None = None) -> Iterator[tuple[Client, Client]]:
    """Open the site without hidden rows, then the one with them.

    The policy is one of the application, or `said` in the descriptors.
    """
    with ExitStack() as stack:
        clients = []
        for name in ("without", "with"):
            place = directory / name / "collections" / "stars"
            place.mkdir(parents=True)
            (place / "stars.yaml").write_text(
                DESCRIPTOR
                if said is None
                else DESCRIPTOR.replace("    title: Main\n", f"    title: Main\n    access: {said}\n")
            )
            (place / "rows.csv").write_text(write_rows(hidden=name == "with"))
            site = stack.enter_context(
                Site(Settings(directory=directory / name, authority="ohp.fr"), watch_for_changes=False)
            )
            report = ingest_collection(site, "stars")
            assert report.published, report.error
            site.refresh_published_state()
            clients.append(
                Client(
                    create_and_start_application(site, policies=build_odd_rows_hidden_policies("n"))
                    if said is None
                    else create_and_start_application(site)
                )
            )
        yield clients[0], clients[1]


QUERIES = (
    "SELECT * FROM stars.main ORDER BY ident",
    "SELECT TOP 3 * FROM stars.main",
    "SELECT COUNT(*) AS n, MIN(mag) AS a, MAX(mag) AS b, AVG(dec) AS c, MAX(LENGTH(note)) AS d FROM stars.main",
    "SELECT kind, COUNT(*) AS n FROM stars.main GROUP BY kind HAVING MIN(CAST(steps * 1000 AS SMALLINT)) > 0 ORDER BY kind",
    "SELECT ident FROM stars.main WHERE CAST(steps AS SMALLINT) > 0",
    "SELECT ident, steps - 2147483647 AS x FROM stars.main WHERE steps - 2147483647 < 0 ORDER BY 1",
    "SELECT a.ident FROM stars.main AS a JOIN stars.main AS b ON CAST(a.steps AS SMALLINT) = b.steps AND a.ident = b.ident",
    "SELECT ident FROM stars.main WHERE n IN (SELECT n FROM stars.main WHERE CAST(steps AS SMALLINT) > 2) ORDER BY CAST(steps AS SMALLINT), ident",
    "SELECT s.x FROM (SELECT CAST(steps AS SMALLINT) AS x FROM stars.main UNION ALL SELECT CAST(steps AS SMALLINT) FROM stars.main) AS s WHERE s.x > 3",
    "WITH w AS (SELECT CAST(steps AS SMALLINT) AS x, ident FROM stars.main) SELECT x, RANK() OVER (ORDER BY x, ident) AS r FROM w",
    "SELECT CAST(SUBSTRING(ident, 2) AS INTEGER) AS x FROM stars.main ORDER BY 1",
    "SELECT ident FROM stars.main WHERE CAST(SUBSTRING(ident, 2) AS INTEGER) = 7 AND 1 = CONTAINS(POINT(ra, dec), CIRCLE(45, 20, 60))",
    "SELECT COUNT(*) AS n FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(225, -20, 90))",
    "SELECT target_name, t_min, s_region, number FROM ivoa.obscore ORDER BY 4",
    "SELECT * FROM TAP_SCHEMA.tables",
    "SELECT * FROM TAP_SCHEMA.columns",
    "SELECT nope FROM stars.main",
    "SELECT (SELECT ident FROM stars.main WHERE n < 2) AS a FROM stars.main",
    "SELECT (SELECT ident FROM stars.main WHERE kind = 'plugh') AS a FROM stars.main",
)
FORM_FIELDS = (
    {}, {"kind": "plugh"}, {"kind": "a"}, {"mag": "> 9"}, {"mag": "1e10/1e30"}, {"steps": "-3000000000/0"}, {"seen": "1810/1850"}, {"ident": "xyzzy*"}, {"n": "1"}, {"n": "1/9"},
    {"note": "*plover*"}, {"flag": "null"}, {"kind": "null"}, {"_q": "xyzzy"}, {"q": "plugh"}, {"_place": "225 -20 90"}, {"_sort": "mag"}, {"_order": "-mag"}, {"_page": "2"}, {"_offset": "50"}, {"nope": "1"},
)  # fmt: skip
PAGES = (
    "",
    "/count",
    "/facets",
    "/rows",
    "/points",
    "/moc",
    "/histogram",
    "/header",
    "/names",
    "/script",
    "/download",
    "/take",
    *(f"/{name}" for name in load_core_fixtures("TABLE_DATA")),
)


def iterate_start_addresses() -> Iterator[str]:
    """Yield addresses that no page links to, or not with these parameters."""
    for query in QUERIES:
        for form in ("csv", "votable", "json"):
            yield "/tap/sync?" + urlencode({"LANG": "ADQL", "FORMAT": form, "QUERY": query})
        for page in list_query_addresses("answer", "check", "explain", "rows", "histogram", "points"):
            yield f"/adql/{page}?" + urlencode(
                {"query": query, "QUERY": query, "column": "mag", "x": "mag", "y": "steps"}
            )
    for page in PAGES:
        for words in FORM_FIELDS:
            yield f"/collections/stars/main{page}?" + urlencode(words)
    for column in ("ident", "kind", "seen", "mag", "steps", "flag", "note", "n", "ra"):
        yield f"/collections/stars/main/histogram?column={column}"
        yield f"/collections/stars/main/facets?column={column}&_column={column}"
        yield f"/collections/stars/main/points?x={column}&y=mag"
        yield f"/collections/stars/main/names?column={column}&q=x&text=x&prefix=x"
    for ident in ("s1", "xyzzy3" * 5, "xyzzy1" * 5, "none"):
        yield f"/collections/stars/main/row?ident={quote(ident)}"
        yield f"/collections/stars/main/place?ident={quote(ident)}"
        yield from list_word_pages(quote(ident))
    for ra, dec, radius in ((45, 20, 90), (225, -20, 60), (10, 10, 0.1)):
        for verbosity in (1, 3):
            yield f"/cone/stars.main?RA={ra}&DEC={dec}&SR={radius}&VERB={verbosity}"
    for path in (
        "/health",
        "/health.json",
        "/health/fresh",
        "/health/ready",
        "/metrics",
        *list_statistics_pages("stars"),
        "/index.json",
    ):
        yield path
    for path in (
        "/collections/stars/main.json",
        "/collections/stars.json",
        *list_statistics_pages("stars.json"),
        "/collections/stars/descriptor",
        "/collections/stars/files",
    ):
        yield path
    yield from load_core_fixtures("ROW_ADDRESSES")
    yield "/"


def iterate_links(text: str) -> Iterator[str]:
    """Yield the addresses of this site in a document."""
    for found in re.findall(
        r"""(?:href|src|action|data-[a-z-]+)=["']((?:/|\?)[^"'#]*)|https?://vo\.example(/[^"'<>\s#]*)""", text
    ):
        address = unescape(found[0] or found[1])
        if address.startswith("/") and not address.startswith(("//", "/assets/", "/logo")):
            yield address


def fetch_normalized(client: Client, address: str) -> tuple[str, str]:
    """Return the answer of an address without times and identifiers, and its text."""
    answer = client.get(address)
    text = answer.body.decode("utf-8", "replace")
    said = "\n".join(
        f"{name}: {value}" for name, value in sorted(answer.headers.items()) if name not in IGNORED_HEADERS
    )
    whole = f"{answer.status}\n{said}\n\n{text}"
    for pattern, word in VOLATILE_PATTERNS:
        whole = pattern.sub(word, whole)
    return whole, text


def compare_pages(both: tuple[Client, Client], *, part: int = 1) -> tuple[int, list[str]]:
    """Compare one of `part` addresses, including links in answers.

    Returns the number of successful answers, and the addresses whose answers differ.
    """
    waiting = list(dict.fromkeys(iterate_start_addresses()))
    met = set(waiting)
    answered, unlike = 0, []
    for number, address in enumerate(waiting):
        if number % part:
            continue
        (one, text), (two, _) = (fetch_normalized(client, address) for client in both)
        answered += one.startswith("200")
        if one != two:
            unlike.append(address)
        for link in iterate_links(text):
            if link not in met and len(met) < MAX_ADDRESSES:
                met.add(link)
                waiting.append(link)
    return answered, unlike
