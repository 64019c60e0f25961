"""The site as it was: what was published at a time, or together with a snapshot, as far as it is kept."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import GoneError, ParamError, format_message
from hven.site._state_builder import build_published_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import ProjectSettings
    from hven.site._bound_policies import AccessPolicyBinder
    from hven.site._published_state import PublishedState
    from hven.site.descriptor_watch import DescriptorState
    from hven.site.store import PublicationEvent, Release, SnapshotRecord, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPublishedState:
    """An earlier state.

    Attributes
    ----------
    published_state
        The published state of that moment.
    version_key
        The moment, as the store writes it.
    missing_tables
        Qualified names, in lower case, of tables that were published then and are not kept; -> since when they are kept
        again, if they are.
    later_tables
        Qualified names, in lower case, of tables that were first published later; -> when that was.
    is_release
        Whether it is a release. `version_key` is then its label, and other tables do not belong to it.
    """

    published_state: PublishedState
    version_key: str
    missing_tables: Mapping[str, str | None]
    later_tables: Mapping[str, str] = field(default_factory=dict)
    is_release: bool = False


def resolve_version(store: StateStore, version_text: str) -> str:
    """Resolve the name of a version: a time, a release, a snapshot or a run.

    A time is written in ISO 8601, in UTC unless it says otherwise; a day means its end.
    A snapshot or a run stands for the time when it was published.

    Parameters
    ----------
    store
        Store of the site.
    version_text
        A time, a label, or an id.

    Returns
    -------
    moment
        The time as the store writes it; for a release, its label as it was given.

    Raises
    ------
    ParamError
        The text is none of these.
    """
    text = version_text.strip()
    publication_time = store.find_publication_time(text)  # an id may look like a time
    if publication_time is not None:
        return publication_time
    if store.releases.list_releases(label=text):
        return text
    parsed_instant = parse_instant(text)
    if parsed_instant is None:
        raise build_unknown_version_error(text)
    return parsed_instant


def build_unknown_version_error(version_text: str) -> ParamError:
    """Create the error that a text names no version.

    Parameters
    ----------
    version_text
        The text.

    Returns
    -------
    error
        The caller raises it.
    """
    remedy = "write a time (2026-11-20T08:00:00), the label of a release, or the id of a snapshot or run"
    message = format_message(
        "{text!r} is not a time, and there is no published snapshot or run with that id", version_text.strip()[:60]
    )
    return ParamError(message, name="ASOF", remedy=remedy)


def parse_instant(text: str) -> str | None:
    """Parse a time as people write it (a day means its end).

    Parameters
    ----------
    text
        ISO 8601.

    Returns
    -------
    moment
        The time as the store writes it; None: the text is no time.
    """
    try:
        parsed_time = dt.datetime.fromisoformat(text.strip())
        if len(text.strip()) == 10:
            parsed_time += dt.timedelta(days=1, microseconds=-1)
        if parsed_time.tzinfo is not None:
            parsed_time = parsed_time.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return f"{parsed_time.isoformat(timespec='microseconds')}Z"


def build_past_state(
    store: StateStore,
    version_key: str,
    descriptors: Mapping[str, DescriptorState],
    policies: AccessPolicyBinder,
    projects: Sequence[ProjectSettings] = (),
) -> PastPublishedState:
    """Build the state of what was published at a moment. Metadata, rights and views are the present ones.

    Live tables have no past. A table that is no longer published is not shown: it was removed on purpose.

    Parameters
    ----------
    store
        Store of the site.
    version_key
        The moment, as the store writes it, or the label of a release.
    descriptors
        The present descriptors.
    policies
        Binds the present policies to the rows of that moment.
    projects
        Projects of the site.

    Returns
    -------
    past
        The state, with the names of tables that are missing in it.
    """
    _, current_pointers = store.read_published_snapshot_ids()
    releases = store.releases.list_releases(label=version_key)
    if releases:
        records = _collect_release_records(store, releases, current_pointers)
        missing_names = [table for table in current_pointers if table not in records]
        return PastPublishedState(
            published_state=build_published_state(records, descriptors, policies=policies, projects=projects),
            version_key=version_key,
            missing_tables={table.lower(): None for table in missing_names},
            is_release=True,
        )
    records = {}
    missing_tables: dict[str, str | None] = {}
    for collection, event in store.find_last_publication_events(version_key).items():
        stored_records = {record.id: record for record in store.list_snapshots(collection)}
        missing_names = []
        for table, snapshot in event.state.items():
            if table not in current_pointers:
                continue
            if snapshot in stored_records:
                records[table] = stored_records[snapshot]
            else:
                missing_names.append(table)
        if missing_names:
            later_events = _list_later_events(store, collection, version_key)
            for table in missing_names:
                missing_tables[table.lower()] = _find_first_kept_time(table, later_events, stored_records)
    later_tables: dict[str, str] = {}
    for table in current_pointers:
        if table not in records and table.lower() not in missing_tables:
            first_publication = _find_first_publication_time(store, table, version_key)
            if first_publication is not None:
                later_tables[table.lower()] = first_publication
    return PastPublishedState(
        published_state=build_published_state(records, descriptors, policies=policies, projects=projects),
        version_key=version_key,
        missing_tables=missing_tables,
        later_tables=later_tables,
    )


def _collect_release_records(
    store: StateStore, releases: Sequence[Release], current_pointers: Mapping[str, str]
) -> dict[str, SnapshotRecord]:
    """Return the records of releases by table, without tables that are no longer published."""
    release_keys = {(release.collection, release.label) for release in releases}
    records: dict[str, SnapshotRecord] = {}
    for release, release_records in store.releases.list_release_records():
        if (release.collection, release.label) in release_keys:
            records |= {record.table.qualified_name: record for record in release_records}
    return {table: record for table, record in records.items() if table in current_pointers}


def _list_later_events(store: StateStore, collection: str, version_key: str) -> list[PublicationEvent]:
    """List the events of a collection after a moment, the oldest first."""
    return [event for event in reversed(store.list_publication_events(collection)) if event.at > version_key]


def _find_first_publication_time(store: StateStore, table: str, version_key: str) -> str | None:
    """Return when a table was first published after a moment."""
    for event in _list_later_events(store, table.partition(".")[0], version_key):
        if table in event.state:
            return event.at
    return None


def _find_first_kept_time(
    table: str, later_events: Sequence[PublicationEvent], stored_records: Mapping[str, SnapshotRecord]
) -> str | None:
    """Return when a snapshot of a table that is still kept was first published."""
    for event in later_events:
        if event.state.get(table) in stored_records:
            return event.at
    return None


def build_unavailable_state_error(past_state: PastPublishedState, table: str) -> GoneError | ParamError:
    """Create the error that the state of a table is not kept, or that there was none yet.

    Parameters
    ----------
    past_state
        The state of that moment.
    table
        Qualified name.

    Returns
    -------
    error
        The caller raises it.
    """
    if past_state.is_release:
        message = format_message("{table} is not part of the release {label}", table, past_state.version_key)
        return ParamError(message, name="ASOF", remedy="query the table without ASOF")
    first_publication = past_state.later_tables.get(table.lower())
    if first_publication is not None:
        return ParamError(
            format_message("{table} was not yet published at {at}", table, past_state.version_key),
            name="ASOF",
            remedy=format_message("choose a time after {first}, when it was first published", first_publication),
        )
    kept_since = past_state.missing_tables.get(table.lower())
    if kept_since:
        remedy = format_message("choose a time after {since}", kept_since)
    else:
        remedy = format_message("query the current state")
    return GoneError(
        format_message("the state of {table} at {at} is no longer kept", table, past_state.version_key),
        remedy=format_message("{remedy}; only a release keeps a state permanently", remedy),
    )
