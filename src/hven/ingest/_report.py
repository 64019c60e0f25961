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

    from hven.ingest.quality import FlagStatistics
    from hven.model import Deviation

MAX_OFFENDERS = 10  # first offenders of each rule that the report shows; the rejects file has them all

MAX_REASONS = 3  # why rows were rejected, in one sentence

MAX_SHOWN_GROUPS = 5  # groups that are shown

MAX_COUNTED_RULES = 500  # different rules that are counted one by one

MAX_SAMPLES = 5  # changed rows of each kind that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Offender:
    """One row that breaks a rule: where it stands in the source, and the value.

    Attributes
    ----------
    file
        Its name; None: the source has no files.
    column
        The one at fault; None: several.
    """

    file: str | None
    row: int | None
    column: str | None
    value: str | None

    def __str__(self) -> str:
        # of the data: a header and comments are not counted
        if self.row is not None:
            row = f"row {self.row:,}"
        else:
            row = ""
        where = " ".join(part for part in (self.file, row) if part) or "?"
        # on one line
        if self.value is not None:
            value = " ".join(str(self.value).split())[:80]
        else:
            value = None
        if self.column:
            value_text = f": {self.column} = {value}"
        elif value:
            value_text = f": {value}"
        else:
            value_text = ""
        return where + value_text


@dataclass(slots=True, kw_only=True)
class RuleFinding:
    """How often a rule was broken, and by whom first. Severity ``error``: the rows were kept aside.

    ``warning``, ``info``: published all the same.

    Attributes
    ----------
    message
        What is wrong with these rows.
    severity
        As above.
    count
        Of rows.
    offenders
        The first of them.
    """

    rule: str
    message: str
    severity: str = "error"
    count: int = 0
    offenders: list[Offender] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class TableReport:
    """What happened to one table.

    Attributes
    ----------
    read, skipped, rejected, published
        Source rows read; left out by ``where``; kept aside; rows written (granules: several of one source row).
    findings
        By the name of the rule.
    deviations
        What the readers of its sources narrowed, dropped or reinterpreted, with counts.
    seconds
        Time by step: read, map, check, stage (these overlap), finish.
    snapshot
        Id of the new one; None: there is none.
    bytes
        Of its files.
    rejects
        Path of the file of rows that were kept aside.
    quality
        What the flags of all its rows say, those that were not read this time included; None: it has no flags.
    """

    table: str
    read: int = 0
    skipped: int = 0
    rejected: int = 0
    published: int = 0
    findings: dict[str, RuleFinding] = field(default_factory=dict)
    deviations: list[Deviation] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    snapshot: str | None = None
    bytes: int = 0
    rejects: str | None = None
    quality: FlagStatistics | None = None

    def add_finding(self, rule: str, message: str, severity: str, count: int, offenders: list[Offender]) -> None:
        """Count rows that break a rule; the first few are kept.

        Parameters
        ----------
        rule
            Its name.
        message
            What is wrong with them.
        severity
            ``error`` or ``warning``.
        count
            Of rows.
        offenders
            Some of them.
        """
        if rule not in self.findings and len(self.findings) >= MAX_COUNTED_RULES:
            rule = f"other {severity}s"
            message = f"other {severity}s"
        finding = self.findings.setdefault(rule, RuleFinding(rule=rule, message=message, severity=severity))
        finding.count += count
        finding.offenders.extend(offenders[: MAX_OFFENDERS - len(finding.offenders)])

    def add_step_time(self, step: str, start_time: float) -> float:
        """Add the time since a moment to what a step took.

        Parameters
        ----------
        step
            Its name.
        start_time
            Seconds, as `time.perf_counter` has them.

        Returns
        -------
        now
            Seconds of the same clock, for the next step.
        """
        current_time = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + current_time - start_time
        return current_time

    def summarize_rejects(self) -> str:
        """Summarize how many rows were rejected, why, and where they are.

        Returns
        -------
        text
            Empty: none was.
        """
        if not self.rejected:
            return ""
        most_frequent = sorted(
            (item for item in self.findings.values() if item.severity == "error"), key=lambda item: -item.count
        )
        reasons = ", ".join(f"{item.message} ({item.count:,})" for item in most_frequent[:MAX_REASONS]) + (
            ", ..." if len(most_frequent) > MAX_REASONS else ""
        )
        return f"{self.rejected:,} of {self.read:,} rows of {self.table} were rejected: {reasons}" + (
            f"; they are in {self.rejects}" if self.rejects else ""
        )

    def add_deviation(self, deviation: Deviation) -> None:
        """Add what a reader narrows, drops or reinterprets.

        Parameters
        ----------
        deviation
            The record; counts of the same kind, column and message are added up.
        """
        add_deviation(self.deviations, deviation)

    def format_deviations(self) -> list[str]:
        """Format the deviations for a person, one line each."""
        return [f"  warning: {item}" + (f"; {item.remedy}" if item.remedy else "") for item in self.deviations]

    def summarize_quality(self) -> list[str]:
        """Summarize what the flags say, and where rejects are.

        Returns
        -------
        lines
            One for all rows, one for each of the groups with the largest share of flagged rows.
        """
        if self.rejects:
            reject_lines = [f"  kept aside in {self.rejects}"]
        else:
            reject_lines = []
        quality = self.quality
        if quality is None:
            return reject_lines
        worst_groups = sorted(
            (group for group in quality.groups if group.flagged), key=lambda group: -group.flagged / group.rows
        )[:MAX_SHOWN_GROUPS]
        return [
            f"  {quality.format_text()}",
            *(
                (
                    f"    {', '.join(value or 'NULL' for value in group.of)}: "
                    f"{format_percent(group.rows - group.flagged, group.rows)} of {group.rows:,}"
                )
                for group in worst_groups
            ),
            *reject_lines,
        ]


