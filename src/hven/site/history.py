"""The site as it was: what was published at a time, or together with a snapshot, as far as it is kept."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import GoneError, ParamError, format_message
from hven.site._state_builder import build_published_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Project
    from hven.site._bound_policies import AccessPolicyBinder
    from hven.site._published_state import PublishedState
    from hven.site.descriptor_watch import DescriptorState
    from hven.site.store import PointerEvent, SnapshotRecord, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PastState:
    """An earlier state.

    Attributes
    ----------
    published_state
        The picture of that state.
    version_key
        The moment, as the store writes it.
    missing_tables
        Qualified names, in lower case, of tables that were published then and are not kept; -> since when they are kept
        again, if they are.
    later_tables
        The same of tables that were not published then, and are now; -> when they were first.
    is_release
        It is a release, and `version_key` its label: other tables are no part of it.
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
        Of the site.
    version_text
        A time, a label, or an id.

    Returns
    -------
    moment
        As the store writes it; of a release its label, as it was given.

    Raises
    ------
    ParamError
        It is neither.
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
    """Make the error that a text is neither.

    Parameters
    ----------
    version_text
        The text.

    Returns
    -------
    error
        To be raised.
    """
    remedy = "a time as 2026-11-20T08:00:00, a release, or a snapshot's id"
    message = format_message(
        "{text!r} is no time, and no snapshot or run of that id was published", version_text.strip()[:60]
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
        As the store writes it; None: it is none.
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
    projects: Sequence[Project] = (),
) -> PastState:
    """Build the picture of what was published at a moment. Metadata, rights and views are those of now.

    Tables read in place have no past.

    Attributes
    ----------
    table that is published no more is not shown
        Who took it away meant it.

    Parameters
    ----------
    store
        Of the site.
    version_key
        The moment, as the store writes it, or the label of a release.
    descriptors
        The descriptors as they are now.
    policies
        Binds those of now to the rows of then.
    projects
        Of the site.

    Returns
    -------
    past
        With what is not kept any more.
    """
    records: dict[str, SnapshotRecord] = {}
    missing_tables: dict[str, str | None] = {}
    current_pointers = store.read_pointers()[1]
    released = store.releases.list_releases(label=version_key)
    if released:
        release_keys = {(entry.collection, entry.label) for entry in released}
        release_records = [
            entry
            for release, snapshot_records in store.releases.list_release_records()
            if (release.collection, release.label) in release_keys
            for entry in snapshot_records
        ]
        records = {
            entry.table.qualified_name: entry
            for entry in release_records
            if entry.table.qualified_name in current_pointers
        }
        missing_tables = {table.lower(): None for table in current_pointers if table not in records}
        published_state = build_published_state(records, descriptors, policies=policies, projects=projects)
        return PastState(
            published_state=published_state,
            version_key=version_key,
            missing_tables=missing_tables,
            is_release=True,
        )
    for collection, event in store.find_states_at(version_key).items():
        stored_records = {record.id: record for record in store.list_snapshots(collection)}
        state = {table: snapshot for table, snapshot in event.state.items() if table in current_pointers}
        missing_names = [table for table, snapshot in state.items() if snapshot not in stored_records]
        records |= {table: stored_records[snapshot] for table, snapshot in state.items() if snapshot in stored_records}
        if missing_names:
            later_events = [entry for entry in reversed(store.list_events(collection)) if entry.at > version_key]
            missing_tables |= {
                table.lower(): _find_first_kept_time(table, later_events, stored_records) for table in missing_names
            }
    later_tables: dict[str, str] = {}
    for table in current_pointers:
        if table not in records and table.lower() not in missing_tables:
            first = next(
                (
                    entry.at
                    for entry in reversed(store.list_events(table.partition(".")[0]))
                    if entry.at > version_key and table in entry.state
                ),
                None,
            )
            later_tables |= {} if first is None else {table.lower(): first}
    return PastState(
        published_state=build_published_state(records, descriptors, policies=policies, projects=projects),
        version_key=version_key,
        missing_tables=missing_tables,
        later_tables=later_tables,
    )


def _find_first_kept_time(
    table: str, later_events: list[PointerEvent], stored_records: Mapping[str, SnapshotRecord]
) -> str | None:
    return next((event.at for event in later_events if event.state.get(table) in stored_records), None)


def build_unavailable_state_error(past_state: PastState, table: str) -> GoneError | ParamError:
    """Make the error that a table's state is not kept, or that there was none yet.

    Parameters
    ----------
    past_state
        The picture of that moment.
    table
        Qualified name.

    Returns
    -------
    error
        To be raised.
    """
    if past_state.is_release:
        message = format_message("{table} is no part of the release {label}", table, past_state.version_key)
        return ParamError(message, name="ASOF", remedy="ask it without ASOF")
    first_publication = past_state.later_tables.get(table.lower())
    if first_publication is not None:
        return ParamError(
            format_message("{table} was not published yet at {at}", table, past_state.version_key),
            name="ASOF",
            remedy=format_message("it was first at {first}: ask for a later time", first_publication),
        )
    kept_since = past_state.missing_tables.get(table.lower())
    remedy = format_message("kept since {since}", kept_since) if kept_since else "ask for what is published now"
    return GoneError(
        format_message("{table} as it was at {at} is not kept any more", table, past_state.version_key),
        remedy=format_message("{remedy}; a release keeps a state for good", format_message(remedy)),
    )


__all__ = [
    "PastState",
    "build_past_state",
    "build_unavailable_state_error",
    "build_unknown_version_error",
    "resolve_version",
]
