"""``hven check --links``: follow the links of rows, and report dead ones with their row and place in the descriptor."""

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
from hven.model.table import FILES_UTYPE
from hven.services import datalinks
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.errors import Place
    from hven.model.table import Table
    from hven.site import Site

ROWS_PER_QUERY = 1000  # whose links are asked at once
MAX_REMOTE_ADDRESSES, MAX_CHECK_SECONDS = 2000, 600.0  # addresses elsewhere that are tried, seconds that this may take
MAX_PARALLEL_REQUESTS, MAX_REQUESTS_PER_HOST = 8, 2  # requests at once; to one host
REQUEST_TIMEOUT_SECONDS = 15.0
MAX_REPORTED_ROWS = 5  # rows of a link
HEAD_REFUSED_STATUSES = (400, 403, 405, 501)  # of servers that do not know HEAD


@dataclass(slots=True)
class LinkCheck:
    """What the links of a table lead to.

    Attributes
    ----------
    dead_links
        Place and words -> rows, and whether it is sure.
    remote_addresses
        Address -> where it is said, and one row that leads there.
    """

    dead_links: dict[tuple[Place, str, str, bool], list[str]] = field(default_factory=lambda: defaultdict(list))
    remote_addresses: dict[str, tuple[Place, str]] = field(default_factory=dict)
    missing_files: dict[str, bool] = field(default_factory=dict)  # path of a file of the collection -> whether it is
    unchecked_count: int = 0  # addresses that are not tried: ftp, and the like


def check_links(site: Site, name: str) -> tuple[list[Fault], str]:
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
    published_state = site.get_published_state()
    link_check = LinkCheck()
    links = 0
    # what rows lead to is told of these rows, and not once more of the list of files
    for item in sorted(
        published_state.tables_by_name.values(), key=lambda published_table: published_table.table.utype == FILES_UTYPE
    ):
        if item.table.schema == name and item.table.effective_links and item.resource is not None:
            spec = next(
                (
                    published_table
                    for published_table in item.resource.tables
                    if published_table.table.name == item.table.name
                ),
                None,
            )
            if spec is not None:
                links += _collect_links(site, item.table, spec.place, link_check)
    tried_addresses = list(link_check.remote_addresses)
    if len(tried_addresses) > MAX_REMOTE_ADDRESSES:
        tried_addresses = random.sample(tried_addresses, MAX_REMOTE_ADDRESSES)
    for url, (words, is_certain) in _check_addresses(tried_addresses, allow_private=site.settings.allow_private):
        place, row = link_check.remote_addresses[url]
        link_check.dead_links[place, f"{url}: {words}", "mend the template, or what is there", is_certain].append(row)
    summary = (
        f"{name}: {links:,} links, {len(tried_addresses):,} of {len(link_check.remote_addresses):,} addresses "
        f"elsewhere tried"
    )
    faults = sorted(
        _build_faults(link_check),
        key=lambda published_table: (
            published_table.place.line or 0,
            published_table.place.column or 0,
            published_table.message,
        ),
    )
    return faults, summary + (
        f", {link_check.unchecked_count:,} of other kinds (ftp ..) not" if link_check.unchecked_count else ""
    )


def _build_faults(link_check: LinkCheck) -> Iterator[Fault]:
    for (place, words, remedy, is_certain), rows in link_check.dead_links.items():
        row_list = ", ".join(rows[:MAX_REPORTED_ROWS]) + (
            f" and {len(rows) - MAX_REPORTED_ROWS:,} more" if len(rows) > MAX_REPORTED_ROWS else ""
        )
        message = f"{words} (row{'s' * (len(rows) > 1)} {row_list})"
        yield Fault(message=message, place=place, remedy=remedy, severity="error" if is_certain else "warning")


