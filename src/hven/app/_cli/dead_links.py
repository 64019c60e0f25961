"""``hven check --links``: follow the links of rows, and report dead links with their rows."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from hven import adql, query
from hven.model.errors import Fault, HvenError, UserError
from hven.model.table import FILES_UTYPE
from hven.services import datalinks
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model.errors import TextPlace
    from hven.model.table import Table
    from hven.site import PublishedTable, Site

ROWS_PER_QUERY = 1000  # rows whose links are listed by one query
MAX_REMOTE_ADDRESSES = 2000  # addresses elsewhere that are requested
MAX_CHECK_SECONDS = 600.0  # time for all these requests
MAX_PARALLEL_REQUESTS = 8
MAX_REQUESTS_PER_HOST = 2  # at once
REQUEST_TIMEOUT_SECONDS = 15.0
MAX_REPORTED_ROWS = 5  # rows that the report of a dead link names
HEAD_REFUSED_STATUSES = (400, 403, 405, 501)  # answers of servers that do not support HEAD


@dataclass(slots=True)
class LinkCheckResults:
    """The results of following the links of a collection.

    Attributes
    ----------
    dead_links
        (place, message, remedy, whether it is certain) -> identifiers of the rows.
    remote_addresses
        Address -> its place in the descriptor, and one row that leads there.
    missing_files
        Path of a file of the collection -> whether it is missing.
    unchecked_count
        Number of addresses that cannot be requested, such as ftp.
    link_count
        Number of links.
    """

    dead_links: dict[tuple[TextPlace, str, str, bool], list[str]] = field(default_factory=lambda: defaultdict(list))
    remote_addresses: dict[str, tuple[TextPlace, str]] = field(default_factory=dict)
    missing_files: dict[str, bool] = field(default_factory=dict)
    unchecked_count: int = 0
    link_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableWithLinks:
    """A table whose links are checked.

    Attributes
    ----------
    base_url
        Address of the site, without a slash at its end.
    files_prefix
        Beginning of the addresses of the collection's files.
    files_directory
        Directory of these files.
    places
        Place in the descriptor of each link, by the number of the link.
    """

    table: Table
    base_url: str
    files_prefix: str
    files_directory: Path
    places: Sequence[TextPlace]


def check_collection_links(site: Site, collection_name: str) -> tuple[list[Fault], str]:
    """Follow the links of a collection.

    Parameters
    ----------
    site
        The site that publishes it.
    collection_name
        Name of the collection.

    Returns
    -------
    faults
        An error for each dead link, and a warning for each that gives no answer.
    summary
        How many links and addresses were checked.
    """
    link_check = LinkCheckResults()
    for item, table_place in _list_tables_with_links(site, collection_name):
        _record_table_link_targets(site, item.table, table_place, link_check)
    addresses = list(link_check.remote_addresses)
    if len(addresses) > MAX_REMOTE_ADDRESSES:
        addresses = random.sample(addresses, MAX_REMOTE_ADDRESSES)
    for url, (reason, is_certain) in _find_dead_addresses(addresses, allow_private=site.settings.allow_private):
        place, row = link_check.remote_addresses[url]
        dead_link = place, f"{url}: {reason}", "correct the template or the address", is_certain
        link_check.dead_links[dead_link].append(row)
    address_count = len(link_check.remote_addresses)
    summary = (
        f"{collection_name}: {link_check.link_count:,} links, {len(addresses):,} of {address_count:,} addresses "
        f"on other sites tried"
    )
    if link_check.unchecked_count:
        summary += f", {link_check.unchecked_count:,} of other kinds (such as ftp) not tried"
    faults = sorted(
        _build_dead_link_faults(link_check),
        key=lambda fault: (fault.place.line or 0, fault.place.column or 0, fault.message),
    )
    return faults, summary


def _list_tables_with_links(site: Site, collection: str) -> Iterator[tuple[PublishedTable, TextPlace]]:
    """Yield the published tables of a collection that have links, with their places in the descriptor.

    The list of files comes last: a file that is missing is reported for the rows that lead to it, and not again there.
    """
    published_tables = site.get_published_state().tables_by_name.values()
    for item in sorted(published_tables, key=lambda item: item.table.utype == FILES_UTYPE):
        if item.table.schema != collection or not item.table.effective_links or item.resource is None:
            continue
        for table_spec in item.resource.tables:
            if table_spec.table.name == item.table.name:
                yield item, table_spec.place
                break


def _build_dead_link_faults(link_check: LinkCheckResults) -> Iterator[Fault]:
    for (place, text, remedy, is_certain), rows in link_check.dead_links.items():
        row_list = ", ".join(rows[:MAX_REPORTED_ROWS])
        if len(rows) > MAX_REPORTED_ROWS:
            row_list += f" and {len(rows) - MAX_REPORTED_ROWS:,} more"
        row_word = "row"
        if len(rows) > 1:
            row_word = "rows"
        yield Fault(
            message=f"{text} ({row_word} {row_list})",
            place=place,
            remedy=remedy,
            severity="error" if is_certain else "warning",
        )


def _record_table_link_targets(site: Site, table: Table, table_place: TextPlace, link_check: LinkCheckResults) -> None:
    """List the links of all rows of a table, and record what they lead to."""
    published_state = site.get_published_state()
    places = []
    for link in table.effective_links:
        link_place = link.places.get("text") or link.places.get("file") or link.places.get("service")
        places.append(link_place or table_place)
    base_url = site.settings.site_url
    linked_table = _TableWithLinks(
        table=table,
        base_url=base_url,
        files_prefix=f"{base_url}/collections/{quote(table.schema)}/files/",
        files_directory=site.settings.collections_directory / table.schema,
        places=places,
    )
    identifiers = _query_row_identifiers(site, table)
    for start in range(0, len(identifiers), ROWS_PER_QUERY):
        rows = datalinks.list_row_links(
            table,
            identifiers[start : start + ROWS_PER_QUERY],
            principal=OWNER_PRINCIPAL,
            site=site,
            policies=DEFAULT_POLICIES,
            published_state=published_state,
            base_url=base_url,
            with_link_numbers=True,
        )
        seen_links: set[tuple[str, str, str]] = set()
        for row in rows.to_pylist():
            _record_link_target(linked_table, row, seen_links, link_check)


def _query_row_identifiers(site: Site, table: Table) -> list[str]:
    """Return the identifiers of all rows of a table."""
    key = table.identifier_column
    assert key is not None  # noqa: S101  (tables without one have no links)
    table_name = f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
    text = f"SELECT {adql.quote_adql_name(key.name)} AS k FROM {table_name}"
    maxrec = site.settings.limits.maxrec_hard
    identifiers = []
    with query.run_query(text, OWNER_PRINCIPAL, site=site, policies=DEFAULT_POLICIES, maxrec=maxrec) as result:
        for batch in result.iterate_batches():
            values = batch.column(0).to_pylist()
            identifiers += [str(identifier) for identifier in values if identifier is not None]
    return identifiers


def _record_link_target(
    linked_table: _TableWithLinks,
    link_row: Mapping[str, Any],
    seen_links: set[tuple[str, str, str]],
    link_check: LinkCheckResults,
) -> None:
    """Record one link: a fault that it has, or the file or address that it leads to.

    Parameters
    ----------
    linked_table
        The table.
    link_row
        A row of the list of links (DataLink).
    seen_links
        (identifier, semantics, address) of the links of the same rows before this one.
    link_check
        Collects the targets.
    """
    url = link_row["access_url"]
    identifier = link_row["ID"]
    semantics = link_row["semantics"]
    place = linked_table.places[link_row["_link"]]
    link_check.link_count += 1
    if link_row["error_message"]:
        reason = link_row["error_message"].partition(": ")[2]
        link_check.dead_links[place, reason, "restore the file, or correct the template", True].append(identifier)
    if not url:
        return
    if (identifier, semantics, url) in seen_links:
        dead_link = (
            place,
            f"two {semantics!r} links of the row point to {url}",
            "select the linked rows more precisely, with `where` or `if`",
            False,
        )
        link_check.dead_links[dead_link].append(identifier)
    seen_links.add((identifier, semantics, url))
    if url.startswith(linked_table.files_prefix):
        path = unquote(url.removeprefix(linked_table.files_prefix))
        _record_linked_file_existence(linked_table, path, place, identifier, link_check)
    elif url.startswith(f"{linked_table.base_url}/"):
        return
    elif url.startswith(("http://", "https://")):
        link_check.remote_addresses.setdefault(url, (place, identifier))
    elif "://" in url:
        link_check.unchecked_count += 1


def _record_linked_file_existence(
    linked_table: _TableWithLinks, path: str, place: TextPlace, identifier: str, link_check: LinkCheckResults
) -> None:
    """Record whether a file of the collection exists to which a row leads."""
    is_checked = path in link_check.missing_files
    if not is_checked:
        link_check.missing_files[path] = not (linked_table.files_directory / path).is_file()
    is_reported = is_checked and linked_table.table.utype == FILES_UTYPE
    if link_check.missing_files[path] and not is_reported:
        dead_link = (
            place,
            f"the file {path} is published, but does not exist",
            "restore the file, or ingest the collection again",
            True,
        )
        link_check.dead_links[dead_link].append(identifier)


def _find_dead_addresses(urls: list[str], *, allow_private: bool) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Request addresses in parallel, with few requests to each host at once.

    Yields the dead ones: the address, the reason, and whether it is certain.
    """
    hosts = {urlsplit(url).netloc: threading.Semaphore(MAX_REQUESTS_PER_HOST) for url in urls}
    end = time.monotonic() + MAX_CHECK_SECONDS

    def check_address(url: str) -> tuple[str, bool] | None:
        with hosts[urlsplit(url).netloc]:
            if time.monotonic() > end:
                return "not tried, because the other addresses took too long", False
            return _find_address_failure(url, allow_private=allow_private)

    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as threads:
        for url, failure in zip(urls, threads.map(check_address, urls), strict=True):
            if failure is not None:
                yield url, failure


def _find_address_failure(url: str, *, allow_private: bool) -> tuple[str, bool] | None:
    """Request an address; None if it exists, otherwise the reason and whether it is certain."""
    status = 0
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        try:
            with http_client.stream_answer(
                method, url, headers=headers, timeout_seconds=REQUEST_TIMEOUT_SECONDS, allow_private=allow_private
            ) as response:
                status = response.status
        except HvenError as error:
            return error.message if isinstance(error, UserError) else str(error), False
        if status not in HEAD_REFUSED_STATUSES:
            break
    if status < 400 or status in {401, 416, 429}:  # these statuses say that the address exists
        return None
    return f"its server returned status {status}", status in {404, 410}
