"""Server-Sent Events of what an account's watches find; a client resumes with the id of the last event it has seen.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import sqlalchemy as sa
from starlette.responses import StreamingResponse

from hven.model.errors import ParamError, TooManyRequestsError, format_message
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.watches.store_tables import watch_matches, watches
from hven.plugins.watches.visible_matches import select_visible_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from hven.plugins.watches.match_documents import MatchWriter
    from hven.plugins.watches.watch_store import Watch, WatchStore
    from hven.site import Site
    from hven.site.auth import Principal

EVENT_STREAM_MEDIA_TYPE = "text/event-stream"
STREAM_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}
POLL_INTERVAL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
MAX_STREAM_SECONDS = 300.0  # then the client connects again, and resumes
RECONNECT_MILLISECONDS = 3_000
MAX_STREAMS, MAX_ACCOUNT_STREAMS = 64, 4  # of a process
MAX_EVENTS_AT_ONCE = 50


class EventStreams:
    """The streams that a process serves now."""

    def __init__(self, site: Site, store: WatchStore, create_writer: Callable[[Watch], MatchWriter]) -> None:
        self._site = site
        self._store = store
        self._create_writer = create_writer
        self._counts: Counter[str] = Counter()

    def open_stream(self, principal: Principal, watch_name: str, last_id: str, duration: str = "") -> StreamingResponse:
        """Open a stream of events.

        Parameters
        ----------
        principal
            The user of the request, an account. The rights of the account may end while the stream is open.
        watch_name
            Name of a watch; empty: all of the account.
        last_id
            Id of the last event that the client has seen; empty: the stream begins with what is found from now on.
        duration
            Seconds after which the stream ends; empty, or at most: `MAX_STREAM_SECONDS`. With 0, it ends after the
            events that are stored.

        Raises
        ------
        ParamError
            The id is not one of an event, or the duration is not a number of seconds.
        TooManyRequestsError
            There are too many streams.
        """
        if last_id and not (last_id.isdecimal() and len(last_id) < 19):
            message = format_message("{id!r} is not an id of an event", last_id[:40])
            raise ParamError(message, name="Last-Event-ID", remedy="send the last `id` that the stream contained")
        if self._counts.total() >= MAX_STREAMS or self._counts[principal.name or ""] >= MAX_ACCOUNT_STREAMS:
            raise TooManyRequestsError("too many streams are open", remedy="close one, or read the feed of the watch")
        if duration and not (duration.isdecimal() and len(duration) < 6):
            message = format_message("{seconds!r} is not a number of seconds", duration[:40])
            raise ParamError(
                message, name="seconds", remedy=format_message("write 0 to {limit:.0f}", MAX_STREAM_SECONDS)
            )
        duration_seconds = min(float(duration or MAX_STREAM_SECONDS), MAX_STREAM_SECONDS)
        events = self._iterate_events(principal, watch_name, last_id, duration_seconds)
        return StreamingResponse(events, media_type=EVENT_STREAM_MEDIA_TYPE, headers=STREAM_HEADERS)

    async def _iterate_events(
        self, principal: Principal, watch_name: str, last_id: str, duration_seconds: float
    ) -> AsyncIterator[str]:
        account = principal.name or ""
        self._counts[account] += 1
        try:
            if last_id:
                last_number = int(last_id)
            else:
                last_number = time.time_ns() // 1000
            yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
            last_sent = time.monotonic()
            end = last_sent + duration_seconds
            while True:
                read_events = self._read_events
                last_number, events = await anyio.to_thread.run_sync(read_events, principal, watch_name, last_number)
                if last_number < 0:
                    return
                if not events and time.monotonic() - last_sent > HEARTBEAT_SECONDS:
                    events = [": nothing new\n\n"]
                for event in events:
                    last_sent = time.monotonic()
                    yield event
                if time.monotonic() >= end:
                    return
                await anyio.sleep(POLL_INTERVAL_SECONDS)
        finally:
            self._counts[account] -= 1

    def _read_events(self, principal: Principal, watch_name: str, last_number: int) -> tuple[int, Sequence[str]]:
        """Return the number of the last match that was read, and the events that the user may see.

        The number is negative if the account is gone.
        """
        own_rights = RecipientRights(self._site).find_principal(principal.name or "")
        if own_rights is None:
            return -1, []
        is_own = watches.c.account == principal.name
        if watch_name:
            is_own &= watches.c.name == watch_name
        is_later = watch_matches.c.number > last_number
        matches = self._store.list_matches(
            sa.select(watches.c.name).where(is_own), is_later, newest_first=False, limit=MAX_EVENTS_AT_ONCE
        )
        is_found = watches.c.name.in_({match.watch for match in matches})
        watches_by_name = {}
        if matches:
            watches_by_name = {watch.name: watch for watch in self._store.list_watches(is_own, is_found)}
        events = []
        for match in matches:
            last_number = match.number
            watch = watches_by_name.get(match.watch)
            if watch is None:  # it was removed just now
                continue
            visible_matches = select_visible_rows(self._site, own_rights, watch.table_name, [match])
            # a token may have fewer rights than its account
            for visible_match in select_visible_rows(self._site, principal, watch.table_name, visible_matches):
                data = json.dumps(self._create_writer(watch).build_json(visible_match), ensure_ascii=False)
                events.append(f"id: {match.number}\nevent: match\ndata: {data}\n\n")
        return last_number, events
