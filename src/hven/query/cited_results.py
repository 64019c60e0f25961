"""Persistent addresses for the rows of queries.

A cited result has the text of the query, the snapshots that it read, the number of rows and their checksum (RDA, Data
Citation of Evolving Data, R1 to R14).
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
from hven.query.result_head import SERVER_SOFTWARE, build_result_head
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CitedResult
    from hven.query._query_result import QueryResult
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal

ADDRESS_CHARACTERS = 20  # of an address: 80 bits of the digest
MAX_COUNTED_BYTES = 512 * 1024**2  # of the rows as CSV that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDigest:
    r"""A digest that identifies a set of rows, in any order.

    Attributes
    ----------
    rows
        How many.
    checksum
        SHA-256 of the sorted lines of the answer as CSV, without its head and the ends of lines: ``tail -n +2 | tr -d
        '\r' | LC_ALL=C sort | sha256sum``.
    """

    rows: int
    checksum: str


def compute_row_digest(query_result: QueryResult) -> RowDigest:
    """Compute the number and the checksum of the rows of a result, which is read to its end.

    Parameters
    ----------
    query_result
        As it was begun.

    Returns
    -------
    sums
        Of all rows.

    Raises
    ------
    TooLargeError
        It has more rows than its limit, or they are too long.
    HvenError
        The query failed.
    """
    fmt, options = formats.select_format("csv")
    parts: list[bytes] = []
    size = 0
    for part in fmt.write(
        build_result_head(query_result), query_result.iterate_batches(), query_result.build_status, options
    ):
        parts.append(part)
        size += len(part)
        if size > MAX_COUNTED_BYTES:
            raise TooLargeError(
                format_message("the rows have more than {most:,} bytes", MAX_COUNTED_BYTES),
                remedy="cite a narrower query, or the collection",
            )
    if query_result.failure is not None:
        raise query_result.failure
    if query_result.overflow:
        raise TooLargeError(
            format_message("the query finds more than {most:,} rows", query_result.row_limit or 0),
            remedy="cite a narrower query, or the collection; MAXREC says how many rows are meant",
        )
    lines = b"".join(parts).replace(b"\r", b"").splitlines(keepends=True)[1:]
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
    """Create a persistent address for the rows of a query, one for each query over the same snapshots.

    Parameters
    ----------
    query_text
        ADQL.
    principal
        Who asks.
    site, policies
        As of `hven.query.run_query`.
    maker_name
        Who makes it, in words that are not kept: an account, a host.
    maxrec
        Rows that are meant; None: all.

    Returns
    -------
    result
        As it is kept.

    Raises
    ------
    ForbiddenError
        It has rows that not everybody sees.
    UserError
        It has no past: a table is read in place, comes with the query, or the query is another each time.
    TooLargeError
        It has too many rows, or too many addresses were made.
    """
    result_settings = site.settings.results
    day = datetime.now(UTC).date().isoformat()
    maker_name = hashlib.sha256(
        f"{maker_name}|{day}|{site.store.registry.get_token_secret().hex()}".encode()
    ).hexdigest()
    canonical = write_adql(adql.parse_query(query_text))
    for _ in range(2):  # an ingest may come between
        published_state = site.get_published_state()
        state_time = format_current_time()
        with run_query(
            query_text,
            principal,
            site=site,
            maxrec=result_settings.rows if maxrec is None else min(maxrec, result_settings.rows),
            policies=policies,
            published_state=published_state,
            timeout_seconds=result_settings.seconds,
        ) as result:
            if not result.scope.is_public:
                raise ForbiddenError(
                    "this result has rows that not everybody sees", remedy="only what everybody sees gets an address"
                )
            snapshots = _list_snapshots(result, published_state)
            if result.volatile or not snapshots:
                raise UserError(
                    "this result has no state that could be kept: it is another each time, or of tables that "
                    "are read in place",
                    remedy="cite the collection",
                )
            citation = {"query": canonical, "maxrec": maxrec, "snapshots": snapshots}
            ident = hashlib.sha256(json.dumps(citation, sort_keys=True).encode()).hexdigest()[:ADDRESS_CHARACTERS]
            existing_result = site.store.results.find_result(ident)
            if existing_result is not None:
                return existing_result
            site.store.results.check_quota(maker_name, result_settings.keep, result_settings.own)
            row_digest = _compute_requested_digest(result, maxrec)
            names = list(dict.fromkeys(_find_collection(published_state, table) for table in snapshots))
        if site.refresh_published_state().version == published_state.version:
            break
    body = {
        **citation,
        "at": state_time,
        "text": query_text,
        "rows": row_digest.rows,
        "checksum": row_digest.checksum,
        "collections": names,
        "software": SERVER_SOFTWARE,
        "columns": [column.name for column in result.columns],
    }
    return site.store.results.save_result(ident, maker_name, body)


def _compute_requested_digest(query_result: QueryResult, maxrec: int | None) -> RowDigest:
    """Compute the digest of a result; refuse one that MAXREC has truncated."""
    try:
        return compute_row_digest(query_result)
    except TooLargeError:
        if maxrec is None or query_result.row_limit != maxrec or not query_result.overflow:
            raise
        raise UserError(
            "which rows MAXREC leaves is not said by the query",
            remedy="say ORDER BY and TOP in the query, without MAXREC",
        ) from None


def _list_snapshots(query_result: QueryResult, published_state: PublishedState) -> dict[str, str]:
    """Return the snapshots that a result reads, by table; empty for tables without one."""
    snapshots_by_table: dict[str, str] = {}
    names = [table.qualified_name for table in query_result.tables]
    for name in names:
        item = published_state.tables_by_name.get(name)
        names += (
            [source_name for source_name in item.read_tables if source_name not in names] if item is not None else ()
        )
        relation = None if item is None else item.relation
        if (
            item is None
            or isinstance(relation, LiveRelation)
            or not (isinstance(relation, Snapshot) or item.read_tables)
        ):
            return {}
        if isinstance(relation, Snapshot):
            snapshots_by_table[name] = relation.id
    return snapshots_by_table


def _find_collection(published_state: PublishedState, table: str) -> str:
    item = published_state.tables_by_name[table]
    if item.release is None:
        return item.table.schema
    return item.release.collection


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAvailability:
    """The state of the snapshots of a cited result.

    Attributes
    ----------
    all_kept
        The snapshots are kept: the rows are those of then.
    lost_tables
        Tables whose state is not kept.
    """

    all_kept: bool
    lost_tables: Sequence[str] = ()


def check_snapshots(cited_result: CitedResult, site: Site) -> SnapshotAvailability:
    """Check whether the snapshots of a cited result are kept.

    Parameters
    ----------
    cited_result
        The result.
    site
        Where.

    Returns
    -------
    found
        Whether all are kept.
    """
    kept_snapshots: set[str] = set()
    for name in cited_result.body["collections"]:
        kept_snapshots |= site.store.list_snapshot_ids(name)
    lost_tables = [table for table, ident in cited_result.body["snapshots"].items() if ident not in kept_snapshots]
    return SnapshotAvailability(all_kept=not lost_tables, lost_tables=lost_tables)


def repeat_query(
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
        Who reads it: rights are those of now.
    site, policies
        As of `hven.query.run_query`.
    uses_current_state
        Ask what is published now instead.

    Returns
    -------
    result
        To be closed.

    Raises
    ------
    GoneError
        The snapshots are not kept.
    NotFoundError, UserError
        Its tables are there no more, or not for this reader.
    """
    body = cited_result.body
    availability = check_snapshots(cited_result, site)
    if not availability.all_kept and not uses_current_state:
        raise GoneError(
            format_message(
                "the rows of {ident} are not kept any more: {tables}",
                cited_result.id,
                ", ".join(availability.lost_tables),
            ),
            remedy="its page says what the same query finds now",
        )
    if uses_current_state:
        published_state = site.get_published_state()
    else:
        published_state = _find_past_state(body, site, principal, policies)
    return run_query(
        body["text"],
        principal,
        site=site,
        maxrec=site.settings.results.rows if body["maxrec"] is None else body["maxrec"],
        policies=policies,
        published_state=published_state,
        timeout_seconds=site.settings.results.seconds,
    )


