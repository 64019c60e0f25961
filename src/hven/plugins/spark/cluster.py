"""The Spark cluster of a site.

One session for each process, opened when it is first needed and anew when the server began anew; turns, and what it
says of itself.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hven.engines.api.executions import DeadlineWatcher
from hven.model.errors import HvenError, UsageError
from hven.plugins.spark import error_translation
from hven.plugins.spark.spark_connect import SparkConnectSession, iterate_answer_batches
from hven.plugins.spark.spark_functions import build_worker_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.deadlines import Deadline

WORKER_PROBE_TASKS = 16  # tasks that inspect the workers; each worker gets some of them


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkClusterFacts:
    """Facts about a cluster.

    Attributes
    ----------
    version
        Version of the server.
    pythons, hvens
        Version on the workers -> the hosts that have it. An empty version means that Hven is not installed.
    unseen
        Root -> the hosts that do not see it, or ``the Connect server``.
    fault
        Reason why the workers did not respond; empty if they did.
    """

    version: str
    pythons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hvens: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unseen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fault: str = ""


class SparkCluster:
    """A cluster, by the address of its Connect server. Thread-safe.

    It loads the client, and connects, when it is first needed.

    Parameters
    ----------
    url
        Address of the server: ``sc://host:15002``, with ``/;token=..;use_ssl=true`` if it wants them.
    at_once
        Maximum number of statements of this process that run at a time.

    Raises
    ------
    UsageError
        The url is no address of a Spark Connect server.
    """

    def __init__(self, url: str, *, at_once: int = 4) -> None:
        parts = urlsplit(url)
        if parts.scheme != "sc" or not parts.hostname:
            raise UsageError(
                f"{url.split(';', 1)[0]!r} is not the address of a Spark Connect server",
                remedy="write an address such as sc://host:15002",
            )
        self.url = url
        self.server_name = f"{parts.hostname}:{parts.port or 15002}"
        self.deadline_watcher = DeadlineWatcher()
        self._max_running = max(1, at_once)
        self._lock = threading.Lock()
        self._session: SparkConnectSession | None = None
        self._turn_condition = threading.Condition()
        self._running_count = 0
        self._last_fault: tuple[HvenError, float] | None = None

    def get_session(self) -> SparkConnectSession:
        """Return the session, which is opened if there is none.

        Raises
        ------
        StorageUnavailableError
            The server does not respond.
        """
        start_time = time.monotonic()
        with self._lock:
            if self._session is None:
                if self._last_fault is not None and self._last_fault[1] > start_time:
                    raise self._last_fault[0]  # another thread has tried while this one waited
                try:
                    self._session = SparkConnectSession(self.url, self.server_name)
                except HvenError as error:
                    self._last_fault = error, time.monotonic()
                    raise
                self._last_fault = None
            return self._session

    def close_lost_session(self, session: SparkConnectSession, *, is_away: bool) -> None:
        """Close a session whose server is away or has restarted."""
        with self._lock:
            if is_away:
                no_answer_error = error_translation.build_spark_no_answer_error(self.server_name)
                self._last_fault = (no_answer_error, time.monotonic())
            else:
                self._last_fault = None
            if self._session is session:
                self._session = None
                session.close()

    def find_outage(self) -> str | None:
        """Return the reason why the cluster does not respond; None if it does, or if it was never needed."""
        session = self._session
        if session is None and self._last_fault is None:
            return None
        try:
            (session or self.get_session()).check_server_alive()
        except HvenError as error:
            if (
                session is not None
                and error.__cause__ is not None
                and error_translation.is_server_away(error.__cause__)
            ):
                self.close_lost_session(session, is_away=True)
            return str(error)
        return None

    @contextmanager
    def wait_for_turn(self, is_cancelled: Callable[[], bool], deadline: Deadline | None) -> Iterator[None]:
        """Wait for a turn, until the query is cancelled or its time is over; the caller checks that."""
        with self._turn_condition:
            while self._running_count >= self._max_running and not is_cancelled():
                if deadline is None:
                    self._turn_condition.wait()
                elif deadline.remaining_seconds > 0:
                    self._turn_condition.wait(max(deadline.remaining_seconds, 0.01))
                else:
                    break
            self._running_count += 1
        try:
            yield
        finally:
            with self._turn_condition:
                self._running_count -= 1
                self._turn_condition.notify_all()

    def notify_waiting_threads(self) -> None:
        """Wake the threads that wait for a turn, because a query was cancelled."""
        with self._turn_condition:
            self._turn_condition.notify_all()

    def inspect_cluster(self, roots: Sequence[str] = ()) -> SparkClusterFacts:
        """Ask the cluster for its version, for the Python and the Hven of its workers, and whether all see the roots.

        Parameters
        ----------
        roots
            Paths of directories.

        Raises
        ------
        StorageUnavailableError
            The server does not respond.
        """
        session = self.get_session()
        unseen = {root: ["the Connect server"] for root in roots if not self._can_see_root(session, root)}
        pythons: dict[str, list[str]] = {}
        hvens: dict[str, list[str]] = {}
        fault = ""
        try:
            for worker_line in _probe_workers(session, roots):
                host, python, version, *unseen_roots = worker_line.split("\t")
                _add_host(pythons, python, host)
                _add_host(hvens, version, host)
                for root in unseen_roots:
                    _add_host(unseen, root, host)
        except session.transport_errors as error:
            fault = str(error_translation.translate_spark_error(error, server_name=self.server_name))
        return SparkClusterFacts(version=session.version, pythons=pythons, hvens=hvens, unseen=unseen, fault=fault)

    def _can_see_root(self, session: SparkConnectSession, root: str) -> bool:
        """Return whether the Connect server sees a directory."""
        root_probe = session.messages.Relation()
        root_probe.read.data_source.format = "binaryFile"
        root_probe.read.data_source.paths.append(_find_any_file(root))
        try:
            session.analyse_relation(root_probe)
        except session.transport_errors as error:
            if error_translation.parse_spark_error(error)[0] != "PATH_NOT_FOUND":
                raise error_translation.translate_spark_error(error, server_name=self.server_name) from error
            return False
        return True

    def close(self) -> None:
        """Close the session."""
        self.deadline_watcher.close()
        with self._lock:
            session = self._session
            self._session = None
        if session is not None:
            session.close()


def _probe_workers(session: SparkConnectSession, roots: Sequence[str]) -> Iterator[str]:
    """Yield what the workers tell of themselves; see `build_worker_probe`."""
    name = f"hven_facts_{uuid.uuid4().hex}"
    session.register_function(name, build_worker_probe(tuple(roots)), "VARCHAR")
    sql = f"SELECT DISTINCT {name}(id) AS said FROM range(0, {WORKER_PROBE_TASKS}, 1, {WORKER_PROBE_TASKS})"
    probe_relation = session.create_sql_relation(sql, {}, {})
    for batch in iterate_answer_batches(session.execute_relation(probe_relation)):
        yield from batch.column(0).to_pylist()


def _find_any_file(root: str) -> str:
    """Return a file below a directory, or the directory: the server would list all files of a directory."""
    return next((str(Path(place, names[0])) for place, _, names in os.walk(root) if names), root)


def _add_host(hosts_by_key: dict[str, list[str]], key: str, host: str) -> None:
    if host not in hosts_by_key.setdefault(key, []):
        hosts_by_key[key].append(host)
