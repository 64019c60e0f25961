"""Validate the public site's TAP service after a promotion, and select what concerns the promoted tables."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError, UsageError
from hven.plugins.lint.validation import SEVERITIES, LintReport, validate_service
from hven.plugins.promotion.taplint_findings import list_taplint_findings
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hven.model.settings import Settings

MAX_WAIT_SECONDS = 10.0  # for servers that look for publications four times a second, and then build their pages
POLL_INTERVAL_SECONDS = 0.1
REQUEST_TIMEOUT_SECONDS = 5.0
CONFIRMATIONS = 4  # answers in a row: each process of a server looks for publications by itself
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


def validate_promoted_tables(
    url: str, table_names: Collection[str], all_names: Iterable[str], state_version: str
) -> LintReport:
    """Validate the TAP service that publishes promoted tables, as its users see it, also with taplint.

    Parameters
    ----------
    url
        Address of the TAP service.
    table_names
        Qualified names of the promoted tables.
    all_names
        Those of all tables of the service.
    state_version
        Version of the published state with the promoted tables.
    """
    wait_for_published_state(url, state_version)
    report = validate_service(url)
    if report.is_judged:
        report = replace(report, findings=(*report.findings, *list_taplint_findings(url, all_names)))
    return select_promoted_findings(report, table_names)


def wait_for_published_state(url: str, state_version: str) -> bool:
    """Wait until the servers of a TAP service show a published state, at most `MAX_WAIT_SECONDS`.

    The entity tag of ``/tables`` has the version of the state.

    Parameters
    ----------
    url
        Address of the TAP service.
    state_version
        Version of the published state.

    Returns
    -------
    is_shown
        Whether they show it. A service that does not answer is not awaited: its validation says so.
    """
    # a blind review adds the names of its collections after ~
    expected_part = f"-{state_version.partition('~')[0]}"
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    confirmation_count = 0
    while confirmation_count < CONFIRMATIONS:
        try:
            answer = http_client.send_request_once(
                "HEAD", f"{url}/tables", timeout_seconds=REQUEST_TIMEOUT_SECONDS, allow_private=True
            )
        except HvenError:
            return False
        if expected_part in answer.headers.get("etag", ""):
            confirmation_count += 1
            continue
        confirmation_count = 0
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL_SECONDS)
    return True


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
