"""Tell curators what happened to their collections on a day: runs, refused rows, late sources, dead links and so on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.jobs.health import FAILING_STATE, HELD_STATE, PAUSED_STATE, STALE_STATE, SiteHealthMonitor
from hven.plugins.operations.cited_counts import CitableResultReader
from hven.plugins.operations.disk_forecast import find_disk_problems
from hven.plugins.operations.link_checks import read_link_check
from hven.plugins.operations.mending_lines import write_mending_line
from hven.plugins.operations.query_log import SlowQueryLog, group_queries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.plugins.operations.cited_counts import CitableResult
    from hven.plugins.operations.link_checks import LinkCheck
    from hven.site import Site
    from hven.site.store.ingest_runs import IngestRun

MAX_RUNS = 1000  # of a collection that are looked at
MAX_RUN_LINES = 20  # of a day; a collection that syncs each minute has one line for the rest
MAX_REPORT_BYTES = 2 * 1024**2
MAX_RULES, MAX_SLOW_GROUPS, MAX_DEAD_LINKS, MAX_ADDRESSES = 5, 3, 5, 3
REPORTED_STATES = {STALE_STATE, FAILING_STATE, HELD_STATE, PAUSED_STATE}
SHOWN_TEXT_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MorningLine:
    """One thing that happened.

    Attributes
    ----------
    kind
        ``changed``, ``refused``, ``failed``, ``late``, ``dead links``, ``slow``, ``cited`` or ``disk``.
    text
        What happened.
    command
        The command that mends it or shows more; empty if there is none.
    """

    kind: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDay:
    """What happened to a collection, or to the whole site, on a day (UTC).

    Attributes
    ----------
    name, title
        Those of the collection; an empty name and the title of the site for what concerns all collections.
    day
        The day.
    updated
        When the last of it happened, as ISO time.
    lines
        What happened.
    """

    name: str
    title: str
    day: date
    updated: str
    lines: Sequence[MorningLine]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        lines = [asdict(line) for line in self.lines]
        return {"collection": self.name, "title": self.title, "day": f"{self.day}", "lines": lines}


def list_collection_days(site: Site, names: Collection[str], day_count: int) -> list[CollectionDay]:
    """List what happened to some collections on the last days, the newest first.

    Parameters
    ----------
    site
        The site.
    names
        The collections that the reader curates.
    day_count
        Number of days, with the present one.
    """
    now = datetime.now(UTC)
    first_day = now.date() - timedelta(days=day_count - 1)
    redact = site.get_or_create(SiteHealthMonitor, site).get_redactor().redact_text
    slow_queries = SlowQueryLog(site.settings).read_entries(f"{first_day}")
    cited_results = site.store.get_or_create(CitableResultReader).list_new_citable_results(f"{first_day}")
    present_lines = _find_current_problem_lines(site)
    collection_days = []
    disk_lines = []
    if names:
        disk_lines = list(_describe_disk(site))
    if disk_lines:
        collection_days.append(
            CollectionDay(
                name="",
                title=site.settings.title or site.settings.name,
                day=now.date(),
                updated=f"{now.date()}T00:00:00Z",
                lines=disk_lines,
            )
        )
    for name, resource in sorted(site.get_published_state().resources.items()):
        if name not in names:
            continue
        runs = site.store.runs.list_runs(name, row_limit=MAX_RUNS)
        link_check = read_link_check(site.settings, name)
        own_results = [result for result in cited_results if name in result.collections]
        for age in range(day_count):
            day = now.date() - timedelta(days=age)
            day_runs = [run for run in runs if (run.ended or "").startswith(f"{day}")]
            lines = list(_describe_runs(day_runs, resource))
            lines += _describe_slow_queries(
                [entry for entry in slow_queries if entry["time"].startswith(f"{day}")], name
            )
            day_results = [result for result in own_results if result.time.startswith(f"{day}")]
            lines += _describe_citable_results(day_results, site.settings.site_url)
            times = [run.ended or "" for run in day_runs]
            if link_check is not None and link_check.time.startswith(f"{day}"):
                lines += _describe_dead_links(link_check, name)
                times.append(link_check.time)
            updated = max([*times, *(result.time for result in day_results)], default="")[:19] or f"{day}T00:00:00"
            if not age:
                lines += present_lines.get(name, ())
            if lines:
                redacted_lines = [
                    MorningLine(kind=line.kind, text=redact(line.text), command=line.command) for line in lines
                ]
                collection_days.append(
                    CollectionDay(
                        name=name, title=resource.title or name, day=day, updated=f"{updated}Z", lines=redacted_lines
                    )
                )
    return sorted(collection_days, key=lambda item: item.day, reverse=True)


def _describe_runs(runs: Sequence[IngestRun], resource: CollectionSpec) -> Iterator[MorningLine]:
    for run in runs[:MAX_RUN_LINES]:
        when = (run.ended or "")[11:16]
        if run.phase != "COMPLETED":
            message = run.message or "it was stopped"
            yield MorningLine(
                kind="failed",
                text=f"{when} the {run.kind} failed: {message}",
                command=f"hven {run.kind} {run.collection}",
            )
            continue
        counts = [text for text in _describe_changes(run.summary) if text]
        if counts:
            yield MorningLine(kind="changed", text=f"{when} {run.kind}: {'; '.join(counts)}")
        yield from _describe_refused_rows(run, resource)
    if len(runs) > MAX_RUN_LINES:
        name = runs[0].collection
        text = _count_things(len(runs) - MAX_RUN_LINES, "earlier run")
        yield MorningLine(kind="changed", text=text, command=f"hven history {name}")


def _count_things(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def _describe_dead_links(link_check: LinkCheck, name: str) -> Iterator[MorningLine]:
    command = f"hven check {name} --links"
    for message in link_check.messages[:MAX_DEAD_LINKS]:
        yield MorningLine(kind="dead links", text=message, command=command)
    if link_check.dead_count > MAX_DEAD_LINKS:
        text = _count_things(link_check.dead_count - MAX_DEAD_LINKS, "more dead link")
        yield MorningLine(kind="dead links", text=text, command=command)


def _describe_citable_results(results: Sequence[CitableResult], site_url: str) -> Iterator[MorningLine]:
    if results:
        addresses = [f"{site_url}/results/{result.id}" for result in results[:MAX_ADDRESSES]]
        suffix = ""
        if len(results) > MAX_ADDRESSES:
            suffix = ", .."
        text = f"{_count_things(len(results), 'result')} with an address to cite: {', '.join(addresses)}{suffix}"
        yield MorningLine(kind="cited", text=text)


def _describe_disk(site: Site) -> Iterator[MorningLine]:
    """Tell curators that a disk is or will be full, without the names of directories, which only operators see."""
    for finding in find_disk_problems(site.settings):
        text = finding.message.replace(f" of {finding.subject}", "").replace(finding.subject, "its directory")
        yield MorningLine(kind="disk", text=text)


def _describe_changes(summary: Mapping[str, Any]) -> Iterator[str]:
    """Describe the changes of each table: of a sync that changed nothing, none."""
    changes = summary.get("changes")
    if changes is None:
        for name, counts in summary.get("tables", {}).items():
            yield f"{name}: {_count_things(counts['published'], 'row')}"
        return
    for name, counts in changes.items():
        words = [f"{counts[word]:,} {word}" for word in ("added", "changed", "removed") if counts.get(word)]
        if words:
            yield f"{name}: {', '.join(words)}"


def _describe_refused_rows(run: IngestRun, resource: CollectionSpec) -> Iterator[MorningLine]:
    """Name the rules by which a run refused rows, with the first row of each, and the line that publishes such rows."""
    rejected = sum(counts.get("rejected", 0) for counts in run.summary.get("tables", {}).values())
    if not rejected or run.report is None:
        return
    try:
        with Path(run.report).open(encoding="utf-8") as file:
            text = file.read(MAX_REPORT_BYTES + 1)
        tables = json.loads(text)["tables"]
    except (OSError, ValueError, KeyError):  # old reports are deleted
        yield MorningLine(
            kind="refused", text=f"{_count_things(rejected, 'row')} refused", command=f"hven history {run.collection}"
        )
        return
    specs = {spec.table.qualified_name: spec for spec in resource.tables}
    for table_name, table in tables.items():
        findings = [finding for finding in table["findings"].values() if finding["severity"] == "error"]
        for finding in sorted(findings, key=lambda item: -item["count"])[:MAX_RULES]:
            place = ""
            for offender in finding["offenders"][:1]:
                parts = (offender["file"], f"row {offender['row']:,}" if offender["row"] is not None else "")
                place = f", first in {' '.join(part for part in parts if part)}" if any(parts) else ""
            text = f"{_count_things(finding['count'], 'row')} of {table_name} refused: {finding['message']}{place}"
            mending_line = ""
            if table_name in specs:
                mending_line = write_mending_line(specs[table_name], finding["rule"], finding["offenders"])
            yield MorningLine(
                kind="refused",
                text=f"{text}; {mending_line}" if mending_line else text,
                command=f"hven ingest {run.collection}" if mending_line else f"hven check {run.collection}",
            )


def _describe_slow_queries(entries: Sequence[Mapping[str, Any]], name: str) -> Iterator[MorningLine]:
    prefix = f"{name}."
    own_entries = [entry for entry in entries if any(table.startswith(prefix) for table in entry.get("tables", ()))]
    for group in group_queries(own_entries)[:MAX_SLOW_GROUPS]:
        advice = [line for line in group.worst.get("advice", ()) if line.startswith(prefix)]
        query_text = "a query of private data"  # it can name tables that the curator may not see
        if "reads" in group.worst:
            query_text = group.worst["text"][:SHOWN_TEXT_CHARACTERS]
        count_text = _count_things(group.count, "slow query", "slow queries")
        text = f"{count_text}, {group.seconds:.0f} s in all: {query_text}"
        yield MorningLine(kind="slow", text="; ".join([text, *advice]))


def _find_current_problem_lines(site: Site) -> dict[str, list[MorningLine]]:
    """Find what is wrong with collections now, by their names."""
    lines: dict[str, list[MorningLine]] = {}
    for collection in site.get_or_create(SiteHealthMonitor, site).get_status(wait_seconds=None).collections:
        own_lines = lines.setdefault(collection.collection, [])
        if collection.descriptor:
            own_lines.append(
                MorningLine(kind="failed", text=collection.descriptor, command=f"hven check {collection.collection}")
            )
        if collection.state in REPORTED_STATES:
            reason = collection.reason or collection.state
            own_lines.append(MorningLine(kind="late", text=f"{collection.state}: {reason}"))
        own_lines += [MorningLine(kind="late", text=text) for text in collection.behind]
    return lines
