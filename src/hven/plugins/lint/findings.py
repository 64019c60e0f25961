"""Checks of lint with the rules that they follow, findings with their examples, and the report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEVERITIES = ("info", "warning", "error")
MAX_SHOWN_CHARACTERS = 200  # characters of a value that are shown
MAX_DETAIL_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LintCheck:
    """A check of lint.

    Attributes
    ----------
    code
        ``group.name``; it is stable, so that scripts can rely on it.
    severity
        ``error`` (a rule is broken), ``warning`` (clients will have trouble, or a *should* is not followed), ``info``.
    source
        The standard and its section.
    summary
        The fault in one sentence.
    remedy
        How to correct it.
    taplint_codes
        Codes of STILTS taplint that report the same.
    """

    code: str
    severity: str
    source: str
    summary: str
    remedy: str
    taplint_codes: tuple[str, ...] = ()


def parse_lint_checks(text: str) -> tuple[LintCheck, ...]:
    """Parse checks that are written in three lines each.

    Parameters
    ----------
    text
        ``code | severity | source | taplint's codes`` (these may be omitted), then the summary, then the remedy.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    checks = []
    for head, summary, remedy in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        code, severity, source, *taplint_codes = head.split(" | ")
        check = LintCheck(
            code=code,
            severity=severity,
            source=source,
            summary=summary,
            remedy=remedy,
            taplint_codes=tuple(" ".join(taplint_codes).split()),
        )
        checks.append(check)
    return tuple(checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """A fault that lint found.

    Attributes
    ----------
    count, row_count
        Number of faults, and of rows that were checked (None: rows are not counted).
    sampled
        Whether only the first rows of the table were checked, so that there may be more faults.
    key, value
        Example: key of the row (``column = value``), and the value at fault.
    """

    code: str
    severity: str
    message: str
    source: str
    remedy: str
    table: str = ""
    column: str = ""
    key: str = ""
    value: str = ""
    count: int = 1
    row_count: int | None = None
    sampled: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the finding as docs/lint-checks.md describes it."""
        example = None
        if self.key or self.value:
            example = {"key": self.key or None, "value": self.value or None}
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "source": self.source,
            "table": self.table or None,
            "column": self.column or None,
            "example": example,
            "count": self.count,
            "of": self.row_count,
            "sampled": self.sampled,
            "remedy": self.remedy,
        }


class FindingCollector:
    """Collects findings; those of one code, table and column become one finding, with the first example."""

    def __init__(self, checks: Iterable[LintCheck]) -> None:
        self._checks = {check.code: check for check in checks}
        self._findings_by_key: dict[tuple[str, str, str], LintFinding] = {}
        self.unjudged: list[tuple[str, str]] = []
        self.group = ""

    def add_finding(
        self,
        code: str,
        detail: str = "",
        *,
        table: str = "",
        column: str = "",
        key: str = "",
        value: object = None,
        count: int = 1,
        row_count: int | None = None,
        sampled: bool = False,
    ) -> None:
        """Add a finding of the check `code`; `detail` follows the check's own sentence."""
        if not code.startswith(f"{self.group}."):
            raise LookupError(f"{code} is not in the group {self.group}")
        check = self._checks[code]
        finding_key = (code, table.lower(), column.lower())
        earlier_finding = self._findings_by_key.get(finding_key)
        if earlier_finding is not None:
            self._findings_by_key[finding_key] = replace(earlier_finding, count=earlier_finding.count + count)
            return
        message = check.summary
        if detail:
            message += f": {shorten_printable_text(detail, MAX_DETAIL_CHARACTERS)}"
        shown_value = ""
        if value is not None:
            shown_value = shorten_printable_text(str(value))
        self._findings_by_key[finding_key] = LintFinding(
            code=code,
            severity=check.severity,
            message=message,
            source=check.source,
            remedy=check.remedy,
            table=table,
            column=column,
            key=shorten_printable_text(key),
            value=shown_value,
            count=count,
            row_count=row_count,
            sampled=sampled,
        )

    def add_unchecked_reason(self, reason: str) -> None:
        """Note that something of the current group could not be checked."""
        if (self.group, reason) not in self.unjudged:
            self.unjudged.append((self.group, reason))

    @property
    def findings(self) -> tuple[LintFinding, ...]:
        """All findings, in the order in which they were first added."""
        return tuple(self._findings_by_key.values())


def shorten_printable_text(text: str, max_characters: int = MAX_SHOWN_CHARACTERS) -> str:
    """Shorten a text of a service for a screen, and remove its control characters."""
    printable_text = "".join(character if character.isprintable() else " " for character in text)
    clean_text = printable_text.strip()
    if len(clean_text) <= max_characters:
        return clean_text
    return clean_text[: max_characters - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRowCoverage:
    """The part of a table that was checked.

    Attributes
    ----------
    table
        Name of the table.
    row_count
        Number of rows that were fetched.
    total_rows
        Number of rows of the table; None if the service does not tell.
    used_aggregates
        Whether the service itself checked the other rows, by conditions and counts.
    """

    table: str
    row_count: int
    total_rows: int | None
    used_aggregates: bool

    def to_json(self) -> dict[str, Any]:
        """Return the coverage as docs/lint-checks.md describes it.

        Returns
        -------
        coverage
            ``table``, ``rows``, ``total`` and ``aggregates``.
        """
        return {
            "table": self.table,
            "rows": self.row_count,
            "total": self.total_rows,
            "aggregates": self.used_aggregates,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """Result of the validation of a service.

    Attributes
    ----------
    versions
        Versions of protocols of other packages, by protocol; empty texts except for that of the service.
    service_title
        Protocol and version of the service, for people.
    """

    url: str
    is_judged: bool
    reason: str = ""
    tap_version: str = ""
    adql_versions: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    service_title: str = ""
    groups: tuple[str, ...] = ()
    findings: tuple[LintFinding, ...] = ()
    table_coverages: tuple[CheckedRowCoverage, ...] = ()
    unjudged: tuple[tuple[str, str], ...] = ()
    request_count: int = 0
    duration_seconds: float = 0.0
    counts_by_severity: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as docs/lint-checks.md describes it; `format` grows when a key changes its meaning."""
        return {
            "format": 1,
            "url": self.url,
            "judged": self.is_judged,
            "reason": self.reason or None,
            "tap": self.tap_version or None,
            "adql": list(self.adql_versions),
            **{protocol: version or None for protocol, version in self.versions.items()},
            "groups": list(self.groups),
            "counts": dict(self.counts_by_severity),
            "findings": [finding.to_json() for finding in self.findings],
            "looked": [coverage.to_json() for coverage in self.table_coverages],
            "unjudged": [{"group": group, "why": reason} for group, reason in self.unjudged],
            "requests": self.request_count,
            "seconds": round(self.duration_seconds, 2),
        }
