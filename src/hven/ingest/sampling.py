"""What an ingest would refuse or warn of, told before there is one: the first rows of a descriptor's files, mapped and checked, nothing written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hven.engines import kind
from hven.ingest._filling import MOST, Filling, counts_bytes, in_place, look, table_of
from hven.ingest._rejects import Rejects
from hven.ingest._report import TableReport
from hven.ingest._rules import ERROR, WARNING
from hven.model import add_deviation, plugins
from hven.model.errors import Fault, HvenError, SourceError
from hven.model.settings import secret
from hven.sources import Context
from hven.sources.readers import open_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.engines import Engine
    from hven.ingest._ledger import Entry
    from hven.model import Deviation
    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Settings
    from hven.sources import Reject

OFFENDERS_SHOWN, REASONS_SHOWN = 3, 3
ROWS, ASKED = 1000, 10  # of each source; where each row has a server asked for a size
MEMORY = 256 << 20  # bytes


def refused(resource: Resource, directory: Path, settings: Settings) -> Iterator[Fault]:
    """Yield what most first rows of a table's files would be rejected for (errors), or some; and what would be published with a warning.

    A source that cannot be read says nothing here: that is told where it is opened. But of a catalogue that is served where it is, which nobody opens any more afterwards,
    what is wrong with it is an error.

    Parameters
    ----------
    resource
        As its descriptor has it.
    directory
        Of the descriptor.
    settings
        Of the site.
    """
    with tempfile.TemporaryDirectory() as scratch:
        engine: Engine | None = None
        try:
            for spec in resource.tables:
                told: list[Deviation] = []
                unread = _UnreadRows()
                context = Context(
                    directory=directory,
                    secret=partial(secret, settings.directory),
                    allow_private=settings.allow_private,
                    read=partial(open_read, settings),
                    roots=settings.grounds,
                    tell=partial(_note, told),
                    reject=unread.add,
                )
                try:
                    known = list(look(spec, resource, context))
                    _served(spec, known, resource.engine or settings.engine)
                    entries = [one for one in known if counts_bytes(one.source) and one.mapping.groups is None]
                    if entries:
                        engine = engine or plugins.load("engines", "duckdb").open(
                            Path(scratch), memory=MEMORY, threads=1
                        )
                        yield from _of_table(
                            spec, entries, engine, Path(scratch), settings, unread, every=len(entries) == len(known)
                        )
                except (HvenError, NotImplementedError) as error:
                    if isinstance(error, SourceError) and any(_serves(one.kind) for one in spec.sources):
                        message = f"{error.place}: {error.message}" if error.place.file else error.message
                        yield Fault(message=message, place=spec.place, remedy=error.remedy)
                finally:
                    yield from (_warning(one, spec) for one in told)
        finally:
            if engine is not None:
                engine.close()


class _UnreadRows:
    """Rows that a source cannot read: those that come before the table is filled wait for it."""

    def __init__(self) -> None:
        self.filling: Filling | None = None
        self._early: list[Reject] = []

    def add(self, row: Reject) -> None:
        if self.filling is None:
            self._early.append(row)
        else:
            self.filling.reject(row)

    def hand_to(self, filling: Filling) -> None:
        """Give a table the rows from now on. Files are read anew, so the early ones come again."""
        self.filling = filling
        self._early.clear()


def _note(told: list[Deviation], item: str | Deviation) -> None:
    if not isinstance(item, str):
        add_deviation(told, item)


def _warning(deviation: Deviation, spec: TableSpec) -> Fault:
    """Warn of what the reader of a table narrows, drops or reinterprets in its first rows."""
    message = f"{spec.table.qualified}: {deviation}"
    return Fault(message=message, place=spec.place, remedy=deviation.remedy, severity="warning")


def _serves(name: str) -> str | None:
    """Name the engine that serves the files of a kind of source where they are."""
    found: str | None = vars(plugins.load("sources", name)).get("SERVED_BY")
    return found


def _served(spec: TableSpec, entries: list[Entry], engine: str) -> None:
    """Look at a catalogue that would be served where it is."""
    if not entries or _serves(entries[0].spec.kind) != engine:
        return
    table = table_of(spec, entries)
    place = in_place(entries, table)
    if place is not None and (look_ := kind(engine).adoptable):
        module, _, name = look_.partition(":")
        getattr(plugins.imported(module, f"the engine {engine}"), name)(table, place, entries[0].mapping.copies)


def _of_table(
    spec: TableSpec,
    entries: list[Entry],
    engine: Engine,
    scratch: Path,
    settings: Settings,
    unread: _UnreadRows,
    *,
    every: bool,
) -> Iterator[Fault]:
    report = TableReport(table=spec.table.qualified)
    few = any(entry.documents or any(call.path is None for call in entry.mapping.calls) for entry in entries)
    with Rejects(scratch / f"{spec.table.name}.csv") as rejects:
        filling = Filling(
            engine=engine, keeper=engine, spec=replace(spec, max_rejects=1.0), entries=entries, rejects=rejects, report=report,
            progress=lambda _: None, sample=ASKED if few else ROWS, most=1.0, spool=scratch, allow_private=settings.allow_private,
        )  # fmt: skip
        unread.hand_to(filling)
        filling.flow(lambda _: None)
    limit = MOST if spec.max_rejects is None else spec.max_rejects
    each = any(
        item.severity == ERROR and item.count >= report.read - report.skipped for item in report.findings.values()
    )
    if (
        report.read and report.rejected / report.read > limit and not each
    ):  # of all rows it is said below, for each reason
        yield _too_many(report, spec, limit)
    # a warning: files may fill until the ingest
    if every and not report.read and (spec.max_rejects is None or spec.max_rejects < 1):
        message = f"{spec.table.qualified} would be empty: the source has no rows"
        yield Fault(
            message=message,
            place=spec.place,
            remedy="look at the files; max_rejects: 1 publishes an empty table",
            severity="warning",
        )
    flagged = spec.flags.bits if spec.flags else {}  # meant to be published, and counted
    for item in report.findings.values():
        if item.severity in {ERROR, WARNING} and item.count and item.rule not in flagged:
            # granules are several of one source row
            whole = item.count >= report.read - report.skipped
            fatal = whole and item.severity == ERROR and (spec.max_rejects is None or spec.max_rejects < 1)
            first = f" (first: {item.offenders[0]})" if item.offenders else ""
            fate = " would be rejected" if item.severity == ERROR else ""
            yield Fault(
                message=f"{spec.table.qualified}: {'all' if whole else f'{item.count:,}'} of the first {report.read:,} rows{fate}: {item.message}{first}",
                place=spec.place,
                remedy="" if ";" in item.message else "correct the mapping or the data",
                severity="error" if fatal else "warning",
            )


def _too_many(report: TableReport, spec: TableSpec, limit: float) -> Fault:
    """Say that an ingest would publish nothing, as so many of the first rows are at fault; with the first of each reason."""
    reasons = sorted(
        (item for item in report.findings.values() if item.severity == ERROR), key=lambda item: item.count, reverse=True
    )
    first = "; ".join(
        f"{item.message} ({', '.join(str(offender) for offender in item.offenders[:OFFENDERS_SHOWN])})"
        for item in reasons[:REASONS_SHOWN]
        if item.offenders
    )
    return Fault(
        message=f"{report.table}: {report.rejected:,} of the first {report.read:,} rows would be rejected, "
        f"more than max_rejects ({limit:.4g}), and nothing would be published: {first}",
        place=spec.place,
        remedy="correct the mapping or the data, or raise max_rejects",
    )


__all__ = ["refused"]
