"""Persistent addresses for the rows of queries.

A cited result has the text of the query, the snapshots that it read, the number of rows, and their checksum. This
follows the recommendation of the RDA on citing evolving data (R1 to R14).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven import adql, formats
from hven.adql.adql_writer import write_adql
from hven.engines import LiveRelation, Snapshot
from hven.model.errors import ForbiddenError, GoneError, HvenError, TooLargeError, UserError, format_message
from hven.query._pipeline import run_query
from hven.query._query_result import SERVER_SOFTWARE, build_result_metadata
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CitedResult
    from hven.query._query_result import QueryResult
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal

ADDRESS_CHARACTERS = 20  # hexadecimal digits of an address: 80 bits of the digest
MAX_COUNTED_BYTES = 512 * 1024**2  # size of the rows as CSV


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDigest:
    r"""A digest that identifies a set of rows, in any order.

    Attributes
    ----------
    rows
        Number of rows.
    checksum
        SHA-256 of the sorted lines of the rows as CSV, without the header and carriage returns: ``tail -n +2 | tr -d
        '\r' | LC_ALL=C sort | sha256sum``.
    """

    rows: int
    checksum: str


def compute_row_digest(query_result: QueryResult) -> RowDigest:
    """Compute the number and the checksum of the rows of a result, which is read to its end.

    Parameters
    ----------
    query_result
        A result whose rows have not been read.

    Returns
    -------
    digest
        The digest of all rows.

    Raises
    ------
    TooLargeError
        The result has more rows than its limit, or they are too large.
    HvenError
        The query failed.
    """
    csv_format, options = formats.select_format("csv")
    result_head = build_result_metadata(query_result)
    chunks: list[bytes] = []
    byte_count = 0
    for chunk in csv_format.write(result_head, query_result.iterate_batches(), query_result.build_status, options):
        chunks.append(chunk)
        byte_count += len(chunk)
        if byte_count > MAX_COUNTED_BYTES:
            raise TooLargeError(
                format_message("the rows take up more than {most:,} bytes", MAX_COUNTED_BYTES),
                remedy="cite a narrower query, or the collection",
            )
    if query_result.failure is not None:
        raise query_result.failure
    if query_result.overflow:
        raise TooLargeError(
            format_message("the query finds more than {most:,} rows", query_result.row_limit or 0),
            remedy="cite a narrower query or the collection, or request more rows with MAXREC",
        )
    csv_text = b"".join(chunks).replace(b"\r", b"")
    lines = csv_text.splitlines(keepends=True)[1:]
    lines.sort()
    checksum = hashlib.sha256(b"".join(lines)).hexdigest()
    return RowDigest(rows=query_result.row_count, checksum=checksum)


def create_cited_result(
    query_text: str,
    principal: Principal,
    *,
    site: Site,
    policies: Sequence[AccessPolicy],
    maker_name: str,
    maxrec: int | None = None,
) -> CitedResult:
    """Create a persistent address for the rows of a query; the same query over the same snapshots has the same address.

    Parameters
    ----------
    query_text
        The query in ADQL.
    principal
        The user who runs it.
    site, policies
        As in `hven.query.run_query`.
    maker_name
        The account or host that creates it, for the quota. Only a digest of it is stored, and it changes each day.
    maxrec
        Limit of the rows that are cited; None: all.

    Returns
    -------
    result
        The stored result.

    Raises
    ------
    ForbiddenError
        The result has rows that are not public.
    UserError
        The result has no state that can be kept: a table is read in place or comes with the query, or the result
        differs each time.
    TooLargeError
        It has too many rows, or too many addresses were created.
    """
    result_settings = site.settings.results
    maker_digest = _compute_maker_digest(maker_name, site)
    canonical_query = write_adql(adql.parse_query(query_text))
    row_limit = result_settings.rows
    if maxrec is not None:
        row_limit = min(maxrec, row_limit)
    for _ in range(2):  # a second attempt if an ingest changes the state during the first
        published_state = site.get_published_state()
        state_time = format_current_time()
        with run_query(
            query_text,
            principal,
            site=site,
            maxrec=row_limit,
            policies=policies,
            published_state=published_state,
            timeout_seconds=result_settings.seconds,
        ) as result:
            snapshots = _require_citable_snapshots(result, published_state)
            citation = {"query": canonical_query, "maxrec": maxrec, "snapshots": snapshots}
            citation_text = json.dumps(citation, sort_keys=True)
            identifier = hashlib.sha256(citation_text.encode()).hexdigest()[:ADDRESS_CHARACTERS]
            existing_result = site.store.results.find_result(identifier)
            if existing_result is not None:
                return existing_result
            site.store.results.check_quota(maker_digest, result_settings.keep, result_settings.own)
            row_digest = _compute_digest_within_limits(result, maxrec)
            collections = list(dict.fromkeys(_find_collection_name(published_state, table) for table in snapshots))
        if site.refresh_published_state().version == published_state.version:
            break
    body = {
        **citation,
        "at": state_time,
        "text": query_text,
        "rows": row_digest.rows,
        "checksum": row_digest.checksum,
        "collections": collections,
        "software": SERVER_SOFTWARE,
        "columns": [column.name for column in result.columns],
    }
    return site.store.results.insert_result_if_absent(identifier, maker_digest, body)


def _compute_maker_digest(maker_name: str, site: Site) -> str:
    """Return the digest of an account or host; with another secret, or on another day, it differs."""
    day = datetime.now(UTC).date().isoformat()
    secret = site.store.get_site_secret().hex()
    return hashlib.sha256(f"{maker_name}|{day}|{secret}".encode()).hexdigest()


def _require_citable_snapshots(query_result: QueryResult, published_state: PublishedState) -> dict[str, str]:
    """Return the snapshots of a result that can be cited.

    Raises
    ------
    ForbiddenError
        The result has rows that are not public.
    UserError
        The result has no state that can be kept.
    """
    if not query_result.scope.is_public:
        raise ForbiddenError(
            "this result has rows that are not public",
            remedy="query only public rows; a result that has other rows cannot have an address",
        )
    snapshots = _find_result_snapshot_ids(query_result, published_state)
    if query_result.volatile or not snapshots:
        raise UserError(
            "this result cannot be kept: either each run of the query gives a different result, or Hven reads the "
            "tables in place",
            remedy="cite the collection",
        )
    return snapshots


def _compute_digest_within_limits(query_result: QueryResult, maxrec: int | None) -> RowDigest:
    """Compute the digest of a result.

    Raises
    ------
    UserError
        MAXREC has cut the result, so that its rows are arbitrary.
    """
    try:
        return compute_row_digest(query_result)
    except TooLargeError:
        if maxrec is None or query_result.row_limit != maxrec or not query_result.overflow:
            raise
        raise UserError(
            "the query does not define which rows MAXREC keeps",
            remedy="use ORDER BY and TOP in the query, without MAXREC",
        ) from None


def _find_result_snapshot_ids(query_result: QueryResult, published_state: PublishedState) -> dict[str, str]:
    """Return the snapshots that a result reads, by table; empty if a table has none."""
    snapshots_by_table: dict[str, str] = {}
    names = [table.qualified_name for table in query_result.tables]
    for name in names:  # the list grows while it is read
        item = published_state.tables_by_name.get(name)
        if item is None:
            return {}
        names += [source_name for source_name in item.read_tables if source_name not in names]
        if isinstance(item.relation, Snapshot):
            snapshots_by_table[name] = item.relation.id
        elif isinstance(item.relation, LiveRelation) or not item.read_tables:
            return {}
    return snapshots_by_table


def _find_collection_name(published_state: PublishedState, table: str) -> str:
    item = published_state.tables_by_name[table]
    if item.release is None:
        return item.table.schema
    return item.release.collection


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAvailability:
    """Whether the snapshots of a cited result still exist.

    Attributes
    ----------
    all_kept
        All snapshots exist, so that the query gives the same rows again.
    lost_tables
        Tables whose snapshot was deleted.
    """

    all_kept: bool
    lost_tables: Sequence[str] = ()


def check_snapshot_availability(cited_result: CitedResult, site: Site) -> SnapshotAvailability:
    """Check whether the snapshots of a cited result still exist.

    Parameters
    ----------
    cited_result
        The result.
    site
        The site that has stored it.

    Returns
    -------
    availability
        Which snapshots exist.
    """
    kept_snapshots: set[str] = set()
    for name in cited_result.body["collections"]:
        kept_snapshots |= site.store.list_snapshot_ids(name)
    cited_snapshots = cited_result.body["snapshots"].items()
    lost_tables = [table for table, snapshot_id in cited_snapshots if snapshot_id not in kept_snapshots]
    return SnapshotAvailability(all_kept=not lost_tables, lost_tables=lost_tables)


def repeat_cited_query(
    cited_result: CitedResult,
    principal: Principal,
    *,
    site: Site,
    policies: Sequence[AccessPolicy],
    uses_current_state: bool = False,
) -> QueryResult:
    """Run the query of a cited result again, over the same snapshots.

    Parameters
    ----------
    cited_result
        The result.
    principal
        The user who reads it, with their present rights.
    site, policies
        As in `hven.query.run_query`.
    uses_current_state
        Run it over what is published now instead.

    Returns
    -------
    result
        The result, which must be closed.

    Raises
    ------
    GoneError
        A snapshot was deleted.
    NotFoundError, UserError
        A table does not exist any more, or this user may not see it.
    """
    body = cited_result.body
    availability = check_snapshot_availability(cited_result, site)
    if not availability.all_kept and not uses_current_state:
        raise GoneError(
            format_message(
                "the rows of the result {ident} are no longer available, because Hven no longer keeps the old states "
                "of {tables}",
                cited_result.id,
                ", ".join(availability.lost_tables),
            ),
            remedy="open the page of the result to see what the same query finds now",
        )
    if uses_current_state:
        published_state = site.get_published_state()
    else:
        published_state = _find_cited_state(body, site, principal, policies)
    maxrec = body["maxrec"]
    if maxrec is None:
        maxrec = site.settings.results.rows
    return run_query(
        body["text"],
        principal,
        site=site,
        maxrec=maxrec,
        policies=policies,
        published_state=published_state,
        timeout_seconds=site.settings.results.seconds,
    )


def _find_cited_state(
    body: Mapping[str, Any], site: Site, principal: Principal, policies: Sequence[AccessPolicy]
) -> PublishedState:
    """Return a published state in which the tables have the cited snapshots: the current one, or a past one.

    Raises
    ------
    GoneError
        There is no such state any more.
    """
    current_state = site.get_published_state()
    if _has_snapshots(current_state, body["snapshots"]):
        return current_state
    past_state = site.find_past_state(body["at"], principal, policies).published_state
    if _has_snapshots(past_state, body["snapshots"]):
        return past_state
    raise GoneError(
        "Hven can no longer restore the tables in this result to their state at the time of the query",
        remedy="open the page of the result to see what the same query finds now",
    )


def _has_snapshots(published_state: PublishedState, cited_snapshots: Mapping[str, str]) -> bool:
    """Return whether tables have the cited snapshots in a published state."""
    return all(_find_snapshot_id(published_state, table) == ident for table, ident in cited_snapshots.items())


def _find_snapshot_id(published_state: PublishedState, table: str) -> str | None:
    item = published_state.tables_by_name.get(table)
    if item is not None and isinstance(item.relation, Snapshot):
        return item.relation.id
    return None


def compare_with_repeated_query(
    cited_result: CitedResult,
    principal: Principal,
    *,
    site: Site,
    policies: Sequence[AccessPolicy],
    uses_current_state: bool,
) -> dict[str, Any]:
    """Run the query of a cited result again, and compare its rows with the digest.

    Parameters
    ----------
    cited_result, principal, site, policies, uses_current_state
        As in `repeat_cited_query`.

    Returns
    -------
    comparison
        ``rows``, ``checksum`` and ``same``; only ``error`` if the query fails.
    """
    try:
        with repeat_cited_query(
            cited_result, principal, site=site, policies=policies, uses_current_state=uses_current_state
        ) as result:
            row_digest = compute_row_digest(result)
    except HvenError as error:
        return {"error": error}
    cited_digest = RowDigest(rows=cited_result.body["rows"], checksum=cited_result.body["checksum"])
    return {"rows": row_digest.rows, "checksum": row_digest.checksum, "same": row_digest == cited_digest}
