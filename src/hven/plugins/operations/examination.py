"""Examine a site: run all checks at once, each in a thread of its own, until one deadline.

A check that has not ended by then, or that fails, is a finding itself. So nothing that hangs, such as a database or a
name server, holds up the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.jobs.health import SiteHealthMonitor
from hven.model import plugins
from hven.model.errors import HvenError
from hven.plugins.operations.findings import CHECKS_POINT, HARMS, Finding, SiteCheck, sort_findings
from hven.plugins.operations.published_checks import PUBLISHED_CHECKS, list_source_checks
from hven.plugins.operations.settings_checks import SETTINGS_CHECKS, list_package_checks
from hven.plugins.operations.state_format import StateFormat, read_state_format
from hven.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.settings import Settings

log = logging.getLogger("hven.doctor")
DEFAULT_TIME_LIMIT_SECONDS = 3.0
MAX_FINDINGS_PER_CHECK = 200
STATE_SUBJECT = "system state"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteExamination:
    """The result of an examination.

    Attributes
    ----------
    findings
        The most harmful first.
    duration_seconds
        How long it took.
    """

    findings: Sequence[Finding]
    duration_seconds: float

    def count_by_harm(self) -> dict[str, int]:
        """Count the findings of each harm that there is, the worst first."""
        counts = {harm: sum(finding.harm == harm for finding in self.findings) for harm in HARMS}
        return {harm: count for harm, count in counts.items() if count}


class _CheckRun:
    """A check that runs in a thread: its findings so far, or the error that ended it.

    The end of the process does not wait for the thread.
    """

    def __init__(self, check: SiteCheck[Any], argument: Any) -> None:
        self._check = check
        self._argument = argument
        self._findings: list[Finding] = []
        self._thread = threading.Thread(target=self._run_check, name=f"check {check.name}", daemon=True)
        self._thread.start()

    def _run_check(self) -> None:
        check = self._check
        try:
            for finding in check.find(self._argument):
                if len(self._findings) >= MAX_FINDINGS_PER_CHECK:
                    return
                self._findings.append(replace(finding, check=check.name))
        except HvenError as error:
            self._findings.append(_build_error_finding(check, error.message, error.remedy))
        except Exception as error:
            log.exception("the check %s failed", check.name)
            origin = plugins.describe_error_origin(error)
            self._findings.append(_build_error_finding(check, f"the check failed in {origin}: {type(error).__name__}"))

    def wait(self, deadline: float) -> bool:
        """Wait until the check has ended or the time is over; return whether it has ended."""
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        return not self._thread.is_alive()

    def collect_findings(self, deadline: float, time_limit_seconds: float) -> list[Finding]:
        """Wait until the check has ended or the time is over, and return what it has found so far."""
        has_ended = self.wait(deadline)
        findings = list(self._findings)
        if not has_ended:
            more_seconds = round(10 * time_limit_seconds)
            findings.append(
                Finding(
                    harm="warning",
                    subject=self._check.name,
                    message=f"{self._check.title} had no result within {time_limit_seconds:g} s",
                    remedy="find out what does not respond, or give the checks more time",
                    command=f"hven doctor --seconds {more_seconds}",
                    check=self._check.name,
                )
            )
        return findings


def _build_error_finding(check: SiteCheck[Any], message: str, remedy: str = "") -> Finding:
    return Finding(
        harm="error", subject=check.name, message=message, remedy=remedy, command="hven check", check=check.name
    )


def inspect_settings(settings: Settings, time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS) -> SiteExamination:
    """Examine a site that this process has not opened.

    Opening a system state upgrades it. So the site is opened only if its state has the format of this Hven.

    Parameters
    ----------
    settings
        Settings of the site.
    time_limit_seconds
        Time for all checks together.
    """
    start_time = time.monotonic()
    deadline = start_time + time_limit_seconds
    state_formats: list[StateFormat] = []
    opened_sites: list[Site] = []
    format_run = _CheckRun(
        SiteCheck(name=STATE_SUBJECT, title="the connection to the system state", find=_find_format_problems),
        (settings, state_formats),
    )
    runs = [_CheckRun(check, settings) for check in (*SETTINGS_CHECKS, *list_package_checks())]
    findings = format_run.collect_findings(deadline, time_limit_seconds)
    if any(state_format.can_open for state_format in state_formats):
        opening_run = _CheckRun(
            SiteCheck(name="site", title="opening the site", find=_find_opening_problems), (settings, opened_sites)
        )
        findings += opening_run.collect_findings(deadline, time_limit_seconds)
    sites = list(opened_sites)  # one that opens after the deadline is not examined
    for site in sites:
        runs += _start_site_checks(site, deadline)
    for run in runs:
        findings += run.collect_findings(deadline, time_limit_seconds)
    for site in sites:
        findings = _redact_findings(findings, site)
        _close_site(site, deadline)
    return SiteExamination(findings=sort_findings(findings), duration_seconds=time.monotonic() - start_time)


def inspect_site(site: Site, time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS) -> SiteExamination:
    """Examine a site that this process has opened.

    Parameters
    ----------
    site
        The site.
    time_limit_seconds
        Time for all checks together.
    """
    start_time = time.monotonic()
    deadline = start_time + time_limit_seconds
    runs = [_CheckRun(check, site.settings) for check in (*SETTINGS_CHECKS, *list_package_checks())]
    runs += _start_site_checks(site, deadline)
    findings = [finding for run in runs for finding in run.collect_findings(deadline, time_limit_seconds)]
    return SiteExamination(
        findings=sort_findings(_redact_findings(findings, site)), duration_seconds=time.monotonic() - start_time
    )


def _find_format_problems(argument: tuple[Settings, list[StateFormat]]) -> Iterable[Finding]:
    settings, state_formats = argument
    state_format = read_state_format(settings)
    state_formats.append(state_format)
    return state_format.findings


def _find_opening_problems(argument: tuple[Settings, list[Site]]) -> Iterable[Finding]:
    """Open a site; an error is a finding."""
    settings, opened_sites = argument
    opened_sites.append(Site(settings))
    return ()


def _start_site_checks(site: Site, deadline: float) -> list[_CheckRun]:
    """Start the checks of this package, and those that other packages and the sources of collections add."""
    further_checks: list[SiteCheck[Any]] = []
    listing_run = _CheckRun(
        SiteCheck(name="site", title="the published state", find=_list_further_checks), (site, further_checks)
    )
    runs = [_CheckRun(check, site) for check in PUBLISHED_CHECKS]
    listing_run.wait(deadline)
    return [listing_run, *runs, *(_CheckRun(check, site) for check in list(further_checks))]


def _list_further_checks(argument: tuple[Site, list[SiteCheck[Any]]]) -> Iterable[Finding]:
    site, further_checks = argument
    further_checks += [module.CHECK for module in plugins.load_extensions(CHECKS_POINT)]
    further_checks += list_source_checks(site)
    return ()


def _redact_findings(findings: Iterable[Finding], site: Site) -> list[Finding]:
    redact: Callable[[str], str] = site.get_or_create(SiteHealthMonitor, site).get_redactor().redact_text
    return [
        replace(
            finding,
            subject=redact(finding.subject),
            message=redact(finding.message),
            remedy=redact(finding.remedy),
            command=redact(finding.command),
        )
        for finding in findings
    ]


def _close_site(site: Site, deadline: float) -> None:
    """Close a site, without waiting for an engine that hangs."""
    thread = threading.Thread(target=site.close, name="close site", daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0.5))
