"""The validator of TAP, EPN-TAP and ObsCore services, and those of other packages, which reads public addresses only.

It shares no code with the checks of ingest, so that a fault of one does not hide in the other.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hven.model.errors import UsageError, UserError
from hven.plugins.lint.client import LintRequestLimits, ServiceNotCheckableError
from hven.plugins.lint.findings import (
    SEVERITIES,
    CheckedRowCoverage,
    FindingCollector,
    LintCheck,
    LintFinding,
    LintReport,
)
from hven.plugins.lint.groups import CHECK_GROUPS
from hven.plugins.lint.service_kinds import find_service_kind, load_service_kinds
from hven.plugins.lint.tap_service import ExaminedTapService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.plugins.lint.check_groups import CheckGroup
    from hven.plugins.lint.service_kinds import ExaminedService

__all__ = [
    "CHECK_GROUPS",
    "SEVERITIES",
    "CheckedRowCoverage",
    "LintCheck",
    "LintFinding",
    "LintReport",
    "LintRequestLimits",
    "list_check_groups",
    "validate_service",
]


def validate_service(
    url: str,
    *,
    selected_codes: Sequence[str] = (),
    limits: LintRequestLimits | None = None,
    on_group: Callable[[str], None] | None = None,
) -> LintReport:
    """Validate a service.

    Parameters
    ----------
    url
        Base address of a TAP service, or of the site that has it at ``/tap``; or of a service that another package
        validates.
    selected_codes
        Groups (``epn``) or codes (``epn.ucd``) that are checked; empty: all.
    limits
        Limits of requests, rows and seconds; None: the usual ones.
    on_group
        Called with the title of each group before it is checked.

    Returns
    -------
    report
        Findings; `is_judged` is False, with the `reason`, if nothing could be checked.

    Raises
    ------
    UsageError
        `selected_codes` has a word that is no group and no code.
    """
    chosen_groups = _select_check_groups(selected_codes)
    start_time = time.monotonic()
    versions = {kind.protocol: "" for kind in load_service_kinds()}
    kind = find_service_kind(url)
    service_class: Callable[[str, LintRequestLimits], ExaminedTapService | ExaminedService] = ExaminedTapService
    if kind is not None:
        service_class = kind.service_class
    try:
        service = service_class(url, limits or LintRequestLimits())
    except ServiceNotCheckableError as error:
        duration_seconds = time.monotonic() - start_time
        return LintReport(
            url=url, is_judged=False, reason=str(error), versions=versions, duration_seconds=duration_seconds
        )
    chosen_groups = tuple(group for group in chosen_groups if group.protocol == service.protocol)
    collector = FindingCollector(check for group in chosen_groups for check in group.checks)
    for group in chosen_groups:
        collector.group = group.name
        if on_group is not None:
            on_group(group.title)
        try:
            group.run(service, collector)
        except UserError as error:
            collector.add_unchecked_reason(error.message)
    findings = _select_findings(collector.findings, selected_codes)
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    counts_by_severity = {}
    for severity in reversed(SEVERITIES):
        counts_by_severity[severity] = sum(finding.severity == severity for finding in findings)
    service_values: dict[str, Any] = {}
    if isinstance(service, ExaminedTapService):
        adql_versions = service.capabilities.adql_versions
        service_values["tap_version"] = service.tap_version
        service_values["adql_versions"] = adql_versions
        service_values["service_title"] = f"TAP {service.tap_version or '?'}, ADQL {', '.join(adql_versions) or '?'}"
    elif kind is not None:
        versions[kind.protocol] = service.version
        service_values["service_title"] = f"{kind.title} {service.version}"
    return LintReport(
        url=service.url,
        is_judged=True,
        groups=tuple(group.name for group in chosen_groups),
        findings=tuple(findings),
        table_coverages=tuple(service.table_coverages),
        unjudged=tuple(collector.unjudged),
        request_count=service.client.request_count,
        duration_seconds=time.monotonic() - start_time,
        counts_by_severity=counts_by_severity,
        versions=versions,
        **service_values,
    )


def list_check_groups() -> tuple[CheckGroup, ...]:
    """List all groups of checks: those of this package, then those of other packages."""
    package_groups = [group for kind in load_service_kinds() for group in kind.groups]
    return (*CHECK_GROUPS, *package_groups)


def _select_findings(findings: Iterable[LintFinding], selected_codes: Sequence[str]) -> list[LintFinding]:
    """Select the findings of the chosen groups and codes; all if none was chosen."""
    if not selected_codes:
        return list(findings)
    chosen_findings = []
    for finding in findings:
        group_name = finding.code.partition(".")[0]
        if finding.code in selected_codes or group_name in selected_codes:
            chosen_findings.append(finding)
    return chosen_findings


def _select_check_groups(selected_codes: Sequence[str]) -> tuple[CheckGroup, ...]:
    known_words: set[str] = set()
    check_groups = list_check_groups()
    for group in check_groups:
        known_words.add(group.name)
        known_words.update(check.code for check in group.checks)
    unknown_words = [word for word in selected_codes if word not in known_words]
    if unknown_words:
        group_names = ", ".join(group.name for group in check_groups)
        raise UsageError(
            f"--only: there is no group or code {unknown_words[0]!r}",
            remedy=f"choose one of the groups {group_names}",
        )
    chosen_names = {word.partition(".")[0] for word in selected_codes}
    return tuple(group for group in check_groups if not chosen_names or group.name in chosen_names)
