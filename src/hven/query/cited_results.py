"""A persistent address for the rows of a query: its text, the snapshots that it read, their count and a checksum (RDA, Data Citation of Evolving Data, R1 to R14)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven import adql, formats
from hven.adql.text import write
from hven.engines import Live, Snapshot
from hven.model.errors import Forbidden, Gone, HvenError, TooLarge, UserError, say
from hven.query._road import run
from hven.query.head import SOFTWARE, head
from hven.site.store import now as stand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CitedResult
    from hven.query._result import Result
    from hven.site import Holdings, Site
    from hven.site.auth import Policy, Reader

SIGNS = 20  # of an address: 80 bits of the digest
BYTES = 512 * 1024**2  # of the rows as CSV that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    r"""What tells one set of rows from another, in whatever order they come.

    Attributes
    ----------
    rows
        How many.
    checksum
        SHA-256 of the sorted lines of the answer as CSV, without its head and the ends of lines: ``tail -n +2 | tr -d '\r' | LC_ALL=C sort | sha256sum``.
    """

    rows: int
    checksum: str


def summed(result: Result) -> Sums:
    """Count rows and their checksum. The result is read to its end.

    Parameters
    ----------
    result
        As it was begun.

    Returns
    -------
    sums
        Of all rows.

    Raises
    ------
    TooLarge
        It has more rows than its limit, or they are too long.
    HvenError
        The query failed.
    """
    fmt, options = formats.select("csv")
    parts: list[bytes] = []
    size = 0
    for part in fmt.write(head(result), result.batches(), result.end, options):
        parts.append(part)
        size += len(part)
        if size > BYTES:
            raise TooLarge(say("the rows have more than {most:,} bytes", BYTES), remedy="cite a narrower query, or the collection")  # fmt: skip
    if result.failure is not None:
        raise result.failure
    if result.overflow:
        raise TooLarge(say("the query finds more than {most:,} rows", result.limit or 0), remedy="cite a narrower query, or the collection; MAXREC says how many rows are meant")  # fmt: skip
    lines = b"".join(parts).replace(b"\r", b"").splitlines(keepends=True)[1:]
    lines.sort()
    return Sums(rows=result.rows, checksum=hashlib.sha256(b"".join(lines)).hexdigest())


def make(text: str, who: Reader, *, site: Site, policies: Sequence[Policy], maker: str, maxrec: int | None = None) -> CitedResult:  # fmt: skip
    """Give the rows of a query a persistent address: the same query over the same snapshots has one.

    Parameters
    ----------
    text
        ADQL.
    who
        Who asks.
    site, policies
        As of `hven.query.run`.
    maker
        Who makes it, in words that are not kept: an account, a host.
    maxrec
        Rows that are meant; None: all.

    Returns
    -------
    result
        As it is kept.

    Raises
    ------
    Forbidden
        It has rows that not everybody sees.
    UserError
        It has no past: a table is read in place, comes with the query, or the query is another each time.
    TooLarge
        It has too many rows, or too many addresses were made.
    """
    said = site.settings.results
    day = datetime.now(UTC).date().isoformat()
    maker = hashlib.sha256(f"{maker}|{day}|{site.store.registry.key().hex()}".encode()).hexdigest()
    canonical = write(adql.parse(text))
    for _ in range(2):  # an ingest may come between
        holdings, at = site.current(), stand()
        with run(text, who, site=site, maxrec=said.rows if maxrec is None else min(maxrec, said.rows), policies=policies, holdings=holdings, seconds=said.seconds) as result:  # fmt: skip
            if not result.scope.public:
                raise Forbidden("this result has rows that not everybody sees", remedy="only what everybody sees gets an address")  # fmt: skip
            snapshots = _read(result, holdings)
            if result.volatile or not snapshots:
                raise UserError("this result has no state that could be kept: it is another each time, or of tables that are read in place", remedy="cite the collection")  # fmt: skip
            meant = {"query": canonical, "maxrec": maxrec, "snapshots": snapshots}
            ident = hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()[:SIGNS]
            known = site.store.results.find(ident)
            if known is not None:
                return known
            site.store.results.room(maker, said.keep, said.own)
            sums = _meant(result, maxrec)
            names = list(dict.fromkeys(_collection(holdings, table) for table in snapshots))
        if site.refresh().version == holdings.version:
            break
    body = {
        **meant, "at": at, "text": text, "rows": sums.rows, "checksum": sums.checksum, "collections": names, "software": SOFTWARE, "columns": [one.name for one in result.columns],
    }  # fmt: skip
    return site.store.results.keep(ident, maker, body)


def _meant(result: Result, maxrec: int | None) -> Sums:
    """Count rows; those that MAXREC cuts off are not meant."""
    try:
        return summed(result)
    except TooLarge:
        if maxrec is None or result.limit != maxrec or not result.overflow:
            raise
        raise UserError("which rows MAXREC leaves is not said by the query", remedy="say ORDER BY and TOP in the query, without MAXREC") from None  # fmt: skip


def _read(result: Result, holdings: Holdings) -> dict[str, str]:
    """Return the snapshots that a result reads, by table; empty where one has none."""
    found: dict[str, str] = {}
    names = [table.qualified for table in result.tables]
    for name in names:
        item = holdings.published.get(name)
        names += [one for one in item.reads if one not in names] if item is not None else ()
        relation = None if item is None else item.relation
        if item is None or isinstance(relation, Live) or not (isinstance(relation, Snapshot) or item.reads):
            return {}
        if isinstance(relation, Snapshot):
            found[name] = relation.id
    return found


def _collection(holdings: Holdings, table: str) -> str:
    item = holdings.published[table]
    return item.table.schema if item.release is None else item.release.collection


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a cited result stands now.

    Attributes
    ----------
    kept
        The snapshots are kept: the rows are those of then.
    lost
        Tables whose state is not kept.
    """

    kept: bool
    lost: Sequence[str] = ()


