"""Report what an ingest or a sync read, left out, found wrong, changed and published.

The report is printed for people, written as JSON for scripts, and kept in the system state.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hven.ingest.quality import format_percent
from hven.model import add_deviation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.ingest.quality import QualityFlagStatistics
    from hven.model import ReadDeviation

INGEST_RUN_KIND = "ingest"  # kind of the runs that read everything
MAX_OFFENDERS = 10  # rows of each rule in the report; the rejects file has all of them

MAX_REASONS = 3  # reasons for rejected rows in one sentence

MAX_SHOWN_GROUPS = 5  # groups of rows in the text of the report

MAX_COUNTED_RULES = 500  # rules with a count of their own; further rules share one

MAX_SAMPLES = 5  # changed rows of each kind in the report

SUMMARY_KEYS = ("read", "skipped", "rejected", "published", "snapshot")  # counts of a table in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class OffendingRow:
    """A row that breaks a rule: its place in the source, and the value.

    Attributes
    ----------
    file
        Name of its file; None: the source has no files.
    row
        Number of the row in the file; None: unknown.
    column
        Column of the value; None: the rule is about several columns.
    value
        The value as text; None: unknown.
    """

    file: str | None
    row: int | None
    column: str | None
    value: str | None

    def __str__(self) -> str:
        # of the data: a header and comments are not counted
        # the row number counts rows of data: a header and comments are not counted
        row = ""
        if self.row is not None:
            row = f"row {self.row:,}"
        location = " ".join(part for part in (self.file, row) if part) or "?"
        value = None
        if self.value is not None:
            value = " ".join(str(self.value).split())[:80]  # on one line
        if self.column:
            return f"{location}: {self.column} = {value}"
        if value:
            return f"{location}: {value}"
        return location


@dataclass(slots=True, kw_only=True)
class RuleFinding:
    """How often a rule was broken, and by which rows first.

    Attributes
    ----------
    rule
        Name of the rule.
    message
        What is wrong with these rows.
    severity
        ``error``: the rows were rejected; ``warning`` and ``info``: they were published.
    count
        Number of rows.
    offenders
        The first rows.
    """

    rule: str
    message: str
    severity: str = "error"
    count: int = 0
    offenders: list[OffendingRow] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class TableIngestReport:
    """The result of a run for one table.

    Attributes
    ----------
    table
        ``schema.table``.
    read, skipped, rejected, published
        Number of source rows that were read, left out by ``where``, and rejected; and of rows that were written (with
        granules, several from one source row).
    findings
        Findings by the name of the rule.
    deviations
        What the readers of its sources narrowed, dropped or reinterpreted, with counts.
    seconds
        Time of each step: read, map, check, stage (these overlap), finish.
    snapshot
        Id of the new snapshot; None: there is none.
    bytes
        Size of its files.
    rejects
        Path of the file of rejected rows.
    quality
        Statistics of the flags of all its rows, unchanged rows included; None: it has no flags.
    """

    table: str
    read: int = 0
    skipped: int = 0
    rejected: int = 0
    published: int = 0
    findings: dict[str, RuleFinding] = field(default_factory=dict)
    deviations: list[ReadDeviation] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    snapshot: str | None = None
    bytes: int = 0
    rejects: str | None = None
    quality: QualityFlagStatistics | None = None

    def add_finding(self, rule: str, message: str, severity: str, count: int, offenders: list[OffendingRow]) -> None:
        """Count rows that break a rule, and keep the first of them.

        Parameters
        ----------
        rule
            Name of the rule.
        message
            What is wrong with the rows.
        severity
            ``error``, ``warning`` or ``info``.
        count
            Number of rows.
        offenders
            Some of these rows.
        """
        if rule not in self.findings and len(self.findings) >= MAX_COUNTED_RULES:
            rule = f"other {severity}s"
            message = f"other {severity}s"
        finding = self.findings.setdefault(rule, RuleFinding(rule=rule, message=message, severity=severity))
        finding.count += count
        finding.offenders.extend(offenders[: MAX_OFFENDERS - len(finding.offenders)])

    def add_step_time(self, step: str, start_time: float) -> float:
        """Add the time since a moment to the time of a step.

        Parameters
        ----------
        step
            Name of the step.
        start_time
            Begin of the step, in seconds of `time.perf_counter`.

        Returns
        -------
        current_time
            Seconds of the same clock, for the next step.
        """
        current_time = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + current_time - start_time
        return current_time

    def summarize_rejects(self) -> str:
        """Summarize how many rows were rejected, why, and which file has them.

        Returns
        -------
        text
            One sentence; empty if no row was rejected.
        """
        if not self.rejected:
            return ""
        errors = [finding for finding in self.findings.values() if finding.severity == "error"]
        errors.sort(key=lambda finding: -finding.count)
        reasons = ", ".join(f"{finding.message} ({finding.count:,})" for finding in errors[:MAX_REASONS])
        text = f"{self.rejected:,} of {self.read:,} rows of {self.table} were rejected: {reasons}"
        if len(errors) > MAX_REASONS:
            text += ", ..."
        if self.rejects:
            text += f"; they are in {self.rejects}"
        return text

    def add_deviation(self, deviation: ReadDeviation) -> None:
        """Add a deviation of a source, such as a value that its reader narrows, drops or reinterprets.

        Parameters
        ----------
        deviation
            The deviation; counts of the same kind, column and message are added up.
        """
        add_deviation(self.deviations, deviation)

    def format_deviations(self) -> list[str]:
        """Format the deviations for a person.

        Returns
        -------
        lines
            One line for each deviation, with its remedy.
        """
        lines = []
        for deviation in self.deviations:
            remedy = f"; {deviation.remedy}" if deviation.remedy else ""
            lines.append(f"  warning: {deviation}{remedy}")
        return lines

    def summarize_quality_and_rejects_file(self) -> list[str]:
        """Summarize the quality flags, and name the file of rejected rows.

        Returns
        -------
        lines
            One line for all rows, and one for each of the groups with the largest share of flagged rows.
        """
        lines = []
        if self.quality is not None:
            lines.append(f"  {self.quality.format_text()}")
            flagged_groups = [group for group in self.quality.groups if group.flagged]
            flagged_groups.sort(key=lambda group: -group.flagged / group.rows)
            for group in flagged_groups[:MAX_SHOWN_GROUPS]:
                group_name = ", ".join(value or "NULL" for value in group.of)
                clean_share = format_percent(group.rows - group.flagged, group.rows)
                lines.append(f"    {group_name}: {clean_share} of {group.rows:,}")
        if self.rejects:
            lines.append(f"  kept aside in {self.rejects}")
        return lines


@dataclass(slots=True, kw_only=True)
class DescriptorTestResult:
    """The result of one of the descriptor's tests."""

    name: str
    passed: bool
    message: str = ""


