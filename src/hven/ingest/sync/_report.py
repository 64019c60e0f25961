"""`SyncReport`: what a sync read, and what it changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hven.ingest._report import Report

if TYPE_CHECKING:
    from hven.ingest._report import TableReport

SAMPLES = 5  # rows of each kind that a report shows


@dataclass(slots=True, kw_only=True)
class Change:
    """What changed in one table.

    Attributes
    ----------
    how
        What was read, in words: ``everything``, ``since 2026-11-18``, ``2 of 40 files``.
    added, removed, changed
        Published rows.
    columns
        Column -> in how many of the changed rows it differs.
    samples
        A few of them: ``{"change": "changed", "key": {..}, "before": {..}, "after": {..}}``; before and after have the columns that differ.
    watermark
        The largest one that the source has shown, as text.
    described
        True if the source says other units or descriptions of its columns.
    new
        True if the table was not published before, or with other columns: nothing to compare with.
    why
        Why everything was computed anew, if it was.
    read, mapped
        Source rows that were read; those of them that had to be mapped and checked.
    rows
        Rows of the table afterwards.
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
    def any(self) -> bool:
        """True if the table is another one than before."""
        return self.new or self.described or bool(self.added or self.removed or self.changed)

    def counts(self) -> dict[str, Any]:
        """Give the counts alone."""
        return {
            key: getattr(self, key)
            for key in ("how", "read", "mapped", "rows", "added", "removed", "changed", "columns", "new", "watermark")
        }

    def summary(self) -> str:
        """Tell what changed in one line."""
        if self.new:
            return f"{self.table}: {self.rows:,} rows, all new"
        pairs = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        counts = [f"{count:,} {word}" for count, word in pairs if count]
        return f"{self.table}: {', '.join(counts) or 'no change'}, {self.rows:,} rows"

    def text(self) -> str:
        """Tell it in one line, with what was read."""
        return f"{self.summary()} ({self.how} read)"


@dataclass(slots=True, kw_only=True)
class SyncReport(Report):
    """What a sync of a collection did; `tables` say what was read, mapped and rejected, as of an ingest.

    Attributes
    ----------
    changes
        Qualified table -> what changed.
    accepted
        True if guards were not to stop it.
    """

    changes: dict[str, Change] = field(default_factory=dict)
    accepted: bool = False

    @property
    def changed(self) -> bool:
        """True if any table is another one than before."""
        return any(change.any for change in self.changes.values())

    def table(self, name: str) -> Change:
        """Give what is told of a table; begin to if nothing is."""
        return self.changes.setdefault(name, Change(table=name))

    def to_json(self) -> dict[str, Any]:
        """Give the whole report as a JSON object."""
        return {**asdict(self), "changed": self.changed}

    def summary(self) -> dict[str, Any]:
        """Give the counts alone, for the system state."""
        return {
            **Report.summary(self),
            "published": self.published,
            "changes": {name: change.counts() for name, change in self.changes.items()},
        }

    def text(self) -> str:
        """Tell it to a person."""
        lines = []
        for name, change in self.changes.items():
            lines.append(change.text())
            if change.why:
                lines.append(f"  everything was computed anew: {change.why}")
            if change.columns:
                lines.append(
                    "  differing columns: " + ", ".join(f"{column} ({count:,})" for column, count in sorted(change.columns.items()))
                )
            told = self.tables.get(name)
            lines.extend(_findings(told) if told is not None else ())
        lines.extend(self._beside())
        how = "published" if self.published else "nothing was published (dry run)" if self.dry_run else "nothing to publish"
        lines.append(f"{self.collection}: {how}, {self.seconds:.1f} s")
        return "\n".join(lines)


def _findings(table: TableReport) -> list[str]:
    lines = []
    for found in table.findings.values():
        if found.severity == "info":
            continue
        lines.append(
            f"  {found.severity}: {found.message}: {found.count:,} {'row' if found.count == 1 else 'rows'} of those that were read anew"
        )
        lines.extend(f"    {offender}" for offender in found.offenders[:3])
    lines.extend(table.judged())
    return lines
