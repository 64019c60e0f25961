"""What the next operator of a site must know, gathered from the site and its repository.

Secrets appear by name only.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import hven
from hven.jobs.health import SiteHealthMonitor
from hven.model import split_address
from hven.model.errors import HvenError, SourceError
from hven.model.plugins import list_disabled_packages, list_plugin_packages
from hven.model.settings import SETTINGS_FILE, resolve_secret
from hven.model.table import Column
from hven.plugins.operations.examination import inspect_site
from hven.site.store.ingest_runs import ABORTED_PHASE, ERROR_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from hven.jobs.health import SiteStatus
    from hven.model.resource import CollectionSpec, SyncSchedule
    from hven.site import Site

MAX_INCIDENTS = 50
MAX_FAILED_RUNS = 5  # of a collection
MAX_COMMITS = 20
MAX_DECISIONS = 200
MAX_HEADING_BYTES = 4096
MAX_TEXT_CHARACTERS = 300
GIT_TIMEOUT_SECONDS = 10.0
DECISION_FOLDERS = ("decisions", "docs/decisions")
PUSH_KIND = "push"
# options of sources that say where rows come from; others may hold anything
LOCATION_OPTIONS = ("url", "address", "file", "files", "path", "host", "database", "table", "endpoint", "collection")
_SECRET_PATTERN = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_GIT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverSection:
    """A section of the page: a table, and a sentence that introduces it.

    Attributes
    ----------
    title
        Heading.
    intro
        Sentence before the table, or instead of one without rows.
    columns
        Headings of the columns.
    rows
        Texts of the cells.
    """

    title: str
    intro: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def collect_handover(site: Site) -> list[HandoverSection]:
    """Gather what the next operator must know.

    Parameters
    ----------
    site
        The site.

    Returns
    -------
    sections
        In the order of the page. No text has the value of a secret.
    """
    site.refresh_published_state()
    monitor = site.get_or_create(SiteHealthMonitor, site)
    status = monitor.get_status(wait_seconds=None)
    redact = monitor.get_redactor().redact_text
    sections = [
        _describe_site(site),
        _describe_collections(site, status),
        _describe_sources(site),
        _describe_schedules(site, status),
        _describe_secrets(site),
        _describe_people(site),
        _describe_identifiers(site),
        _describe_incidents(site, status),
        _describe_findings(site),
        *describe_decisions(site.settings.directory),
    ]
    return [_redact_section(section, redact) for section in sections]


def write_markdown(sections: Sequence[HandoverSection], title: str) -> str:
    """Write sections as a page of Markdown.

    Parameters
    ----------
    sections
        The sections.
    title
        Heading of the page.
    """
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.intro, ""]
        if section.rows:
            lines.append(f"| {' | '.join(section.columns)} |")
            lines.append(f"|{'---|' * len(section.columns)}")
            lines += [f"| {' | '.join(map(_escape_cell, row))} |" for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _redact_section(section: HandoverSection, redact: Callable[[str], str]) -> HandoverSection:
    rows = [[redact(cell)[:MAX_TEXT_CHARACTERS] for cell in row] for row in section.rows]
    return HandoverSection(title=section.title, intro=section.intro, columns=section.columns, rows=rows)


def _describe_site(site: Site) -> HandoverSection:
    settings = site.settings
    disabled_names = [package.name for package in list_disabled_packages()]
    facts = {
        "Name": settings.name,
        "Title": settings.title or "",
        "Address": settings.site_url,
        "Software": f"Hven {hven.__version__}",
        "Directory": str(settings.directory),
        "Rows and files that Hven writes": f"{settings.data_directory}, {settings.var_directory}",
        "Other directories with files": ", ".join(map(str, settings.roots)),
        "Engine of rows": settings.engine,
        "System state": "PostgreSQL, an address in hven.toml" if settings.store else "SQLite, in the directory var",
        "Packages": f"{len(list_plugin_packages())} in use",
        "Packages that are left out": ", ".join(disabled_names),
        "Authority": settings.authority or "",
    }
    rows = [(name, str(text)) for name, text in facts.items() if text]
    return HandoverSection(title="The site", intro="What runs, and where.", columns=("Fact", "Value"), rows=rows)


def _describe_access(resource: CollectionSpec) -> str:
    """Write the access of a collection, and of its tables that differ from it or have conditions."""
    parts = [str(resource.access)]
    for spec in resource.tables:
        table = spec.table
        if table.access != resource.access:
            parts.append(f"{table.name}: {table.access}")
        if table.policy is not None:
            parts.append(f"{table.name}: conditions")
    return "; ".join(parts)


def _describe_collections(site: Site, status: SiteStatus) -> HandoverSection:
    states = {item.collection: item for item in status.collections}
    rows = []
    for name, resource in sorted(site.get_published_state().resources.items()):
        state = states.get(name)
        if state is None or state.rows is None:
            row_count = ""
        else:
            row_count = f"{state.rows:,}"
        published_time = "never"
        if state is not None:
            published_time = state.ended or ""
        rows.append(
            (
                name,
                resource.title,
                _describe_access(resource),
                row_count,
                published_time,
                _format_owner(resource),
                resource.licence or resource.licence_url or "none stated",
            )
        )
    faulty_names = sorted({*site.settings.list_collections()} - site.get_published_state().resources.keys())
    rows += [(name, f"the descriptor has faults: run `hven check {name}`", "", "", "", "", "") for name in faulty_names]
    columns = ("Collection", "Title", "Access", "Rows", "Last run", "Owner", "Licence")
    return HandoverSection(
        title="Collections", intro="The descriptors are in the directory `collections`.", columns=columns, rows=rows
    )


def _format_owner(resource: CollectionSpec) -> str:
    if resource.contact:
        people = [resource.contact]
    else:
        people = list(resource.creators[:1])
    if not people:
        return "no owner is named: add `contact` to the descriptor"
    return " ".join(text for text in (people[0].name, people[0].email) if text)


def _describe_sources(site: Site) -> HandoverSection:
    rows = []
    for name, resource in sorted(site.get_published_state().resources.items()):
        for spec in resource.tables:
            for source in spec.sources:
                location = ", ".join(_iterate_locations(source.options))
                rows.append((f"{name}.{spec.table.name}", source.kind, location, _format_owner(resource)))
            rows.extend(
                (f"{name}.{spec.table.name}", "files", _strip_credentials(root.address), _format_owner(resource))
                for root in spec.table.roots
                if root.address
            )
    return HandoverSection(
        title="Sources",
        intro="Where rows and files come from. Ask the owner before you change anything there.",
        columns=("Table", "Kind", "Where", "Owner"),
        rows=rows,
    )


def _iterate_locations(options: Mapping[str, Any]) -> Iterator[str]:
    for name in LOCATION_OPTIONS:
        value = options.get(name)
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(text, str) and text:
                yield _strip_credentials(text)


def _strip_credentials(text: str) -> str:
    """Return an address without user, password and parameters, which may hold a token."""
    if "://" not in text:
        return text
    try:
        address = split_address(text)
    except (ValueError, HvenError):
        return text.partition("://")[0] + "://.."
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _describe_schedules(site: Site, status: SiteStatus) -> HandoverSection:
    states = {item.collection: item for item in status.collections}
    rows = []
    for name, resource in sorted(site.get_published_state().resources.items()):
        if resource.schedule is None:
            continue
        state = states.get(name)
        last_success = ""
        if state is not None:
            last_success = state.succeeded or ""
        next_time = ""
        if state is not None:
            next_time = state.next or ""
        if state is not None and state.paused:
            next_time = f"paused since {state.paused}"
        rows.append((name, _format_schedule(resource.schedule), last_success, next_time))
    intro = "When Hven synchronises collections by itself."
    if not rows:
        intro = "No collection is synchronised by itself: somebody runs `hven ingest` or `hven sync`."
    columns = ("Collection", "When", "Last success", "Next")
    return HandoverSection(title="Schedules", intro=intro, columns=columns, rows=rows)


def _format_schedule(schedule: SyncSchedule) -> str:
    if schedule.cron is not None:
        return f"cron {schedule.cron} ({schedule.time_zone})"
    return f"every {schedule.interval_seconds or 0:,.0f} s"


def list_secrets(site: Site) -> dict[str, list[str]]:
    """List the names of the secrets that settings and descriptors use.

    Parameters
    ----------
    site
        The site.

    Returns
    -------
    places
        Name with ``$`` -> where it is used.
    """
    places: dict[str, list[str]] = {}
    settings_text = (site.settings.directory / SETTINGS_FILE).read_text(encoding="utf-8-sig")
    for name in _iterate_secret_names(tomllib.loads(settings_text)):
        places.setdefault(name, []).append(SETTINGS_FILE)
    for collection, resource in sorted(site.get_published_state().resources.items()):
        values: list[Any] = []
        for spec in resource.tables:
            values += [source.options for source in spec.sources]
            values += [source.additions for source in spec.sources]
            values += [[root.address, root.options] for root in spec.table.roots]
        values.append(resource.extensions)  # what packages read from the descriptor, such as series of other servers
        for name in _iterate_secret_names(values):
            places.setdefault(name, []).append(collection)
    return {name: list(dict.fromkeys(used)) for name, used in sorted(places.items())}


def _iterate_secret_names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if _SECRET_PATTERN.fullmatch(value):
            yield value
        return
    members: Iterable[object] = ()
    if isinstance(value, Mapping):
        members = value.values()
    elif isinstance(value, (list, tuple, frozenset)):
        members = value
    elif is_dataclass(value) and not isinstance(value, (type, Column)):
        members = [getattr(value, item.name) for item in fields(value)]
    for member in members:
        yield from _iterate_secret_names(member)


def is_secret_set(directory: Path, name: str) -> bool:
    """Return whether a secret has a value, in the environment or in secrets.toml.

    Parameters
    ----------
    directory
        Directory of the site.
    name
        Name with ``$``.
    """
    try:
        resolve_secret(directory, name)
    except SourceError:
        return False
    return True


def _describe_secrets(site: Site) -> HandoverSection:
    rows = [
        (name, ", ".join(places), "yes" if is_secret_set(site.settings.directory, name) else "NO")
        for name, places in list_secrets(site).items()
    ]
    intro = "Their values are in `secrets.toml` or in the environment, and nowhere else: hand them over separately."
    if not rows:
        intro = "The site uses no secrets."
    return HandoverSection(title="Secrets", intro=intro, columns=("Name", "Used in", "Set here"), rows=rows)


def _describe_people(site: Site) -> HandoverSection:
    settings = site.settings
    accounts = site.store.users.list_accounts()
    rows = [(name, "operator") for name in settings.health.operators]
    rows += [(name, f"account since {created[:10]}") for name, created in accounts]
    return HandoverSection(
        title="Accounts",
        intro="Who operates the site, and who has an account. Tokens are stored as hashes; they can only be renewed.",
        columns=("Name", "Role"),
        rows=rows,
    )


def _describe_identifiers(site: Site) -> HandoverSection:
    rows = [(collection, label, doi) for (collection, label), doi in sorted(site.identifiers.map_dois().items())]
    collections_with_doi = {collection for collection, label, _ in rows if not label}
    for name, resource in sorted(site.get_published_state().resources.items()):
        if resource.doi and name not in collections_with_doi:
            rows.append((name, "", resource.doi))
    intro = "Their pages must stay at their addresses. The account at DataCite belongs to the publisher."
    if not rows:
        intro = "No collection has a DOI."
    return HandoverSection(title="DOIs", intro=intro, columns=("Collection", "Release", "DOI"), rows=rows)


def _describe_incidents(site: Site, status: SiteStatus) -> HandoverSection:
    rows = [(alert.at, alert.collection, f"{alert.kind}: {alert.message}") for alert in status.alerts]
    for name in site.get_published_state().resources:
        runs = [run for run in site.store.runs.list_runs(name) if run.phase in {ERROR_PHASE, ABORTED_PHASE}]
        rows += [(run.started, name, f"{run.kind} failed: {run.message or ''}") for run in runs[:MAX_FAILED_RUNS]]
    rows.sort(reverse=True)
    intro = "Alerts and runs that failed, the newest first."
    if not rows:
        intro = "No alert and no failed run is on record."
    columns = ("Time (UTC)", "Collection", "What happened")
    return HandoverSection(title="Last incidents", intro=intro, columns=columns, rows=rows[:MAX_INCIDENTS])


def _describe_findings(site: Site) -> HandoverSection:
    findings = inspect_site(site).findings
    rows = [(item.harm, item.subject, item.message, item.remedy) for item in findings]
    intro = "`hven doctor` shows the same." if rows else "Nothing needs attention."
    columns = ("Harm", "Where", "What is wrong", "Remedy")
    return HandoverSection(title="What to correct", intro=intro, columns=columns, rows=rows)


def describe_decisions(directory: Path) -> list[HandoverSection]:
    """Describe what the repository of a site says about decisions and changes.

    Parameters
    ----------
    directory
        Directory of the site.
    """
    paths = [path for folder in DECISION_FOLDERS for path in sorted((directory / folder).glob("*.md"))]
    decisions = [(str(path.relative_to(directory)), _read_heading(path)) for path in paths[:MAX_DECISIONS]]
    intro = "Read them before you change what they decide."
    if not decisions:
        intro = "None are written down. Put a page for each into `decisions/` of the site's directory."
    sections = [HandoverSection(title="Decisions", intro=intro, columns=("Page", "Decision"), rows=decisions)]
    log_text = run_git(directory, "log", f"-{MAX_COMMITS}", "--date=short", "--format=%ad%x09%an%x09%s")
    if log_text is None:
        intro = "The directory is not a Git repository: its history, and who changed what, are lost with the machine."
        return [*sections, HandoverSection(title="Changes", intro=intro)]
    commits = [line.split("\t", 2) for line in log_text.splitlines()]
    changed_files = (run_git(directory, "status", "--porcelain") or "").splitlines()
    remote = (run_git(directory, "remote", "get-url", "origin") or "").strip()
    intro = f"The last commits of the site's directory. Its origin is {_strip_credentials(remote) or 'nowhere else'}."
    if changed_files:
        intro += f" {len(changed_files):,} files are not committed."
    columns = ("Date", "Author", "Change")
    return [*sections, HandoverSection(title="Changes", intro=intro, columns=columns, rows=commits)]


def _read_heading(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_HEADING_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip("# \t") for line in text.splitlines() if line.strip("# \t")]
    if lines:
        return lines[0]
    return ""


def run_git(directory: Path, *arguments: str) -> str | None:
    """Run Git in the directory of a site, if the directory itself is a repository.

    Parameters
    ----------
    directory
        Directory of the site.
    arguments
        Command of Git, with its options.

    Returns
    -------
    text
        What Git printed; None if there is no repository, or Git fails or takes too long.
    """
    if not (directory / ".git").exists():
        return None
    environment = {name: os.environ[name] for name in _GIT_ENVIRONMENT if name in os.environ}
    try:
        options = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=false")
        completed = subprocess.run(  # noqa: S603  (fixed words)
            ["git", "-C", str(directory), *options, *arguments],  # noqa: S607
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if completed.returncode:
        return None
    return completed.stdout.decode("utf-8", "replace")
