"""`Report`: what an ingest read, left out, found wrong and published - for people, for scripts, and for the system state."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

OFFENDERS = 10  # first offenders of each rule that the report shows; the rejects file has them all

RULES = 500  # different rules that are counted one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Offender:
    """One row that breaks a rule: where it stands in the source, and the value."""

    file: str | None
    row: int | None
    column: str | None
    value: str | None

    def __str__(self) -> str:
        row = f"row {self.row:,}" if self.row is not None else ""  # of the data: a header and comments are not counted
        where = " ".join(part for part in (self.file, row) if part) or "?"
        value = " ".join(str(self.value).split())[:80] if self.value is not None else None  # on one line
        what = f": {self.column} = {value}" if self.column else f": {value}" if value else ""
        return where + what


@dataclass(slots=True, kw_only=True)
class Finding:
    """How often a rule was broken, and by whom first. Severity ``error``: the rows were kept aside; ``warning``: published all the same."""

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
    seconds
        Time by step: read, map, check, stage (these overlap), finish.
    """

    table: str
    read: int = 0
    skipped: int = 0
    rejected: int = 0
    published: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    snapshot: str | None = None
    bytes: int = 0
    rejects: str | None = None

    def find(self, rule: str, message: str, severity: str, count: int, offenders: list[Offender]) -> None:
        """Count rows that break a rule; the first few are kept."""
        if rule not in self.findings and len(self.findings) >= RULES:
            rule, message = f"other {severity}s", f"other {severity}s"
        known = self.findings.setdefault(rule, Finding(rule=rule, message=message, severity=severity))
        known.count += count
        known.offenders.extend(offenders[: OFFENDERS - len(known.offenders)])

    def spend(self, step: str, since: float) -> float:
        """Book the time since `since` on a step; gives the time of now."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - since
        return now


@dataclass(slots=True, kw_only=True)
class TestResult:
    """One of the descriptor's tests."""

    name: str
    passed: bool
    message: str = ""


@dataclass(slots=True, kw_only=True)
class Report:
    """What an ingest of a collection did.

    Attributes
    ----------
    published
        True if readers see the new rows.
    path
        Where this report stands as JSON.
    """

    collection: str
    run: str
    started: str
    tables: dict[str, TableReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    seconds: float = 0.0
    published: bool = False
    sample: int | None = None
    dry_run: bool = False
    error: str | None = None
    path: str | None = None

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.published for table in self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """Give the whole report as a JSON object."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """Give the counts alone, for the system state."""
        keys = ("read", "skipped", "rejected", "published", "snapshot")
        tables = {name: {key: getattr(table, key) for key in keys} for name, table in self.tables.items()}
        return {
            "tables": tables,
            "seconds": round(self.seconds, 3),
            "warnings": len(self.warnings),
            "sample": self.sample,
            "dry_run": self.dry_run,
        }

    def write(self, directory: Path) -> None:
        """Write the report beside the rejects of its run."""
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / "report.json"
        self.path = str(target)
        target.write_text(json.dumps(self.to_json(), indent=1, default=str), encoding="utf-8")

    def text(self) -> str:
        """Tell it to a person."""
        lines = []
        for name, table in self.tables.items():
            rest = [f"{count:,} {word}" for count, word in ((table.skipped, "left out by where"), (table.rejected, "rejected")) if count]
            lines.append(f"{name}: {table.published:,} rows" + (f" ({', '.join(rest)} of {table.read:,} read)" if rest else ""))
            for found in table.findings.values():
                lines.append(f"  {found.severity}: {found.message}: {found.count:,} {'row' if found.count == 1 else 'rows'}")
                lines.extend(f"    {offender}" for offender in found.offenders[:3])
            if table.rejects:
                lines.append(f"  kept aside in {table.rejects}")
        lines.extend(f"warning: {warning}" for warning in self.warnings)
        lines.extend(f"test {test.name}: {'passed' if test.passed else 'FAILED: ' + test.message}" for test in self.tests)
        how = "published" if self.published else "nothing was published (dry run)" if self.dry_run else "nothing was published"
        lines.append(f"{self.collection}: {self.rows:,} rows in {self.seconds:.1f} s, {how}")
        return "\n".join(lines)
