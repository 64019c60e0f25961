"""Checks of an open site: collections and their schedules, servers, engines, sources, and files that nobody needs."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from hven.ingest.source_checks import ServerProbes, find_source_faults
from hven.jobs.health import FAILING_STATE, HELD_STATE, PAUSED_STATE, STALE_STATE, SiteHealthMonitor
from hven.plugins.operations.findings import Finding, SiteCheck, convert_fault
from hven.plugins.operations.settings_checks import find_secret_command
from hven.site import EMBEDDED_ENGINE
from hven.site.server_processes import list_server_processes
from hven.site.state_faults import find_state_faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hven.jobs.health import CollectionStatus, SiteStatus
    from hven.model.resource import CollectionSpec
    from hven.site import Site

MAX_CLOCK_DIFFERENCE_SECONDS = 5.0
ENGINE_PROBLEM_PREFIX = "engine "  # of problems that the check of the engines reports
MAX_SOURCE_CHECKS = 32  # threads at the same time; each may wait for a server
MAX_SHOWN_NAMES = 3  # of collections, in a message
MANY_FAILURES = 3  # in a row: a failure that does not pass by itself
YOUNG_SERVER_SECONDS = 60.0
LEFTOVER_AGE_SECONDS = 86_400.0  # a younger directory may belong to an ingest that runs
DAY_SECONDS = 86_400.0
CLOCK_COMMAND = "timedatectl set-ntp true"
MAX_DELETED_PATHS = 20  # of leftovers in one command
# harms of the health checks that are not "ok", and where their details are; others have checks of their own here
_HEALTH_HARMS = {"store": "error", "clock": "error", "settings": "error"}
_HEALTH_COMMANDS = {"settings": "hven check", "store": "hven status", "clock": CLOCK_COMMAND}


def _find_health_problems(site: Site) -> Iterator[Finding]:
    """Report what the health checks find, besides what other checks report in more detail."""
    monitor = site.get_or_create(SiteHealthMonitor, site)
    status = monitor.get_status(wait_seconds=None)
    for check in monitor.run_health_checks(status):
        if check.state != "ok" and check.name in _HEALTH_HARMS:
            yield Finding(
                harm=_HEALTH_HARMS[check.name],
                subject=check.name,
                message=check.message or check.reason or "",
                remedy=check.reason or "",
                command=_HEALTH_COMMANDS.get(check.name, ""),
            )
    time_before = time.time()
    state_time, _ = site.store.schedules.list_schedules()
    difference = max(time_before - state_time, state_time - time.time())
    if difference > MAX_CLOCK_DIFFERENCE_SECONDS:
        yield Finding(
            harm="error",
            subject="clock",
            message=f"the clocks of this machine and of the system state's database differ by {difference:.0f} s",
            remedy="synchronise the clocks of both machines (NTP)",
            command=CLOCK_COMMAND,
        )


def _find_collection_problems(site: Site) -> Iterator[Finding]:
    """Report damaged, stale, failing, held and paused collections, and faulty descriptors."""
    status = site.get_or_create(SiteHealthMonitor, site).get_status(wait_seconds=None)
    published_state = site.get_published_state()
    for damage in published_state.damages:
        is_lost = damage.served_snapshot is None
        yield Finding(
            harm="critical" if is_lost else "error",
            subject=damage.table,
            message=damage.owner_message,
            remedy="check the disk, then rebuild the rows from their source or restore a backup",
            command=f"hven ingest {damage.collection}",
        )
    for name, fault in sorted(published_state.descriptor_faults.items()):
        is_served = name in published_state.resources
        yield Finding(
            harm="error" if is_served else "critical",
            subject=name,
            message=fault,
            remedy="correct the descriptor",
            command=f"hven check {name}",
        )
    known_problems = {*published_state.descriptor_faults.values()}
    known_problems.update(damage.owner_message for damage in published_state.damages)
    for problem in published_state.problems:
        if problem not in known_problems and not problem.startswith(ENGINE_PROBLEM_PREFIX):
            yield Finding(harm="error", subject="site", message=problem, command="hven status")
    for collection in status.collections:
        yield from _find_schedule_problems(collection)
        yield from _find_unverified_files(collection, site.settings.health.verify_days)
    yield from _find_scheduler_problems(site, status)


def _find_schedule_problems(collection: CollectionStatus) -> Iterator[Finding]:
    name = collection.collection
    verb = "sync" if collection.timing else "ingest"
    run_message = f": {collection.message}" if collection.message else ""
    if collection.state == STALE_STATE:
        yield Finding(
            harm="error",
            subject=name,
            message=f"{name} is stale: {collection.reason}{run_message}",
            remedy="find out why no run succeeds, then start one",
            command=f"hven {verb} {name}",
        )
    elif collection.state == FAILING_STATE:
        count = f"{collection.failures} runs" if collection.failures > 1 else "the last run"
        yield Finding(
            harm="error" if collection.failures >= MANY_FAILURES else "warning",
            subject=name,
            message=f"{count} of {name} failed{run_message}",
            remedy="the published rows are unchanged; correct the cause, then start a run",
            command=f"hven {verb} {name}",
        )
    elif collection.state in {HELD_STATE, PAUSED_STATE}:
        since = (collection.held or collection.paused or "")[:10]
        yield Finding(
            harm="warning",
            subject=name,
            message=f"{name} has been {collection.state} since {since}, so it doesn't follow its source",
            remedy="resume its schedule",
            command=f"hven schedule resume {name}",
        )
    for line in collection.behind:
        yield Finding(harm="warning", subject=name, message=line, command=f"hven ingest {name}")


def _find_unverified_files(collection: CollectionStatus, interval_days: float) -> Iterator[Finding]:
    """Report files whose last verification is more than twice as long ago as it should be."""
    if not interval_days or collection.verified is None:
        return
    verified_time = datetime.fromisoformat(collection.verified)
    age_days = (datetime.now(UTC) - verified_time.replace(tzinfo=verified_time.tzinfo or UTC)).total_seconds()
    age_days /= DAY_SECONDS
    if age_days > 2 * interval_days:
        name = collection.collection
        yield Finding(
            harm="warning",
            subject=name,
            message=f"the files of {name} were last verified {age_days:.0f} days ago",
            remedy="verify the files; a server that runs the schedules does this by itself",
            command=f"hven verify {name}",
        )


def _find_scheduler_problems(site: Site, status: SiteStatus) -> Iterator[Finding]:
    scheduled = [item.collection for item in status.collections if item.timing is not None]
    is_due = not _has_young_server(site)  # it takes some seconds until a server runs the schedules
    if scheduled and status.scheduler is None and site.settings.schedule.runs and is_due:
        yield Finding(
            harm="error",
            subject="schedule",
            message=f"no server runs the schedules of {', '.join(scheduled[:5])}",
            remedy="start a server, or run this command, which runs jobs and schedules",
            command="hven work",
        )
    for alert in status.alerts:
        if alert.delivery_problem:
            yield Finding(
                harm="error",
                subject="alerts",
                message=f"an alert of {alert.at[:10]} about {alert.collection} wasn't delivered: "
                f"{alert.delivery_problem}",
                remedy="correct [alerts] in hven.toml",
                command="hven check",
            )
            break


def _has_young_server(site: Site) -> bool:
    """Return whether a server of this machine has started in the last minute."""
    youngest = datetime.now(UTC).timestamp() - YOUNG_SERVER_SECONDS
    starts = (datetime.fromisoformat(server.since) for server in list_server_processes(site.settings))
    return any(start.replace(tzinfo=start.tzinfo or UTC).timestamp() > youngest for start in starts)


def _find_server_problems(site: Site) -> Iterator[Finding]:
    """Report servers that cannot read something, or wait for a restart, and what the state has for nobody."""
    for server in list_server_processes(site.settings):
        if server.problem:
            yield Finding(harm="error", subject=server.display_name, message=server.problem, command="hven check")
        if server.waiting:
            yield Finding(
                harm="warning",
                subject=server.display_name,
                message=f"{', '.join(server.waiting)} changed in hven.toml since the server started",
                remedy="restart the server; under systemd, run this command",
                command="sudo systemctl restart hven",
            )
    for failure in sorted({failure for server in list_server_processes(site.settings) for failure in server.failures}):
        yield Finding(
            harm="warning",
            subject="counts",
            message=f"a count that pages show can't be computed: {failure}",
            remedy="a server tries it again and again; its log says more",
            command="journalctl -u hven --since -1h",
        )
    for fault in find_state_faults(site.settings):
        yield convert_fault(fault)


def _find_ignored_proxies(site: Site) -> Iterator[Finding]:
    """Report proxies that nobody trusts, so that all of their users are one user for limits, queues and jobs."""
    trust_by_peer: dict[str, bool] = {}
    for server in list_server_processes(site.settings):
        trust_by_peer |= server.forwarding_peers
    if not trust_by_peer or any(trust_by_peer.values()):  # users, too, can write the header
        return
    peers = sorted(trust_by_peer)
    yield Finding(
        harm="hint",
        subject="trusted_proxies",
        message=f"requests with X-Forwarded-For come only from {_format_names(peers)}, which `trusted_proxies` doesn't "
        "name, so Hven ignores this header",
        remedy="if this is your proxy, add its address to `trusted_proxies` in hven.toml, or set "
        "HVEN_TRUSTED_PROXIES; otherwise, all its users without an account count as one user",
        command="hven check",
    )


def _find_engine_problems(site: Site) -> Iterator[Finding]:
    for problem in site.probe_engines():
        yield Finding(
            harm="critical" if problem.endswith("not served") else "error",
            subject="engine",
            message=problem,
            remedy="start the database, or correct its address; Hven then continues by itself. This command says more",
            command="hven status",
        )
    for hint in site.list_missing_indexes():
        yield Finding(harm="hint", subject="index", message=hint)


def _find_leftover_snapshots(site: Site) -> Iterator[Finding]:
    """Report directories of snapshots that the system state does not know: a crashed run left them."""
    kept_paths = site.store.map_kept_snapshot_paths().get(EMBEDDED_ENGINE, set())
    directory = site.settings.data_directory / "snapshots"
    youngest = time.time() - LEFTOVER_AGE_SECONDS
    leftovers = [
        path
        for path in sorted(directory.glob("*/*"))
        if str(path.relative_to(directory)) not in kept_paths and _is_older(path, youngest)
    ]
    if leftovers:
        count_text = "a snapshot"
        if len(leftovers) > 1:
            count_text = f"{len(leftovers)} snapshots"
        verb = "takes"
        if len(leftovers) > 1:
            verb = "take"
        yield Finding(
            harm="hint",
            subject=str(directory),
            message=f"{count_text} of crashed runs {verb} up space, for example {leftovers[0]}",
            remedy="delete these directories; the next ingest of any collection does that, too",
            command=shlex.join(["rm", "-r", "--", *map(str, leftovers[:MAX_DELETED_PATHS])]),
        )


def _is_older(path: Path, unix_time: float) -> bool:
    try:
        return path.is_dir() and path.stat().st_mtime < unix_time
    except OSError:  # deleted meanwhile
        return False


PUBLISHED_CHECKS: tuple[SiteCheck[Site], ...] = (
    SiteCheck(name="health", title="the health of the site", find=_find_health_problems),
    SiteCheck(name="collections", title="the state of the collections", find=_find_collection_problems),
    SiteCheck(name="servers", title="the state of the servers", find=_find_server_problems),
    SiteCheck(name="proxies", title="the look at proxies", find=_find_ignored_proxies),
    SiteCheck(name="engines", title="the connection to the engines", find=_find_engine_problems),
    SiteCheck(name="leftovers", title="the search for files of crashed runs", find=_find_leftover_snapshots),
)


def list_source_checks(site: Site) -> list[SiteCheck[Site]]:
    """List checks of the secrets and servers that the sources of collections need.

    Each check is of one collection, or of several if there are many: a check is a thread. They share the probes of
    servers, because many collections may read one database.

    Parameters
    ----------
    site
        The site.
    """
    resources = list(site.get_published_state().resources.values())
    server_probes = ServerProbes()
    groups = [resources[number::MAX_SOURCE_CHECKS] for number in range(min(len(resources), MAX_SOURCE_CHECKS))]
    return [
        SiteCheck(
            name="sources",
            title=f"the connection to the sources of {_format_names([resource.name for resource in group])}",
            find=partial(_find_source_problems, group, server_probes),
        )
        for group in groups
    ]


def _format_names(names: list[str]) -> str:
    further_count = len(names) - MAX_SHOWN_NAMES
    shown_names = ", ".join(names[:MAX_SHOWN_NAMES])
    if further_count > 0:
        return f"{shown_names} and {further_count} more"
    return shown_names


def _find_source_problems(
    resources: Iterable[CollectionSpec], server_probes: ServerProbes, site: Site
) -> Iterator[Finding]:
    for resource in resources:
        directory = site.settings.locate_descriptor(resource.name).parent
        for fault in find_source_faults(resource, directory, site.settings, server_probes):
            finding = convert_fault(fault, resource.name)
            yield replace(finding, command=finding.command or find_secret_command(site.settings, fault.message))
