"""What an ingest would refuse or warn of, told before there is one.

The first rows of a descriptor's files, mapped and checked, nothing written.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hven.engines import load_engine_record
from hven.ingest._rejects_file import RejectsFile
from hven.ingest._report import TableReport
from hven.ingest._rules import ERROR_SEVERITY, WARNING_SEVERITY
from hven.ingest._table_loader import (
    DEFAULT_MAX_REJECTED_SHARE,
    TableLoader,
    build_union_table,
    find_adoptable_catalogue,
    has_byte_progress,
    open_sources,
)
from hven.model import add_deviation, plugins
from hven.model.errors import Fault, HvenError, SourceError
from hven.model.settings import resolve_secret
from hven.sources import SourceContext
from hven.sources.file_kinds import find_service_signature
from hven.sources.file_readers import open_with_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.engines import StorageEngine
    from hven.ingest._ledger import SourceEntry
    from hven.model import Deviation
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.sources import RejectedRow

MAX_SHOWN_OFFENDERS, MAX_SHOWN_REASONS = 3, 3
SAMPLE_ROWS, REMOTE_SAMPLE_ROWS = 1000, 10  # of each source; where each row has a server asked for a size
ENGINE_MEMORY_BYTES = 256 << 20  # bytes


def find_sample_faults(resource: Resource, directory: Path, settings: Settings) -> Iterator[Fault]:
    """Yield what most first rows of a table's files would be rejected for (errors), or some.

    And what would be published with a warning.

    A service that cannot be read is a warning, once for each server: it may answer again before the next ingest. A
    catalogue that is served where it is and cannot be read is an error. Other sources that cannot be read yield
    nothing here: reading the descriptor reports them.

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
        engine: StorageEngine | None = None
        failed_addresses: set[str] = set()
        try:
            for spec in resource.tables:
                service = _find_service(spec)
                if service is not None and service.options["url"] in failed_addresses:
                    continue
                deviations: list[Deviation] = []
                unread = _UnreadRows()
                context = SourceContext(
                    directory=directory,
                    resolve_secret=partial(resolve_secret, settings.directory),
                    allow_private=settings.allow_private,
                    open_sample_file=partial(open_with_reader, settings),
                    allowed_roots=settings.allowed_directories,
                    on_notice=partial(_record_deviation, deviations),
                    on_reject=unread.add_row,
                    is_inspection=True,
                )
                try:
                    source_entries = list(open_sources(spec, resource, context))
                    _check_served_catalogue(spec, source_entries, resource.engine or settings.engine)
                    entries = [
                        item
                        for item in source_entries
                        if has_byte_progress(item.source) and item.mapping.group_plan is None
                    ]
                    if entries:
                        engine = engine or plugins.load_plugin("engines", "duckdb").open(
                            Path(scratch), memory=ENGINE_MEMORY_BYTES, threads=1
                        )
                        yield from _check_table_sample(
                            spec,
                            entries,
                            engine,
                            Path(scratch),
                            settings=settings,
                            unread=unread,
                            has_all_sources=len(entries) == len(source_entries),
                        )
                except (HvenError, NotImplementedError) as error:
                    if isinstance(error, SourceError) and any(_find_serving_engine(item.kind) for item in spec.sources):
                        if error.place.file:
                            message = f"{error.place}: {error.message}"
                        else:
                            message = error.message
                        yield Fault(message=message, place=spec.place, remedy=error.remedy)
                    elif isinstance(error, HvenError) and service is not None:
                        failed_addresses.add(service.options["url"])
                        yield Fault(message=error.message, place=service.place, remedy=error.remedy, severity="warning")
                finally:
                    yield from (_build_deviation_warning(item, spec) for item in deviations)
        finally:
            if engine is not None:
                engine.close()


class _UnreadRows:
    """Rows that a source cannot read: those that come before the table is filled wait for it."""

    def __init__(self) -> None:
        self.loader: TableLoader | None = None
        self._early: list[RejectedRow] = []

    def add_row(self, row: RejectedRow) -> None:
        if self.loader is None:
            self._early.append(row)
        else:
            self.loader.reject_row(row)

    def set_loader(self, filling: TableLoader) -> None:
        """Give a table the rows from now on. Files are read anew, so the early ones come again."""
        self.loader = filling
        self._early.clear()


def _record_deviation(deviations: list[Deviation], deviation: str | Deviation) -> None:
    if not isinstance(deviation, str):
        add_deviation(deviations, deviation)


def _build_deviation_warning(deviation: Deviation, spec: TableSpec) -> Fault:
    """Warn of what the reader of a table narrows, drops or reinterprets in its first rows."""
    message = f"{spec.table.qualified_name}: {deviation}"
    return Fault(message=message, place=spec.place, remedy=deviation.remedy, severity="warning")


def _find_serving_engine(name: str) -> str | None:
    """Name the engine that serves the files of a kind of source where they are."""
    plugin = plugins.load_plugin("sources", name)
    engine_name: str | None = vars(plugin).get("SERVED_BY")
    return engine_name