def _find_past_state(
    body: Mapping[str, Any], site: Site, principal: Principal, policies: Sequence[AccessPolicy]
) -> PublishedState:
    """Return a published state in which the tables have these snapshots: the current one, or a past one.

    Raises
    ------
    GoneError
        They cannot be had together any more.
    """
    cited_snapshots = body["snapshots"].items()
    for get_state in (
        site.get_published_state,
        lambda: site.find_past_state(body["at"], principal, policies).published_state,
    ):
        published_state = get_state()
        if all(_find_snapshot(published_state, table) == ident for table, ident in cited_snapshots):
            return published_state
    raise GoneError(
        "its tables cannot be had together as they were any more", remedy="its page says what the same query finds now"
    )


def _find_snapshot(published_state: PublishedState, table: str) -> str | None:
    item = published_state.tables_by_name.get(table)
    if item is not None and isinstance(item.relation, Snapshot):
        return item.relation.id
    return None


def compare_with_current(
    cited_result: CitedResult,
    principal: Principal,
    *,
    site: Site,
    policies: Sequence[AccessPolicy],
    uses_current_state: bool,
) -> dict[str, Any]:
    """Compare the rows of a repeated query with the digest of the cited result.

    Parameters
    ----------
    cited_result, principal, site, policies, uses_current_state
        As of `repeat_query`.

    Returns
    -------
    told
        ``rows``, ``checksum``, ``same``; ``error`` where it cannot be asked.
    """
    try:
        with repeat_query(
            cited_result, principal, site=site, policies=policies, uses_current_state=uses_current_state
        ) as result:
            row_digest = compute_row_digest(result)
    except HvenError as error:
        return {"error": error}
    same = (row_digest.rows, row_digest.checksum) == (cited_result.body["rows"], cited_result.body["checksum"])
    return {"rows": row_digest.rows, "checksum": row_digest.checksum, "same": same}


__all__ = [
    "RowDigest",
    "SnapshotAvailability",
    "check_snapshots",
    "compare_with_current",
    "compute_row_digest",
    "create_cited_result",
    "repeat_query",
]
