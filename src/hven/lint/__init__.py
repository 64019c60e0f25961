"""The validator of TAP, EPN-TAP, ObsCore and HAPI services.

It reads public addresses only, and shares no code with the checks of ingest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hven.lint.client import LintLimits, NotJudgeableError
from hven.lint.findings import SEVERITIES, FindingCollector, LintCheck, LintFinding, LintReport
from hven.lint.groups import CHECK_GROUPS
from hven.lint.hapi_server import ExaminedHapiServer
from hven.lint.tap_service import ExaminedTapService
from hven.model.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.lint.check_groups import CheckGroup

__all__ = ["CHECK_GROUPS", "SEVERITIES", "LintCheck", "LintFinding", "LintLimits", "LintReport", "validate_service"]


def validate_service(
    url: str,
    *,
    selected_codes: Sequence[str] = (),
    limits: LintLimits | None = None,
    on_group: Callable[[str], None] | None = None,
) -> LintReport:
    """Judge a service.

    Parameters
    ----------
    url
        Base address of a TAP service, or of the site whose ``/tap`` it is; of a HAPI server, which ends in ``/hapi``.
    selected_codes
        Groups (``epn``) or codes (``epn.ucd``); empty: all.
    limits
        Of requests, rows and seconds; None: the usual ones.
    on_group
        Called with the title of each group as it begins.

    Returns
    -------
    Report
        `judged` is False, with the `reason`, where there is nothing that could be judged.

    Raises
    ------
    UsageError
        `selected_codes` names no group and no code.
    """
    chosen_groups = _select_groups(selected_codes)
    start_time = time.monotonic()
    try:
        service: ExaminedTapService | ExaminedHapiServer = (
            ExaminedHapiServer if url.rstrip("/").endswith("/hapi") else ExaminedTapService
        )(url, limits or LintLimits())
    except NotJudgeableError as error:
        return LintReport(url=url, is_judged=False, reason=str(error), duration_seconds=time.monotonic() - start_time)
    chosen_groups = tuple(group for group in chosen_groups if group.protocol == service.protocol)
    collector = FindingCollector(check for group in chosen_groups for check in group.checks)
    for group in chosen_groups:
        collector.group = group.name
        if on_group is not None:
            on_group(group.title)
        try:
            group.run(service, collector)
        except UserError as error:
            collector.add_unjudged(error.message)
    wanted_codes = set(selected_codes)
    kept_findings = tuple(
        finding
        for finding in collector.findings
        if not wanted_codes or wanted_codes & {finding.code, finding.code.partition(".")[0]}
    )
    return LintReport(
        url=service.url,
        is_judged=True,
        tap_version=service.tap_version if isinstance(service, ExaminedTapService) else "",
        adql_versions=service.capabilities.adql_versions if isinstance(service, ExaminedTapService) else (),
        hapi_version=service.version if isinstance(service, ExaminedHapiServer) else "",
        groups=tuple(group.name for group in chosen_groups),
        findings=tuple(sorted(kept_findings, key=lambda finding: -SEVERITIES.index(finding.severity))),
        table_coverages=tuple(service.table_coverages),
        unjudged=tuple(collector.unjudged),
        request_count=service.client.request_count,
        duration_seconds=time.monotonic() - start_time,
        counts_by_severity={
            severity: sum(finding.severity == severity for finding in kept_findings)
            for severity in reversed(SEVERITIES)
        },
    )


def _select_groups(selected_codes: Sequence[str]) -> tuple[CheckGroup, ...]:
    names = {name for group in CHECK_GROUPS for name in (group.name, *(check.code for check in group.checks))}
    unknown_words = [word for word in selected_codes if word not in names]
    if unknown_words:
        raise UsageError(
            f"--only {unknown_words[0]}: there is no such group or code",
            remedy="groups are " + ", ".join(check_group.name for check_group in CHECK_GROUPS),
        )
    group_names = {word.partition(".")[0] for word in selected_codes}
    return tuple(group for group in CHECK_GROUPS if not group_names or group.name in group_names)
