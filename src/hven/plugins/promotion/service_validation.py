"""Validate the public site's TAP service after a promotion, and select what concerns the promoted tables."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.model.errors import UsageError
from hven.plugins.lint.validation import SEVERITIES, LintReport, validate_service
from hven.plugins.promotion.taplint_findings import list_taplint_findings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hven.model.settings import Settings

SERVER_DELAY_SECONDS = 2.0  # servers look for publications four times a second, and then build their pages
JSON_KEYS = ("url", "judged", "reason", "counts", "findings")


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


def validate_promoted_tables(url: str, table_names: Collection[str], all_names: Iterable[str]) -> LintReport:
    """Validate the TAP service that publishes promoted tables, as its users see it, also with taplint.

    Parameters
    ----------
    url
        Address of the TAP service.
    table_names
        Qualified names of the promoted tables.
    all_names
        Those of all tables of the service.
    """
    time.sleep(SERVER_DELAY_SECONDS)
    report = validate_service(url)
    if report.is_judged:
        report = replace(report, findings=(*report.findings, *list_taplint_findings(url, all_names)))
    return select_promoted_findings(report, table_names)


def select_promoted_findings(report: LintReport, table_names: Collection[str]) -> LintReport:
    """Keep the findings that concern promoted tables or the whole service.

    Parameters
    ----------
    report
        Findings of all tables of the service.
    table_names
        Qualified names of the promoted tables.
    """
    promoted_names = {name.lower() for name in table_names} | {""}
    findings = tuple(finding for finding in report.findings if finding.table.lower() in promoted_names)
    severities = [finding.severity for finding in findings]
    counts = {severity: severities.count(severity) for severity in reversed(SEVERITIES)}
    return replace(report, findings=findings, counts_by_severity=counts)


def write_validation_json(report: LintReport) -> dict[str, Any]:
    """Return for JSON what the report of a promotion says of the service.

    Parameters
    ----------
    report
        The findings that concern the promotion.
    """
    document = report.to_json()
    return {key: document[key] for key in JSON_KEYS}