def _find_service(spec: TableSpec) -> SourceSpec | None:
    """Find the first source of a table that asks a service."""
    for source in spec.sources:
        if find_service_signature(source.kind) is not None and "url" in source.options:
            return source
    return None


def _check_served_catalogue(spec: TableSpec, entries: list[SourceEntry], engine: str) -> None:
    """Look at a catalogue that would be served where it is."""
    if not entries or _find_serving_engine(entries[0].spec.kind) != engine:
        return
    table = build_union_table(spec, entries)
    catalogue_path = find_adoptable_catalogue(entries, table)
    if catalogue_path is not None and (check_function := load_engine_record(engine).adoptable):
        module, _, name = check_function.partition(":")
        getattr(plugins.import_hven_module(module, f"the engine {engine}"), name)(
            table, catalogue_path, entries[0].mapping.copies
        )


def _check_table_sample(
    spec: TableSpec,
    entries: list[SourceEntry],
    engine: StorageEngine,
    scratch: Path,
    *,
    settings: Settings,
    unread: _UnreadRows,
    has_all_sources: bool,
) -> Iterator[Fault]:
    report = TableReport(table=spec.table.qualified_name)
    has_remote_requests = any(
        entry.documents or any(call.path is None for call in entry.mapping.calls) for entry in entries
    )
    with RejectsFile(scratch / f"{spec.table.name}.csv") as rejects:
        loader = TableLoader(
            engine=engine,
            storage_engine=engine,
            spec=replace(spec, max_rejected_share=1.0),
            entries=entries,
            rejects=rejects,
            report=report,
            progress=lambda _: None,
            sample_rows=REMOTE_SAMPLE_ROWS if has_remote_requests else SAMPLE_ROWS,
            max_rejected_share=1.0,
            spool_directory=scratch,
            allow_private=settings.allow_private,
        )
        unread.set_loader(loader)
        loader.map_all_rows(lambda _: None)
    if spec.max_rejected_share is None:
        limit = DEFAULT_MAX_REJECTED_SHARE
    else:
        limit = spec.max_rejected_share
    has_common_error = any(
        item.severity == ERROR_SEVERITY and item.count >= report.read - report.skipped
        for item in report.findings.values()
    )
    if (
        report.read and report.rejected / report.read > limit and not has_common_error
    ):  # of all rows it is said below, for each reason
        yield _build_rejects_fault(report, spec, limit)
    # a warning: files may fill until the ingest
    if has_all_sources and not report.read and (spec.max_rejected_share is None or spec.max_rejected_share < 1):
        message = f"{spec.table.qualified_name} would be empty: the source has no rows"
        yield Fault(
            message=message,
            place=spec.place,
            remedy="look at the files; max_rejects: 1 publishes an empty table",
            severity="warning",
        )
    # meant to be published, and counted
    if spec.flags:
        flag_bits = spec.flags.bits
    else:
        flag_bits = {}
    for item in report.findings.values():
        if item.severity in {ERROR_SEVERITY, WARNING_SEVERITY} and item.count and item.rule not in flag_bits:
            # granules are several of one source row
            affects_all_rows = item.count >= report.read - report.skipped
            is_fatal = (
                affects_all_rows
                and item.severity == ERROR_SEVERITY
                and (spec.max_rejected_share is None or spec.max_rejected_share < 1)
            )
            if item.offenders:
                first_offender = f" (first: {item.offenders[0]})"
            else:
                first_offender = ""
            fate_text = " would be rejected" if item.severity == ERROR_SEVERITY else ""
            yield Fault(
                message=f"{spec.table.qualified_name}: {'all' if affects_all_rows else f'{item.count:,}'} of the first "
                f"{report.read:,} rows{fate_text}: {item.message}{first_offender}",
                place=spec.place,
                remedy="" if ";" in item.message else "correct the mapping or the data",
                severity="error" if is_fatal else "warning",
            )


def _build_rejects_fault(report: TableReport, spec: TableSpec, limit: float) -> Fault:
    """Say that an ingest would publish nothing, as so many of the first rows are at fault.

    With the first of each reason.
    """
    reasons = sorted(
        (item for item in report.findings.values() if item.severity == ERROR_SEVERITY),
        key=lambda item: item.count,
        reverse=True,
    )
    reason_texts = "; ".join(
        f"{item.message} ({', '.join(str(offender) for offender in item.offenders[:MAX_SHOWN_OFFENDERS])})"
        for item in reasons[:MAX_SHOWN_REASONS]
        if item.offenders
    )
    return Fault(
        message=f"{report.table}: {report.rejected:,} of the first {report.read:,} rows would be rejected, "
        f"more than max_rejects ({limit:.4g}), and nothing would be published: {reason_texts}",
        place=spec.place,
        remedy="correct the mapping or the data, or raise max_rejects",
    )


__all__ = ["find_sample_faults"]
