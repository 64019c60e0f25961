"""Find what an ingest would reject or warn of, before there is one.

The first rows of a descriptor's files are mapped and checked; nothing is written.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hven.engines import load_engine_record
from hven.ingest._rejects_file import RejectsFile
from hven.ingest._report import TableIngestReport
from hven.ingest._rules import ERROR_SEVERITY, WARNING_SEVERITY
from hven.ingest._table_loader import (
    DEFAULT_MAX_REJECTED_SHARE,
    TableLoader,
    build_union_table,
    find_adoptable_catalogue,
    has_byte_progress,
    open_table_sources,
)
from hven.ingest.source_checks import build_source_fault
from hven.model import add_deviation, plugins
from hven.model.errors import DataError, Fault, HvenError, SourceError
from hven.model.settings import resolve_secret
from hven.sources import SourceContext
from hven.sources.file_kinds import find_catalogue_signature, find_service_signature
from hven.sources.file_readers import open_with_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryEvaluator, StorageEngine
    from hven.ingest._ledger import OpenedSource
    from hven.model import ReadDeviation
    from hven.model.errors import UserError
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.sources import RejectedRow

MAX_SHOWN_OFFENDERS, MAX_SHOWN_REASONS = 3, 3
SAMPLE_ROWS = 1000  # of each source
REMOTE_SAMPLE_ROWS = 10  # .. if each row needs a request to a server, for a size or a document
ENGINE_MEMORY_BYTES = 256 << 20


def find_sample_faults(resource: CollectionSpec, directory: Path, settings: Settings) -> Iterator[Fault]:
    """Yield an error for what most of the first rows of a table's files would be rejected for, and warnings.

    A service that cannot be read gives a warning, once for each address: it may answer again before the next ingest. A
    catalogue that is served in place is not opened later, so its faults are reported here as errors. So are those of
    files. A database that cannot be read gives no fault here, because another check connects to it.

    Parameters
    ----------
    resource
        The collection.
    directory
        The directory of its descriptor.
    settings
        The settings of the site.
    """
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        evaluator = stack.enter_context(_SampleEvaluator(Path(scratch)))
        failed_addresses: set[str] = set()
        for spec in resource.tables:
            service = _find_service_source(spec)
            if service is not None and service.options["url"] in failed_addresses:
                continue
            deviations: list[ReadDeviation] = []
            unread_rows = _UnreadableRowBuffer()
            context = SourceContext(
                directory=directory,
                resolve_secret=partial(resolve_secret, settings.directory),
                allow_private=settings.allow_private,
                open_sample_file=partial(open_with_reader, settings),
                allowed_roots=settings.allowed_directories,
                on_notice=partial(_record_deviation, deviations),
                on_reject=unread_rows.add_row,
                is_inspection=True,
            )
            try:
                source_entries = list(open_table_sources(spec, resource, context))
                _check_served_catalogue(spec, source_entries, resource.engine or settings.engine)
                file_entries = [
                    entry for entry in source_entries if has_byte_progress(entry.source) or "file" in entry.spec.options
                ]
                entries = [entry for entry in file_entries if entry.mapping.group_plan is None]
                if entries:
                    yield from _find_table_sample_faults(
                        spec,
                        entries,
                        evaluator,
                        Path(scratch),
                        settings=settings,
                        unread=unread_rows,
                        has_all_sources=len(entries) == len(source_entries),
                    )
            except (HvenError, NotImplementedError) as error:
                is_served_in_place = any(_find_serving_engine(source.kind) for source in spec.sources)
                if isinstance(error, SourceError) and is_served_in_place:
                    yield build_source_fault(error, spec.place)
                elif isinstance(error, SourceError) and _has_only_files(spec):
                    yield build_source_fault(error, spec.sources[0].place)
                elif isinstance(error, DataError) or (isinstance(error, SourceError) and _has_only_code(spec)):
                    yield _build_code_fault(error, spec)
                elif isinstance(error, HvenError) and service is not None:
                    failed_addresses.add(service.options["url"])
                    yield Fault(message=error.message, place=service.place, remedy=error.remedy, severity="warning")
            finally:
                yield from (_build_deviation_warning(deviation, spec) for deviation in deviations)


class _SampleEvaluator:
    """An embedded engine that opens when the first expression is evaluated: tables without expressions need none."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @cached_property
    def _engine(self) -> StorageEngine:
        engine: StorageEngine = plugins.load_plugin("engines", "duckdb").open(
            self._scratch, memory=ENGINE_MEMORY_BYTES, threads=1
        )
        self._resources.callback(engine.close)
        return engine

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a query as `hven.engines.QueryEvaluator` does."""
        return self._engine.evaluate_query(bound_query, inputs)


class _UnreadableRowBuffer:
    """The rows that a source cannot read; rows before the loader exists are kept for it."""

    def __init__(self) -> None:
        self.loader: TableLoader | None = None
        self._early: list[RejectedRow] = []

    def add_row(self, rejected_row: RejectedRow) -> None:
        """Pass a row to the loader, or keep it."""
        if self.loader is None:
            self._early.append(rejected_row)
        else:
            self.loader.record_rejected_row(rejected_row)

    def set_loader(self, loader: TableLoader) -> None:
        """Pass rows to a loader from now on; files are read again from their start, so early rows come again."""
        self.loader = loader
        self._early.clear()


def _record_deviation(deviations: list[ReadDeviation], deviation: str | ReadDeviation) -> None:
    if not isinstance(deviation, str):
        add_deviation(deviations, deviation)


def _build_deviation_warning(deviation: ReadDeviation, spec: TableSpec) -> Fault:
    """Build a warning of what a reader narrows, drops or reinterprets in the first rows of a table."""
    message = f"{spec.table.qualified_name}: {deviation}"
    return Fault(message=message, place=spec.place, remedy=deviation.remedy, severity="warning")


def _find_serving_engine(source_kind: str) -> str:
    """Return the name of the engine that serves the files of a kind of source in place; empty: there is none."""
    signature = find_catalogue_signature(source_kind)
    if signature is None:
        return ""
    return signature.engine


def _has_only_files(spec: TableSpec) -> bool:
    """Return whether all sources of a table read files, so that no server and no site is needed."""
    for source in spec.sources:
        kind = plugins.load_plugin("sources", source.kind)
        if "files" not in kind.Options.model_fields or find_service_signature(source.kind) is not None:
            return False
    return True


def _has_only_code(spec: TableSpec) -> bool:
    """Return whether all sources of a table are Python code beside its descriptor."""
    return all("file" in source.options for source in spec.sources)


def _build_code_fault(error: UserError, spec: TableSpec) -> Fault:
    """Build the fault of Python code that fails: a warning if the code makes the rows, as a server may be away."""
    if isinstance(error, SourceError):
        return replace(build_source_fault(error, spec.sources[0].place), severity="warning")
    return Fault(message=error.message, place=error.place if error.place.file else spec.place, remedy=error.remedy)


def _find_service_source(spec: TableSpec) -> SourceSpec | None:
    """Find the first source of a table that asks a service."""
    for source in spec.sources:
        if find_service_signature(source.kind) is not None and "url" in source.options:
            return source
    return None


def _check_served_catalogue(spec: TableSpec, entries: list[OpenedSource], engine: str) -> None:
    """Check a catalogue that the engine would serve in place."""
    if not entries or _find_serving_engine(entries[0].spec.kind) != engine:
        return
    table = build_union_table(spec, entries)
    catalogue = find_adoptable_catalogue(entries, table)
    check_function = load_engine_record(engine).adoptable
    if catalogue is not None and check_function:
        module_name, _, function_name = check_function.partition(":")
        module = plugins.import_hven_module(module_name, f"the engine {engine}")
        getattr(module, function_name)(table, catalogue, entries[0].mapping.copies)


def _find_table_sample_faults(
    spec: TableSpec,
    entries: list[OpenedSource],
    evaluator: QueryEvaluator,
    scratch: Path,
    *,
    settings: Settings,
    unread: _UnreadableRowBuffer,
    has_all_sources: bool,
) -> Iterator[Fault]:
    report = TableIngestReport(table=spec.table.qualified_name)
    has_remote_requests = any(
        entry.additions or any(call.path is None for call in entry.mapping.calls) for entry in entries
    )
    with RejectsFile(scratch / f"{spec.table.name}.csv") as rejects:
        loader = TableLoader(
            evaluator=evaluator,
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
        loader.map_and_write_rows(lambda _: None)
    yield from _build_sample_faults(spec, report, has_all_sources=has_all_sources)


def _build_sample_faults(spec: TableSpec, report: TableIngestReport, *, has_all_sources: bool) -> Iterator[Fault]:
    """Yield the faults that the first rows of a table show."""
    name = spec.table.qualified_name
    max_rejected_share = spec.max_rejected_share
    if max_rejected_share is None:
        max_rejected_share = DEFAULT_MAX_REJECTED_SHARE
    # rows that ``where`` leaves out are not checked; a source row with granules counts several times
    checked_rows = report.read - report.skipped
    findings = report.findings.values()
    has_common_error = any(finding.severity == ERROR_SEVERITY and finding.count >= checked_rows for finding in findings)
    # an error of all rows is reported below, for each reason
    if report.read and report.rejected / report.read > max_rejected_share and not has_common_error:
        yield _build_rejects_fault(report, spec, max_rejected_share)
    may_be_empty = spec.max_rejected_share is not None and spec.max_rejected_share >= 1
    if has_all_sources and not report.read and not may_be_empty:
        # only a warning, because the files may get rows before the ingest
        yield Fault(
            message=f"{name} would be empty: the source has no rows",
            place=spec.place,
            remedy="check the files, or write `max_rejects: 1` to publish an empty table",
            severity="warning",
        )
    flagged_rules = spec.flags.bits if spec.flags else {}  # their rows are published with a flag, and counted
    for finding in findings:
        is_error = finding.severity == ERROR_SEVERITY
        if not is_error and finding.severity != WARNING_SEVERITY:
            continue
        if not finding.count or finding.rule in flagged_rules:
            continue
        affects_all_rows = finding.count >= checked_rows
        is_fatal = affects_all_rows and is_error and not may_be_empty
        count_text = "all" if affects_all_rows else f"{finding.count:,}"
        result_text = " would be rejected" if is_error else ""
        first_offender = f" (first: {finding.offenders[0]})" if finding.offenders else ""
        yield Fault(
            message=f"{name}: {count_text} of the first {report.read:,} rows{result_text}: "
            f"{finding.message}{first_offender}",
            place=spec.place,
            remedy="" if ";" in finding.message else "correct the mapping or the data",
            severity="error" if is_fatal else "warning",
        )


def _build_rejects_fault(report: TableIngestReport, spec: TableSpec, limit: float) -> Fault:
    """Build the fault that too many of the first rows would be rejected, with the first rows of each reason."""
    errors = [finding for finding in report.findings.values() if finding.severity == ERROR_SEVERITY]
    errors.sort(key=lambda finding: finding.count, reverse=True)
    reason_texts = []
    for error in errors[:MAX_SHOWN_REASONS]:
        if error.offenders:
            offender_texts = ", ".join(str(offender) for offender in error.offenders[:MAX_SHOWN_OFFENDERS])
            reason_texts.append(f"{error.message} ({offender_texts})")
    return Fault(
        message=f"{report.table}: nothing would be published, because {report.rejected:,} of the first "
        f"{report.read:,} rows would be rejected, more than max_rejects ({limit:.4g}): {'; '.join(reason_texts)}",
        place=spec.place,
        remedy="correct the mapping or the data, or raise max_rejects",
    )