def state(cited: CitedResult, site: Site) -> Found:
    """Look whether the snapshots of a cited result are kept.

    Parameters
    ----------
    cited
        The result.
    site
        Where.

    Returns
    -------
    found
        Whether all are kept.
    """
    there: set[str] = set()
    for name in cited.body["collections"]:
        there |= site.store.ids(name)
    lost = [table for table, ident in cited.body["snapshots"].items() if ident not in there]
    return Found(kept=not lost, lost=lost)


def ask(cited: CitedResult, who: Reader, *, site: Site, policies: Sequence[Policy], now: bool = False) -> Result:
    """Ask a cited result again, over the snapshots of then.

    Parameters
    ----------
    cited
        The result.
    who
        Who reads it: rights are those of now.
    site, policies
        As of `hven.query.run`.
    now
        Ask what is published now instead.

    Returns
    -------
    result
        To be closed.

    Raises
    ------
    Gone
        The snapshots are not kept.
    NotFound, UserError
        Its tables are there no more, or not for this reader.
    """
    body = cited.body
    found = state(cited, site)
    if not found.kept and not now:
        raise Gone(say("the rows of {ident} are not kept any more: {tables}", cited.id, ", ".join(found.lost)), remedy="its page says what the same query finds now")  # fmt: skip
    holdings = site.current() if now else _then(body, site, who, policies)
    return run(body["text"], who, site=site, maxrec=site.settings.results.rows if body["maxrec"] is None else body["maxrec"], policies=policies, holdings=holdings, seconds=site.settings.results.seconds)  # fmt: skip


def _then(body: Mapping[str, Any], site: Site, who: Reader, policies: Sequence[Policy]) -> Holdings:
    """Return the picture in which the tables have those snapshots: that of now, or that of then.

    Raises
    ------
    Gone
        They cannot be had together any more.
    """
    wanted = body["snapshots"].items()
    for picture in (site.current, lambda: site.as_of(body["at"], who, policies).holdings):
        found = picture()
        if all(_snapshot(found, table) == ident for table, ident in wanted):
            return found
    raise Gone("its tables cannot be had together as they were any more", remedy="its page says what the same query finds now")  # fmt: skip


def _snapshot(holdings: Holdings, table: str) -> str | None:
    item = holdings.published.get(table)
    return item.relation.id if item is not None and isinstance(item.relation, Snapshot) else None


def compared(cited: CitedResult, who: Reader, *, site: Site, policies: Sequence[Policy], now: bool) -> dict[str, Any]:
    """Compare the rows of a cited result with what it said of them.

    Parameters
    ----------
    cited, who, site, policies, now
        As of `ask`.

    Returns
    -------
    told
        ``rows``, ``checksum``, ``same``; ``error`` where it cannot be asked.
    """
    try:
        with ask(cited, who, site=site, policies=policies, now=now) as result:
            sums = summed(result)
    except HvenError as error:
        return {"error": error}
    same = (sums.rows, sums.checksum) == (cited.body["rows"], cited.body["checksum"])
    return {"rows": sums.rows, "checksum": sums.checksum, "same": same}


__all__ = ["Found", "Sums", "ask", "compared", "make", "state", "summed"]
