"""Validate the public site's TAP service after a promotion, and select what concerns the promoted tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.errors import UsageError
from hven.plugins.lint.validation import SEVERITIES, LintReport, validate_service

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.settings import Settings
    from hven.plugins.lint.validation import LintFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionValidation:
    """What `hven lint` finds in the service of the public site after a promotion.

    Attributes
    ----------
    url
        Address of the TAP service.
    reason
        Why the service could not be validated; empty: it was.
    findings
        Findings of the promoted tables, and those of the whole service, which name no table.
    """

    url: str
    reason: str = ""
    findings: tuple[LintFinding, ...] = ()

    @property
    def error_count(self) -> int:
        """Number of findings that break a standard."""
        return self.counts_by_severity["error"]

    @property
    def counts_by_severity(self) -> dict[str, int]:
        """Number of findings of each severity, the worst first."""
        severities = [finding.severity for finding in self.findings]
        return {severity: severities.count(severity) for severity in reversed(SEVERITIES)}

    def to_json(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "url": self.url,
            "judged": not self.reason,
            "reason": self.reason or None,
            "counts": self.counts_by_severity,
            "findings": [finding.to_json() for finding in self.findings],
        }


def find_service_address(settings: Settings) -> str:
    """Return the address of the TAP service of the public site.

    Parameters
    ----------
    settings
        Settings of the public site.

    Raises
    ------
    UsageError
        The settings do not give the site an address.
    """
    if settings.public_url is None:
        raise UsageError(
            f"--lint: {settings.directory} has no address that can be validated",
            remedy="set public_url in the hven.toml of the public site, or omit --lint",
        )
    return f"{settings.public_url.rstrip('/')}/tap"


def validate_promoted_tables(url: str, table_names: Sequence[str]) -> PromotionValidation:
    """Validate the TAP service that publishes promoted tables, as its users see it.

    Parameters
    ----------
    url
        Address of the TAP service.
    table_names
        Qualified names of the promoted tables.
    """
    report = validate_service(url)
    if not report.is_judged:
        return PromotionValidation(url=url, reason=report.reason)
    return select_promoted_findings(report, table_names)


def select_promoted_findings(report: LintReport, table_names: Collection[str]) -> PromotionValidation:
    """Select the findings that concern promoted tables or the whole service.

    Parameters
    ----------
    report
        Findings of all tables of the service.
    table_names
        Qualified names of the promoted tables.
    """
    promoted_names = {name.lower() for name in table_names} | {""}
    findings = tuple(finding for finding in report.findings if finding.table.lower() in promoted_names)
    return PromotionValidation(url=report.url, findings=findings)
