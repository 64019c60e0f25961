"""``hven check --links``: follows what the rows of a collection lead to, and tells which links are dead, of which row, and where they are said."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from hven import adql, query
from hven.model.errors import Fault, HvenError, UserError
from hven.model.table import FILES
from hven.services import datalinks
from hven.site.auth import DEFAULT, OWNER
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.errors import Place
    from hven.model.table import Table
    from hven.site import Site

ROWS = 1000  # whose links are asked at once
MOST, LONGEST = 2000, 600.0  # addresses elsewhere that are tried, seconds that this may take
TOGETHER, POLITE = 8, 2  # requests at once; to one host
SECONDS = 15.0
TOLD = 5  # rows of a link
REFUSED = (400, 403, 405, 501)  # of servers that do not know HEAD


@dataclass(slots=True)
class Found:
    """What the links of a table lead to.

    Attributes
    ----------
    dead
        Place and words -> rows, and whether it is sure.
    elsewhere
        Address -> where it is said, and one row that leads there.
    """

    dead: dict[tuple[Place, str, str, bool], list[str]] = field(default_factory=lambda: defaultdict(list))
    elsewhere: dict[str, tuple[Place, str]] = field(default_factory=dict)
    gone: dict[str, bool] = field(default_factory=dict)  # path of a file of the collection -> whether it is
    other: int = 0  # addresses that are not tried: ftp, and the like


def dead_links(site: Site, name: str) -> tuple[list[Fault], str]:
    """Follow the links of a collection.

    Parameters
    ----------
    site
        Where it is published.
    name
        Of the collection.

    Returns
    -------
    faults
        A dead link: errors; what gives no answer: warnings.
    told
        How much was looked at.
    """
    holdings = site.current()
    found = Found()
    links = 0
    # what rows lead to is told of these rows, and not once more of the list of files
    for item in sorted(holdings.published.values(), key=lambda one: one.table.utype == FILES):
        if item.table.schema == name and item.table.leads and item.resource is not None:
            spec = next((one for one in item.resource.tables if one.table.name == item.table.name), None)
            if spec is not None:
                links += _look(site, item.table, spec.place, found)
    chosen = list(found.elsewhere)
    if len(chosen) > MOST:
        chosen = random.sample(chosen, MOST)
    for url, (words, sure) in _tried(chosen, allow_private=site.settings.allow_private):
        place, row = found.elsewhere[url]
        found.dead[place, f"{url}: {words}", "mend the template, or what is there", sure].append(row)
    told = f"{name}: {links:,} links, {len(chosen):,} of {len(found.elsewhere):,} addresses elsewhere tried"
    faults = sorted(_faults(found), key=lambda one: (one.place.line or 0, one.place.column or 0, one.message))
    return faults, told + (f", {found.other:,} of other kinds (ftp ..) not" if found.other else "")


def _faults(found: Found) -> Iterator[Fault]:
    for (place, words, remedy, sure), rows in found.dead.items():
        said = ", ".join(rows[:TOLD]) + (f" and {len(rows) - TOLD:,} more" if len(rows) > TOLD else "")
        message = f"{words} (row{'s' * (len(rows) > 1)} {said})"
        yield Fault(message=message, place=place, remedy=remedy, severity="error" if sure else "warning")


def _look(site: Site, table: Table, place: Place, found: Found) -> int:
    """Ask for the links of all rows; return how many there are."""
    holdings, base, key = site.current(), site.settings.url, table.identifier
    assert key is not None  # noqa: S101  (tables without one have no links)
    own = f"{base}/collections/{quote(table.schema)}/files/"
    places = [
        link.places.get("text") or link.places.get("file") or link.places.get("service") or place
        for link in table.leads
    ]
    text = f"SELECT {adql.quote(key.name)} AS k FROM {adql.quote(table.schema)}.{adql.quote(table.name)}"
    count = 0
    with query.run(text, OWNER, site=site, policies=DEFAULT, maxrec=site.settings.limits.maxrec_hard) as result:
        ids = [str(one) for batch in result.batches() for one in batch.column(0).to_pylist() if one is not None]
    for start in range(0, len(ids), ROWS):
        rows = datalinks.rows(
            table, ids[start : start + ROWS], who=OWNER, site=site, policies=DEFAULT, holdings=holdings, base=base, numbered=True
        )  # fmt: skip
        seen: set[tuple[str, str, str]] = set()
        for row in rows.to_pylist():
            url, ident, at = row["access_url"], row["ID"], places[row["_link"]]
            count += 1
            if row["error_message"]:
                found.dead[
                    at, row["error_message"].partition(": ")[2], "put the file back, or mend the template", True
                ].append(ident)
            if not url:
                continue
            if (ident, row["semantics"], url) in seen:
                words = f"{row['semantics']} leads twice to {url}"
                found.dead[at, words, "say which rows go with a row more narrowly: where, if", False].append(ident)
            seen.add((ident, row["semantics"], url))
            if url.startswith(own):
                path = unquote(url.removeprefix(own))
                known = path in found.gone
                if not known:
                    found.gone[path] = not (site.settings.collections / table.schema / path).is_file()
                if found.gone[path] and not (known and table.utype == FILES):
                    words = f"the file {path} is published, and is not there"
                    found.dead[at, words, "put it back, or ingest the collection again", True].append(ident)
            elif url.startswith(("http://", "https://")) and not url.startswith(f"{base}/"):
                found.elsewhere.setdefault(url, (at, ident))
            elif "://" in url and not url.startswith(f"{base}/"):
                found.other += 1
    return count


def _tried(urls: list[str], *, allow_private: bool) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Ask for addresses, a few at a time, and few of one host; yield those that are dead: why, and whether that is sure."""
    hosts: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(POLITE))
    for url in urls:
        hosts[urlsplit(url).netloc]  # made here: not by two threads
    end = time.monotonic() + LONGEST

    def tried(url: str) -> tuple[str, bool] | None:
        with hosts[urlsplit(url).netloc]:
            if time.monotonic() > end:
                return "not tried: it took too long before", False
            return _asked(url, allow_private=allow_private)

    with ThreadPoolExecutor(TOGETHER) as threads:
        for url, found in zip(urls, threads.map(tried, urls), strict=True):
            if found is not None:
                yield url, found


def _asked(url: str, *, allow_private: bool) -> tuple[str, bool] | None:
    status = 0
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        try:
            with remote.stream(method, url, headers=headers, seconds=SECONDS, allow_private=allow_private) as answer:
                status = answer.status
        except UserError as error:
            return error.message, False
        except HvenError as error:
            return str(error), False
        if status not in REFUSED:
            break
    if status < 400 or status in {401, 416, 429}:  # it is there
        return None
    return f"its server answers {status}", status in {404, 410}
