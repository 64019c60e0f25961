"""Watch the queries of a process: log the slow ones, and tell other processes of those that still run."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from hven.plugins.operations.query_log import (
    SlowQueryLog,
    describe_running_query,
    describe_slow_query,
    find_current_service,
    write_running_queries,
)
from hven.plugins.operations.settings import get_operations_settings
from hven.query import QueryObserver

if TYPE_CHECKING:
    from hven.query import PlannedQuery, QueryResult
    from hven.site import Site

WATCH_INTERVAL_SECONDS = 1.0


class QueryWatch(QueryObserver):
    """Logs slow queries of this process, and writes the running ones to a file once a second.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._running: dict[int, tuple[float, str, QueryResult, PlannedQuery]] = {}
        self._process_id = 0

    def start_query(self, result: QueryResult, planned: PlannedQuery) -> None:
        """Remember a query that begins."""
        if self._process_id != os.getpid():  # the first query, or a fork, which has no thread
            self._process_id = os.getpid()
            self._running = {}
            threading.Thread(target=self._watch, name="slow queries", daemon=True).start()
        self._running[id(result)] = time.time(), find_current_service(), result, planned

    def end_query(self, result: QueryResult, planned: PlannedQuery, duration_seconds: float) -> None:
        """Log a query that was slow."""
        self._running.pop(id(result), None)
        settings = self._site.settings
        slow_seconds = get_operations_settings(settings).slow_seconds
        if slow_seconds and duration_seconds >= slow_seconds:
            SlowQueryLog(settings).append(describe_slow_query(result, planned, settings, duration_seconds))

    def list_slow_queries(self) -> list[dict[str, Any]]:
        """List the queries of this process that run for longer than the setting `slow_seconds`."""
        settings = self._site.settings
        slow_seconds = get_operations_settings(settings).slow_seconds
        entries = []
        for start_time, service, _, planned in list(self._running.values()):
            running_seconds = time.time() - start_time
            if slow_seconds and running_seconds >= slow_seconds:
                entry = describe_running_query(planned, settings, start_time, service)
                entries.append({**entry, "seconds": round(running_seconds, 1)})
        return entries

    def _watch(self) -> None:
        had_entries = False
        while not self._site.wait_for_closing(WATCH_INTERVAL_SECONDS):
            entries = self.list_slow_queries()
            if entries or had_entries:
                write_running_queries(self._site.settings, entries)
            had_entries = bool(entries)
        if had_entries:
            write_running_queries(self._site.settings, [])
