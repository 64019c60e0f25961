"""The site as it was: what was published at a time, or together with a snapshot, as far as it is kept."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import Gone, ParamError, say
from hven.site._build import build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Project
    from hven.site._picture import Holdings
    from hven.site._rights import Policies
    from hven.site.store import Event, Record, Store
    from hven.site.watch import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """An earlier state.

    Attributes
    ----------
    holdings
        The picture of that state.
    at
        The moment, as the store writes it.
    gone
        Qualified names, in lower case, of tables that were published then and are not kept; -> since when they are kept again, if they are.
    young
        The same of tables that were not published then, and are now; -> when they were first.
    labelled
        It is a release, and `at` its label: other tables are no part of it.
    """

    holdings: Holdings
    at: str
    gone: Mapping[str, str | None]
    young: Mapping[str, str] = field(default_factory=dict)
    labelled: bool = False


def moment(store: Store, wanted: str) -> str:
    """Parse a time (ISO 8601, UTC unless it says otherwise; a day means its end), or find a release, or when a snapshot or run was published.

    Parameters
    ----------
    store
        Of the site.
    wanted
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
    text = wanted.strip()
    known = store.published_at(text)  # an id may look like a time
    if known is not None:
        return known
    if store.releases.all(label=text):
        return text
    found = instant(text)
    if found is None:
        raise unknown(text)
    return found


def unknown(wanted: str) -> ParamError:
    """Make the error that a text is neither.

    Parameters
    ----------
    wanted
        The text.

    Returns
    -------
    error
        To be raised.
    """
    remedy = "a time as 2026-11-20T08:00:00, a release, or a snapshot's id"
    message = say("{text!r} is no time, and no snapshot or run of that id was published", wanted.strip()[:60])
    return ParamError(message, name="ASOF", remedy=remedy)


def instant(text: str) -> str | None:
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
        read = dt.datetime.fromisoformat(text.strip())
        if len(text.strip()) == 10:
            read += dt.timedelta(days=1, microseconds=-1)
        if read.tzinfo is not None:
            read = read.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return f"{read.isoformat(timespec='microseconds')}Z"


def past(store: Store, at: str, seen: Mapping[str, Seen], policies: Policies, projects: Sequence[Project] = ()) -> Past:
    """Build the picture of what was published at a moment. Metadata, rights and views are those of now; tables read in place have no past.

    Attributes
    ----------
    table that is published no more is not shown
        Who took it away meant it.

    Parameters
    ----------
    store
        Of the site.
    at
        The moment, as the store writes it, or the label of a release.
    seen
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
    records: dict[str, Record] = {}
    gone: dict[str, str | None] = {}
    present = store.pointers()[1]
    released = store.releases.all(label=at)
    if released:
        wanted = {(one.collection, one.label) for one in released}
        some = [
            one
            for release, each in store.releases.records()
            if (release.collection, release.label) in wanted
            for one in each
        ]
        records = {one.table.qualified: one for one in some if one.table.qualified in present}
        gone = {table.lower(): None for table in present if table not in records}
        return Past(
            holdings=build(records, seen, policies=policies, projects=projects), at=at, gone=gone, labelled=True
        )
    for collection, event in store.states(at).items():
        kept = {record.id: record for record in store.snapshots(collection)}
        state = {table: snapshot for table, snapshot in event.state.items() if table in present}
        missing = [table for table, snapshot in state.items() if snapshot not in kept]
        records |= {table: kept[snapshot] for table, snapshot in state.items() if snapshot in kept}
        if missing:
            later = [one for one in reversed(store.history(collection)) if one.at > at]
            gone |= {table.lower(): _since(table, later, kept) for table in missing}
    young: dict[str, str] = {}
    for table in present:
        if table not in records and table.lower() not in gone:
            first = next(
                (
                    one.at
                    for one in reversed(store.history(table.partition(".")[0]))
                    if one.at > at and table in one.state
                ),
                None,
            )
            young |= {} if first is None else {table.lower(): first}
    return Past(holdings=build(records, seen, policies=policies, projects=projects), at=at, gone=gone, young=young)


def _since(table: str, later: list[Event], kept: Mapping[str, Record]) -> str | None:
    return next((event.at for event in later if event.state.get(table) in kept), None)


def refuse(found: Past, table: str) -> Gone | ParamError:
    """Make the error that a table's state is not kept, or that there was none yet.

    Parameters
    ----------
    found
        The picture of that moment.
    table
        Qualified name.

    Returns
    -------
    error
        To be raised.
    """
    if found.labelled:
        message = say("{table} is no part of the release {label}", table, found.at)
        return ParamError(message, name="ASOF", remedy="ask it without ASOF")
    first = found.young.get(table.lower())
    if first is not None:
        return ParamError(
            say("{table} was not published yet at {at}", table, found.at),
            name="ASOF",
            remedy=say("it was first at {first}: ask for a later time", first),
        )
    since = found.gone.get(table.lower())
    remedy = say("kept since {since}", since) if since else "ask for what is published now"
    return Gone(
        say("{table} as it was at {at} is not kept any more", table, found.at),
        remedy=say("{remedy}; a release keeps a state for good", say(remedy)),
    )


__all__ = ["Past", "moment", "past", "refuse", "unknown"]
