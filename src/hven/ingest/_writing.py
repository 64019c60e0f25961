"""What a client wants to write, what became of it, and what of a write is the same for rows and files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hven.descriptor.tables import PUSH
from hven.ingest._kept_rows import Taken
from hven.ingest._order import MADE
from hven.ingest._report import Report
from hven.ingest._rules import ERROR
from hven.ingest._steps import Run, Steps, carried, silent
from hven.ingest.sync._running import Followed, Following, unchanged
from hven.model.errors import DataError, DescriptorError, SourceError, Unavailable, say
from hven.site.store import now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.ingest._filling import Filled
    from hven.ingest._ledger import Entry
    from hven.ingest._report import Finding
    from hven.model.resource import Resource, TableSpec
    from hven.site import Site
    from hven.site.store import Lease, Push

POST, PUT, DELETE = "POST", "PUT", "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What a client wants.

    Attributes
    ----------
    action
        ``POST``: rows that are new; ``PUT``: columns of rows that are there; ``DELETE``: rows that go.
    body
        File of what was sent; None: nothing.
    media
        Its media type.
    key
        Of the one row that is meant, as texts; None: the rows of the body say theirs.
    match
        State of the row, or of the table, that is wanted (If-Match); None: any.
    token
        Idempotency-Key; empty: none.
    dry_run
        Do everything but write.
    given
        Values, as texts, that all rows have in some columns: those that the address says.
    """

    action: str
    body: Path | None = None
    media: str = ""
    key: tuple[str, ...] | None = None
    match: str | None = None
    token: str = ""
    dry_run: bool = False
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of it.

    Attributes
    ----------
    run
        Its id: under it the history has it.
    ids
        Keys of the rows, in the order in which they came.
    rows, removed
        How many came or changed; how many went.
    state
        Of the row that was meant, or of the table, as If-Match takes it.
    replayed
        It was written before, and nothing was done now.
    new
        It is a file that was not there.
    report
        Of what was read, checked and published; None where nothing was done.
    """

    run: str
    ids: Sequence[Any] = ()
    rows: int = 0
    removed: int = 0
    state: str = ""
    replayed: bool = False
    new: bool = False
    report: Report | None = field(default=None, compare=False)


class Refused(DataError):
    """Rows that break what the table demands of them; the report says which and why."""

    def __init__(self, message: str, report: Report, **more: Any) -> None:
        super().__init__(message, **more)
        self.report = report


class Writing:
    """One write: what of it is the same for rows and files."""

    def __init__(self, site: Site, spec: TableSpec, collection: str, write: Write, by: str) -> None:
        self.site, self.collection, self.write, self.by = site, collection, write, by
        self.table = spec.table.qualified
        self.digest = digest_of_write(write, by)

    def looks(self, entry: Entry) -> bool:
        """Tell which sources may have changed by it."""
        return entry.spec.kind == PUSH

    def touches(self, spec: TableSpec) -> bool:
        """Tell which tables may."""
        return spec.table.qualified == self.table

    def bad(self, run: Run) -> list[Finding]:
        """List what is wrong with what was sent."""
        found = run.report.tables[self.table].findings.values() if self.table in run.report.tables else ()
        return [one for one in found if one.severity == ERROR and one.count]

    def free(self) -> None:
        """Refuse to go on while somebody's word is that the collection rests."""
        if self.collection in self.site.store.held():
            raise Taken(
                say("{collection} is held as a rollback left it", self.collection),
                remedy="its owner ends that: hven schedule resume",
            )

    def report(self, run: str) -> Report:
        return Report(
            collection=self.collection,
            run=run,
            started=now(),
            dry_run=self.write.dry_run,
            kind="push",
            accepted=True,
            by=self.by,
        )

    def again(self, found: Push | None) -> Written | None:
        """Answer as before what was asked under the same Idempotency-Key."""
        write = self.write
        if found is None or not write.token:
            return None
        if found.digest != self.digest or found.by != self.by:
            raise Taken(
                say("the Idempotency-Key {token!r:.60} was used for another request", write.token),
                remedy="take a new one for each new request",
            )
        return replayed(found)

    def publish(self, resource: Resource, report: Report, made: Push, lease: Lease) -> None:
        """Have it mapped, checked, tested and published by a run."""
        following = Following(full=False)
        steps = Steps(
            make=lambda run, spec: self._made(following, run, spec),
            wanted=lambda run, filled: self._wanted(following, run, filled),
            keep=following.keep,
            looks=self.looks,
            pushed=(made,),
        )
        try:
            carried(self.site, report, lambda: Run(self.site, resource, report, lease, silent, steps))
        except (SourceError, DescriptorError) as error:  # of another source, or of the descriptor: not the client's
            raise Unavailable(
                say("{collection} cannot be published now: {message}", self.collection, error.message),
                remedy="its owner is to look at hven check and hven ingest",
            ) from error
        except DataError as error:
            if isinstance(error, Refused):
                raise
            raise Refused(error.message, report, remedy="nothing was written") from error

    def _made(self, following: Following, run: Run, spec: TableSpec) -> Filled:
        """Make the table, and those that are made from others; all else stays."""
        base = following.published(run).get(spec.table.qualified)
        if base is None or self.touches(spec) or any(one.kind in MADE for one in spec.sources):
            return Followed(following, run, spec).made()
        return unchanged(run.report, base)

    def _wanted(self, following: Following, run: Run, filled: Sequence[Filled]) -> bool:
        """Refuse rows that would be kept aside: a client that is told `written` believes it."""
        bad = self.bad(run)
        if bad:
            first = f" (first: {bad[0].offenders[0]})" if bad[0].offenders else ""
            raise Refused(
                say("rows would be kept aside: {message}{first}", bad[0].message, first),
                run.report,
                remedy="nothing was written: correct the rows and send them again",
            )
        return following.wanted(run, filled)


def replayed(found: Push) -> Written:
    """Answer what was written before."""
    told = found.answer
    return Written(
        run=found.run, ids=told["ids"], rows=found.rows, removed=found.removed, state=told["state"], replayed=True
    )


def matches(match: str, state: str) -> bool:
    """Compare If-Match with a state (RFC 9110, 13.1.1)."""
    return match.strip() == "*" or state in {one.strip().strip('"') for one in match.split(",")}


def digest_of_write(write: Write, by: str) -> str:
    """Sum up what is asked, and by whom."""
    said = [write.action, write.key, by]
    digest = hashlib.sha256(orjson.dumps([*said, sorted(write.given.items())] if write.given else said))
    if write.body is not None:
        with write.body.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