@dataclass(slots=True, kw_only=True)
class TableChangeSummary:
    """The changes of one table by a run.

    Attributes
    ----------
    table
        ``schema.table``.
    how
        What was read, in words: ``everything``, ``since 2026-11-18``, ``2 of 40 files``.
    why
        Why everything was computed anew, if it was.
    read, mapped
        Number of source rows that were read, and of those that had to be mapped and checked.
    rows
        Number of rows of the table afterwards.
    added, removed, changed
        Number of published rows.
    columns
        Column -> number of changed rows in which it differs.
    samples
        A few of the changes: ``{"change": "changed", "key": {..}, "before": {..}, "after": {..}}``; before and after
        have the columns that differ.
    new
        True if the table was not published before, or had other columns, so that there is nothing to compare with.
    described
        True if the source gives other units or descriptions of its columns.
    watermark
        The largest watermark of the source, as text.
    """

    table: str
    how: str = "everything"
    why: str | None = None
    read: int = 0
    mapped: int = 0
    rows: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    new: bool = False
    described: bool = False
    watermark: str | None = None

    @property
    def has_changes(self) -> bool:
        """True if the table differs from the published one."""
        return self.new or self.described or bool(self.added or self.removed or self.changed)

    def collect_counts(self) -> dict[str, Any]:
        """Return the counts alone."""
        keys = ("how", "read", "mapped", "rows", "added", "removed", "changed", "columns", "new", "watermark")
        return {key: getattr(self, key) for key in keys}

    def format_summary(self) -> str:
        """Summarize the changes in one line.

        Returns
        -------
        text
            Counts of rows that were added, changed and removed.
        """
        if self.new:
            return f"{self.table}: {self.rows:,} rows, all new"
        pairs = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        counts = [f"{count:,} {word}" for count, word in pairs if count]
        if self.described:
            counts.append("other metadata")
        return f"{self.table}: {', '.join(counts) or 'no change'}, {self.rows:,} rows"

    def format_text(self) -> str:
        """Summarize the changes in one line, with what was read."""
        return f"{self.format_summary()} ({self.how} read)"


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """The report of an ingest, a sync or a run of a plug-in package.

    Attributes
    ----------
    collection
        Name of the collection.
    run
        Id of the run.
    started
        Start of the run: ISO time, UTC.
    tables
        The report of each table.
    warnings
        Warnings about the run as a whole.
    tests
        Results of the descriptor's tests.
    seconds
        Duration of the run.
    published
        True if readers see the new rows.
    followers
        Tables of other collections that were made anew from this collection, and published with it.
    sample
        Number of rows of each source that were read; None: all.
    dry_run
        True if the run was not to publish anything.
    error
        The error that ended the run; None: there was none.
    path
        Path of this report as JSON.
    kind
        ``ingest``, ``sync``, or what a plug-in package calls its runs.
    changes
        Qualified table -> its changes in a sync.
    accepted
        True if the guards were not to stop the run.
    by
        The user who changed rows; None: another kind of run.
    """

    collection: str
    run: str
    started: str
    tables: dict[str, TableIngestReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tests: list[DescriptorTestResult] = field(default_factory=list)
    seconds: float = 0.0
    published: bool = False
    followers: dict[str, TableIngestReport] = field(default_factory=dict)
    sample: int | None = None
    dry_run: bool = False
    error: str | None = None
    path: str | None = None
    kind: str = INGEST_RUN_KIND
    changes: dict[str, TableChangeSummary] = field(default_factory=dict)
    accepted: bool = False
    by: str | None = None

    @property
    def merges_changes(self) -> bool:
        """True if the run merges changes into the published tables."""
        return self.kind != INGEST_RUN_KIND

    @property
    def has_changes(self) -> bool:
        """True if a sync changed any table."""
        return any(change.has_changes for change in self.changes.values())

    def get_or_create_change(self, table_name: str) -> TableChangeSummary:
        """Return the changes of a table; create them if there are none.

        Parameters
        ----------
        table_name
            ``schema.table``.
        """
        return self.changes.setdefault(table_name, TableChangeSummary(table=table_name))

    @property
    def row_count(self) -> int:
        """Number of rows of all tables."""
        return sum(table.published for table in self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as a JSON object."""
        document = asdict(self)
        del document["kind"]
        if not self.by:
            del document["by"]
        if self.merges_changes:
            document["changed"] = self.has_changes
        else:
            del document["changes"]
            del document["accepted"]
        return document

    def summarize_counts(self) -> dict[str, Any]:
        """Return the counts alone, for the store."""
        tables: dict[str, dict[str, Any]] = {}
        for name, table in self.tables.items():
            tables[name] = {key: getattr(table, key) for key in SUMMARY_KEYS}
            if table.quality is not None:
                tables[name]["quality"] = table.quality.to_json()
        deviation_count = sum(len(table.deviations) for table in self.tables.values())
        summary = {
            "tables": tables,
            "seconds": round(self.seconds, 3),
            "warnings": len(self.warnings) + deviation_count,
            "sample": self.sample,
            "dry_run": self.dry_run,
        }
        if self.merges_changes:
            summary["published"] = self.published
            summary["changes"] = {name: change.collect_counts() for name, change in self.changes.items()}
        if self.by:
            summary["by"] = self.by
        return summary

    def write_report(self, directory: Path) -> None:
        """Write the report to the directory of its run, beside the rejected rows.

        Parameters
        ----------
        directory
            Directory of the run; created if it does not exist.
        """
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / "report.json"
        self.path = str(target)
        target.write_text(json.dumps(self.to_json(), indent=1, default=str), encoding="utf-8")

    def format_text(self) -> str:
        """Format the report for a person.

        Returns
        -------
        text
            Several lines.
        """
        if self.published:
            outcome = "published"
        elif self.dry_run:
            outcome = "nothing was published (dry run)"
        elif self.merges_changes:
            outcome = "nothing to publish"
        else:
            outcome = "nothing was published"
        duration_text = f"{self.seconds:.1f} s"
        if self.merges_changes:
            table_lines = self._format_changes()
            closing_text = f"{outcome}, {duration_text}"
        else:
            table_lines = self._format_tables()
            closing_text = f"{self.row_count:,} rows in {duration_text}, {outcome}"
        lines = [*table_lines, *self._format_general_notes(), f"{self.collection}: {closing_text}"]
        return "\n".join(lines)

    def _format_tables(self) -> Iterator[str]:
        for name, table in self.tables.items():
            row_notes = []
            if table.skipped:
                row_notes.append(f"{table.skipped:,} left out by where")
            if table.rejected:
                row_notes.append(f"{table.rejected:,} rejected")
            line = f"{name}: {table.published:,} rows"
            if row_notes:
                line += f" ({', '.join(row_notes)} of {table.read:,} read)"
            yield line
            for finding in table.findings.values():
                count_text = _format_finding_row_count(finding)
                reason = finding.rule.partition(": ")[2]
                if reason.startswith(("without ", "region ")):  # nothing is wrong with these rows
                    yield f"  {finding.severity}: {count_text} {finding.message}"
                    continue
                yield f"  {finding.severity}: {finding.message}: {count_text}"
                yield from (f"    {offender}" for offender in finding.offenders[:3])
            yield from table.format_deviations()
            yield from table.summarize_quality_and_rejects_file()

    def _format_changes(self) -> Iterator[str]:
        for name, change in self.changes.items():
            yield change.format_text()
            if change.why:
                yield f"  everything was computed again: {change.why}"
            if change.columns:
                column_counts = (f"{column} ({count:,})" for column, count in sorted(change.columns.items()))
                yield f"  differing columns: {', '.join(column_counts)}"
            table = self.tables.get(name)
            if table is None:
                continue
            for finding in table.findings.values():
                if finding.severity == "info":
                    continue
                count_text = _format_finding_row_count(finding)
                yield f"  {finding.severity}: {finding.message}: {count_text} of the rows that were read again"
                yield from (f"    {offender}" for offender in finding.offenders[:3])
            yield from table.format_deviations()
            yield from table.summarize_quality_and_rejects_file()

    def _format_general_notes(self) -> Iterator[str]:
        """Yield the lines that belong to no table: dependent tables, warnings and tests."""
        for name, table in self.followers.items():
            yield f"{name}: {table.published:,} rows, made again from it"
        for warning in self.warnings:
            yield f"warning: {warning}"
        for test in self.tests:
            result = "passed" if test.passed else f"FAILED: {test.message}"
            yield f"test {test.name}: {result}"


def _format_finding_row_count(finding: RuleFinding) -> str:
    if finding.count == 1:
        return "1 row"
    return f"{finding.count:,} rows"