@dataclass(slots=True, kw_only=True)
class TestResult:
    """One of the descriptor's tests."""

    name: str
    passed: bool
    message: str = ""


@dataclass(slots=True, kw_only=True)
class TableChange:
    """What changed in one table.

    Attributes
    ----------
    how
        What was read, in words: ``everything``, ``since 2026-11-18``, ``2 of 40 files``.
    why
        Why everything was computed anew, if it was.
    read, mapped
        Source rows that were read; those of them that had to be mapped and checked.
    rows
        Rows of the table afterwards.
    added, removed, changed
        Published rows.
    columns
        Column -> in how many of the changed rows it differs.
    samples
        A few of them: ``{"change": "changed", "key": {..}, "before": {..}, "after": {..}}``; before and after have the
        columns that differ.
    new
        True if the table was not published before, or with other columns: nothing to compare with.
    described
        True if the source says other units or descriptions of its columns.
    watermark
        The largest one that the source has shown, as text.
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
        """True if the table is another one than before."""
        return self.new or self.described or bool(self.added or self.removed or self.changed)

    def collect_counts(self) -> dict[str, Any]:
        """Return the counts alone."""
        return {
            key: getattr(self, key)
            for key in ("how", "read", "mapped", "rows", "added", "removed", "changed", "columns", "new", "watermark")
        }

    def format_summary(self) -> str:
        """Summarize what changed in one line.

        Returns
        -------
        text
            Counts of rows that were added, changed, removed.
        """
        if self.new:
            return f"{self.table}: {self.rows:,} rows, all new"
        pairs = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        counts = [f"{count:,} {word}" for count, word in pairs if count]
        return f"{self.table}: {', '.join(counts) or 'no change'}, {self.rows:,} rows"

    def format_text(self) -> str:
        """Summarize it in one line, with what was read."""
        return f"{self.format_summary()} ({self.how} read)"


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """What an ingest or a sync of a collection did.

    Attributes
    ----------
    run
        Its id.
    started
        ISO time, UTC.
    tables
        What happened to each.
    warnings
        Sentences about the whole.
    tests
        Of the descriptor, with what came of them.
    seconds
        That it took.
    published
        True if readers see the new rows.
    followers
        Tables of other collections that were made anew from this one's, and published with it.
    sample
        Rows of each source that were read; None: all.
    dry_run
        Nothing was published on purpose.
    error
        What ended it; None: nothing.
    path
        Where this report stands as JSON.
    kind
        ``ingest``, ``sync``, ``push``.
    changes
        Qualified table -> what a sync changed.
    accepted
        True if guards were not to stop it.
    by
        Who pushed; None: of another kind of run.
    """

    collection: str
    run: str
    started: str
    tables: dict[str, TableReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    seconds: float = 0.0
    published: bool = False
    followers: dict[str, TableReport] = field(default_factory=dict)
    sample: int | None = None
    dry_run: bool = False
    error: str | None = None
    path: str | None = None
    kind: str = "ingest"
    changes: dict[str, TableChange] = field(default_factory=dict)
    accepted: bool = False
    by: str | None = None

    @property
    def merges_changes(self) -> bool:
        """True if what changed is merged into what is published."""
        return self.kind in {"sync", "push"}

    @property
    def has_changes(self) -> bool:
        """True if a sync made any table another one than before."""
        return any(change.has_changes for change in self.changes.values())

    def get_or_create_change(self, name: str) -> TableChange:
        """Return what is told of a table's changes; begin to if nothing is.

        Parameters
        ----------
        name
            ``schema.table``.
        """
        return self.changes.setdefault(name, TableChange(table=name))

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(table.published for table in self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as a JSON object."""
        document = asdict(self)
        omitted_keys = {
            "kind",
            *(() if self.merges_changes else ("changes", "accepted")),
            *(() if self.by else ("by",)),
        }
        kept_items = {key: value for key, value in document.items() if key not in omitted_keys}
        if self.merges_changes:
            return {**kept_items, "changed": self.has_changes}
        return kept_items

    def summarize_counts(self) -> dict[str, Any]:
        """Return the counts alone, for the system state."""
        keys = ("read", "skipped", "rejected", "published", "snapshot")
        tables = {
            name: {key: getattr(table, key) for key in keys}
            | ({"quality": table.quality.to_json()} if table.quality is not None else {})
            for name, table in self.tables.items()
        }
        changes = {
            "published": self.published,
            "changes": {name: change.collect_counts() for name, change in self.changes.items()},
        }
        return {
            "tables": tables,
            "seconds": round(self.seconds, 3),
            "warnings": len(self.warnings) + sum(len(table.deviations) for table in self.tables.values()),
            "sample": self.sample,
            "dry_run": self.dry_run,
            **(changes if self.merges_changes else {}),
            **({"by": self.by} if self.by else {}),
        }

    def write_report(self, directory: Path) -> None:
        """Write the report beside the rejects of its run.

        Parameters
        ----------
        directory
            Of the run; made if it is not there.
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
            Of several lines.
        """
        sync = self.merges_changes
        if self.dry_run:
            unpublished_text = "nothing was published (dry run)"
        elif sync:
            unpublished_text = "nothing to publish"
        else:
            unpublished_text = "nothing was published"
        outcome = "published" if self.published else unpublished_text
        duration_text = f"{self.seconds:.1f} s"
        if sync:
            closing_text = f"{outcome}, {duration_text}"
        else:
            closing_text = f"{self.row_count:,} rows in {duration_text}, {outcome}"
        return "\n".join(
            [
                *(self._format_changes() if sync else self._format_tables()),
                *self._format_general_notes(),
                f"{self.collection}: {closing_text}",
            ]
        )

    def _format_tables(self) -> Iterator[str]:
        for name, table in self.tables.items():
            row_notes = [
                f"{count:,} {word}"
                for count, word in ((table.skipped, "left out by where"), (table.rejected, "rejected"))
                if count
            ]
            yield f"{name}: {table.published:,} rows" + (
                f" ({', '.join(row_notes)} of {table.read:,} read)" if row_notes else ""
            )
            for finding in table.findings.values():
                count = f"{finding.count:,} {'row' if finding.count == 1 else 'rows'}"
                if finding.rule.partition(": ")[2].startswith(
                    ("without ", "region ")
                ):  # nothing is wrong with these rows
                    yield f"  {finding.severity}: {count} {finding.message}"
                    continue
                yield f"  {finding.severity}: {finding.message}: {count}"
                yield from (f"    {offender}" for offender in finding.offenders[:3])
            yield from table.format_deviations()
            yield from table.summarize_quality()

    def _format_changes(self) -> Iterator[str]:
        for name, change in self.changes.items():
            yield change.format_text()
            if change.why:
                yield f"  everything was computed anew: {change.why}"
            if change.columns:
                yield "  differing columns: " + ", ".join(
                    f"{column} ({count:,})" for column, count in sorted(change.columns.items())
                )
            table = self.tables.get(name)
            if table is None:
                continue
            for finding in table.findings.values():
                if finding.severity == "info":
                    continue
                rows = "row" if finding.count == 1 else "rows"
                yield f"  {finding.severity}: {finding.message}: {finding.count:,} {rows} of those that were read anew"
                yield from (f"    {offender}" for offender in finding.offenders[:3])
            yield from table.format_deviations()
            yield from table.summarize_quality()

    def _format_general_notes(self) -> Iterator[str]:
        """List what is not of one table: what follows it, warnings, tests."""
        yield from (f"{name}: {table.published:,} rows, made anew from it" for name, table in self.followers.items())
        yield from (f"warning: {warning}" for warning in self.warnings)
        yield from (
            f"test {test.name}: {'passed' if test.passed else 'FAILED: ' + test.message}" for test in self.tests
        )
