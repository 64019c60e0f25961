"""What lint says: checks (what is looked for, by whose rule), findings (what was found, with an example), and the report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEVERITIES = ("info", "warning", "error")
LONGEST = 200  # characters of a value that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is looked for.

    Attributes
    ----------
    code
        ``group.name``, stable: scripts may rely on it.
    severity
        ``error`` (a rule is broken), ``warning`` (clients will stumble, or a *should* is not kept), ``info``.
    source
        The standard and the section that say so.
    says
        What is wrong, in one sentence.
    remedy
        What to do about it.
    like
        The codes of STILTS taplint that report the same.
    """

    code: str
    severity: str
    source: str
    says: str
    remedy: str
    like: tuple[str, ...] = ()


def table_of_checks(*rows: tuple[str, str, str, str, str, str]) -> tuple[Check, ...]:
    """Build checks of rows: code, severity, source, says, remedy, taplint's codes (separated by blanks)."""
    return tuple(
        Check(code=a, severity=b, source=c, says=d, remedy=e, like=tuple(f.split())) for a, b, c, d, e, f in rows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found.

    Attributes
    ----------
    count, of
        How often, among how many (None: nothing that is counted in rows).
    sampled
        True: only the first rows of the table were looked at, so there may be more.
    key, value
        The example: the row's key (``column = value``) and the value at fault.
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
    of: int | None = None
    sampled: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/reference/lint.md describes."""
        example = {"key": self.key or None, "value": self.value or None} if self.key or self.value else None
        return {
            "code": self.code, "severity": self.severity, "message": self.message, "source": self.source, "table": self.table or None,
            "column": self.column or None, "example": example, "count": self.count, "of": self.of, "sampled": self.sampled,
            "remedy": self.remedy,
        }  # fmt: skip


class Notes:
    """Findings as they are made; those of one code, table and column become one finding, with the first example."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self._checks = {check.code: check for check in checks}
        self._found: dict[tuple[str, str, str], Finding] = {}
        self.unjudged: list[tuple[str, str]] = []
        self.group = ""

    def tell(
        self,
        code: str,
        detail: str = "",
        *,
        table: str = "",
        column: str = "",
        key: str = "",
        value: object = None,
        count: int = 1,
        of: int | None = None,
        sampled: bool = False,
    ) -> None:
        """Note a finding of the check `code`; `detail` stands behind the check's own sentence."""
        if not code.startswith(f"{self.group}."):
            raise LookupError(f"{code} is not of the group {self.group}")
        check = self._checks[code]
        place = (code, table.lower(), column.lower())
        before = self._found.get(place)
        if before is not None:
            self._found[place] = replace(before, count=before.count + count)
            return
        self._found[place] = Finding(
            code=code, severity=check.severity, message=check.says + (f": {cut(detail, 400)}" if detail else ""), source=check.source,
            remedy=check.remedy, table=table, column=column, key=cut(key), value="" if value is None else cut(str(value)), count=count,
            of=of, sampled=sampled,
        )  # fmt: skip

    def skip(self, why: str) -> None:
        """Note that something of this group could not be judged."""
        if (self.group, why) not in self.unjudged:
            self.unjudged.append((self.group, why))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order they were first made."""
        return tuple(self._found.values())


def cut(text: str, longest: int = LONGEST) -> str:
    """Shorten a stranger's text for a screen: no control characters, not endless."""
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How much of a table was looked at: `rows` of `total` (None: the service would not say)."""

    table: str
    rows: int
    total: int | None
    aggregates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that lint has to say about a service."""

    url: str
    judged: bool
    reason: str = ""
    tap: str = ""
    adql: tuple[str, ...] = ()
    hapi: str = ""
    groups: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    looked: tuple[Looked, ...] = ()
    unjudged: tuple[tuple[str, str], ...] = ()
    requests: int = 0
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)

    def worst(self) -> str:
        """Return the gravest severity among the findings; empty: there are none."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default="")

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/reference/lint.md describes; `format` counts up when a key changes its meaning."""
        return {
            "format": 1, "url": self.url, "judged": self.judged, "reason": self.reason or None, "tap": self.tap or None,
            "adql": list(self.adql), "hapi": self.hapi or None, "groups": list(self.groups), "counts": dict(self.counts),
            "findings": [finding.to_json() for finding in self.findings],
            "looked": [{"table": one.table, "rows": one.rows, "total": one.total, "aggregates": one.aggregates} for one in self.looked],
            "unjudged": [{"group": group, "why": why} for group, why in self.unjudged],
            "requests": self.requests, "seconds": round(self.seconds, 2),
        }  # fmt: skip
