"""Watch the queries of a process: log the slow ones, and tell other processes of those that still run."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from hven.plugins.operations.disk_forecast import record_disk_sample
from hven.plugins.operations.query_log import (
    SlowQueryLog,
    describe_running_query,
    describe_slow_query,
    find_current_service,
    write_running_slow_queries,
)
from hven.plugins.operations.settings import get_operations_settings
from hven.query import QueryObserver
from hven.site.server_processes import list_server_processes
from hven.site.store import get_process_holder

if TYPE_CHECKING:
    from hven.query import PlannedQuery, QueryResult
    from hven.site import Site

log = logging.getLogger("hven")
WATCH_INTERVAL_SECONDS = 1.0
DISK_INTERVAL_TICKS = 60  # between two looks whether another process has taken the sample of the hour


class QueryWatch(QueryObserver):
    """Logs slow queries of this process, and lists those that still run.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._running: dict[int, tuple[float, str, QueryResult, PlannedQuery]] = {}
        self._has_file = False
        _watcher.add_watch(self)

    @property
    def site(self) -> Site:
        """The site."""
        return self._site

    def start_query(self, result: QueryResult, planned: PlannedQuery) -> None:
        """Remember a query that begins."""
        _watcher.start_thread()
        self._running[id(result)] = time.time(), find_current_service(), result, planned

    def end_query(self, result: QueryResult, planned: PlannedQuery, duration_seconds: float) -> None:
        """Log a query that was slow."""
        self._running.pop(id(result), None)
        settings = self._site.settings
        slow_seconds = get_operations_settings(settings).slow_seconds
        # a client that reads slowly makes no query slow
        if slow_seconds and duration_seconds - result.client_seconds >= slow_seconds:
            SlowQueryLog(settings).append(describe_slow_query(result, planned, settings, duration_seconds))

    def discard_running_queries(self) -> None:
        """Forget the queries of the process that this one was forked from."""
        self._running = {}
        self._has_file = False

    def list_running_slow_queries(self) -> list[dict[str, Any]]:
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

    def write_slow_queries_file(self) -> None:
        """Tell other processes which slow queries run; without any, remove the file."""
        entries = self.list_running_slow_queries()
        if entries or self._has_file:
            write_running_slow_queries(self._site.settings, entries)
        self._has_file = bool(entries)

    def sample_disk(self) -> None:
        """Record how much of the disk is free, if this process serves the site."""
        settings = self._site.settings
        holder = get_process_holder()
        if any(server.holder == holder for server in list_server_processes(settings)):
            record_disk_sample(settings)


def list_watched_sites() -> list[Site]:
    """List the sites that this process has opened."""
    return _watcher.list_sites()


class _QueryWatchThread:
    """The thread of this process that looks after the watches of all sites, of which tests open many."""

    def __init__(self) -> None:
        self._watches: weakref.WeakSet[QueryWatch] = weakref.WeakSet()
        self._process_id = 0

    def add_watch(self, watch: QueryWatch) -> None:
        """Look after a watch as long as its site lives."""
        self._watches.add(watch)
        self.start_thread()

    def list_sites(self) -> list[Site]:
        """List the sites of the watches."""
        return [watch.site for watch in list(self._watches)]

    def start_thread(self) -> None:
        """Start the thread, at the first query of this process: a fork has no threads."""
        if self._process_id == os.getpid():
            return
        self._process_id = os.getpid()
        for watch in list(self._watches):
            watch.discard_running_queries()
        threading.Thread(target=self._watch_queries, name="slow queries", daemon=True).start()

    def _watch_queries(self) -> None:
        for tick in itertools.count(1):
            time.sleep(WATCH_INTERVAL_SECONDS)
            for watch in list(self._watches):
                try:
                    watch.write_slow_queries_file()
                    if tick % DISK_INTERVAL_TICKS == 0:
                        watch.sample_disk()
                except Exception:
                    log.exception("the log of slow queries could not be written")


_watcher = _QueryWatchThread()