def _collect_links(site: Site, table: Table, table_place: Place, link_check: LinkCheck) -> int:
    """Ask for the links of all rows; return how many there are."""
    published_state = site.get_published_state()
    base = site.settings.site_url
    key = table.identifier_column
    assert key is not None  # noqa: S101  (tables without one have no links)
    files_prefix = f"{base}/collections/{quote(table.schema)}/files/"
    places = [
        link.places.get("text") or link.places.get("file") or link.places.get("service") or table_place
        for link in table.effective_links
    ]
    text = f"SELECT {adql.quote_name(key.name)} AS k FROM {adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"
    count = 0
    with query.run_query(
        text, OWNER_PRINCIPAL, site=site, policies=DEFAULT_POLICIES, maxrec=site.settings.limits.maxrec_hard
    ) as result:
        ids = [
            str(identifier)
            for batch in result.iterate_batches()
            for identifier in batch.column(0).to_pylist()
            if identifier is not None
        ]
    for start in range(0, len(ids), ROWS_PER_QUERY):
        rows = datalinks.list_row_links(
            table,
            ids[start : start + ROWS_PER_QUERY],
            principal=OWNER_PRINCIPAL,
            site=site,
            policies=DEFAULT_POLICIES,
            published_state=published_state,
            base_url=base,
            with_link_numbers=True,
        )
        seen_links: set[tuple[str, str, str]] = set()
        for row in rows.to_pylist():
            url = row["access_url"]
            ident = row["ID"]
            at = places[row["_link"]]
            count += 1
            if row["error_message"]:
                link_check.dead_links[
                    at, row["error_message"].partition(": ")[2], "put the file back, or mend the template", True
                ].append(ident)
            if not url:
                continue
            if (ident, row["semantics"], url) in seen_links:
                words = f"{row['semantics']} leads twice to {url}"
                link_check.dead_links[at, words, "say which rows go with a row more narrowly: where, if", False].append(
                    ident
                )
            seen_links.add((ident, row["semantics"], url))
            if url.startswith(files_prefix):
                path = unquote(url.removeprefix(files_prefix))
                is_known = path in link_check.missing_files
                if not is_known:
                    is_file = (site.settings.collections_directory / table.schema / path).is_file()
                    link_check.missing_files[path] = not is_file
                if link_check.missing_files[path] and not (is_known and table.utype == FILES_UTYPE):
                    words = f"the file {path} is published, and is not there"
                    link_check.dead_links[at, words, "put it back, or ingest the collection again", True].append(ident)
            elif url.startswith(("http://", "https://")) and not url.startswith(f"{base}/"):
                link_check.remote_addresses.setdefault(url, (at, ident))
            elif "://" in url and not url.startswith(f"{base}/"):
                link_check.unchecked_count += 1
    return count


def _check_addresses(urls: list[str], *, allow_private: bool) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Ask for addresses, a few at a time, and few of one host; yield those that are dead.

    Why, and whether that is sure.
    """
    hosts: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(MAX_REQUESTS_PER_HOST))
    for url in urls:
        hosts[urlsplit(url).netloc]  # made here: not by two threads
    end = time.monotonic() + MAX_CHECK_SECONDS

    def check_address(url: str) -> tuple[str, bool] | None:
        with hosts[urlsplit(url).netloc]:
            if time.monotonic() > end:
                return "not tried: it took too long before", False
            return _request_address(url, allow_private=allow_private)

    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as threads:
        for url, failure in zip(urls, threads.map(check_address, urls), strict=True):
            if failure is not None:
                yield url, failure


def _request_address(url: str, *, allow_private: bool) -> tuple[str, bool] | None:
    status = 0
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        try:
            with http_client.stream_answer(
                method, url, headers=headers, timeout_seconds=REQUEST_TIMEOUT_SECONDS, allow_private=allow_private
            ) as response:
                status = response.status
        except UserError as error:
            return error.message, False
        except HvenError as error:
            return str(error), False
        if status not in HEAD_REFUSED_STATUSES:
            break
    if status < 400 or status in {401, 416, 429}:  # it is there
        return None
    return f"its server answers {status}", status in {404, 410}
