"""Run the processes of a server: workers behind one address (granian), jobs and the scheduler, with a graceful stop."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import logging.config
import os
import pkgutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from hven import formats
from hven.app._server.application import ReloadingApplication
from hven.app._server.logging_setup import LOGGING_CONFIG, skip_log_record_details
from hven.app._server.worker_server import WorkerServer, is_first_worker, raise_connection_limit
from hven.jobs import child_processes, job_supervisor, scheduler
from hven.jobs.hang_detector import compute_load_factor
from hven.model import deadlines, plugins
from hven.model import settings as site_settings
from hven.model.errors import HvenError
from hven.portal.faces.portal import load_package_pages
from hven.query import memory_watchdog
from hven.services import face
from hven.services.admission import load_request_gates
from hven.site import Site, counters, reserve_request_observer_memory
from hven.site.descriptor_watch import preload_descriptors
from hven.site.library_pages import release_library_pages
from hven.site.server_processes import list_server_processes
from hven.site.store import StateStore, mark_state_required

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from hven.model.settings import Settings

log = logging.getLogger("hven")

RESPAWN_CHECK_SECONDS = 0.5  # time between two checks whether a side process runs
GRACE_SECONDS = 8  # time that running answers, jobs and runs get to end
# Side processes without a heartbeat for this time, on a quiet machine, are killed; they may wait for a database.
MAX_SILENCE_SECONDS = 60.0
SITE_DIRECTORY_VARIABLE = "HVEN_SITE_DIRECTORY"
M_ARENA_MAX, MAX_ARENAS = -8, 4  # <malloc.h>: memory pools that threads share
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 1024**2  # larger blocks are returned to the system at once
# Time after which a thread that waits for the interpreter's lock requests it. A busy event loop releases the lock for
# moments that are too short to take it. With Python's 5 ms, a thread that writes a large answer, or one that connects,
# waited for seconds. The loop gets the lock back sooner, too.
SWITCH_INTERVAL_SECONDS = 0.0002
MEMORY_EXIT_CODE = 4  # exit code of a worker that uses too much memory
SITE_ERROR_EXIT_CODE = 3  # exit code of a worker that cannot open its site


def create_worker_application() -> ASGIApp:
    """Build the application in a worker process; an environment variable has the site's directory.

    Raises
    ------
    SystemExit
        The site cannot be opened any more; the log has the reason.
    """
    logging.config.dictConfig(LOGGING_CONFIG)
    skip_log_record_details()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    _limit_malloc_arenas()
    memory_watchdog.end_process = _end_worker_over_memory_limit
    try:
        site, worker_application = _get_or_build_application()
        worker_application.start_background_work()
        site.start_published_state_refresh(is_first_process=is_first_worker())
        if os.environ.get("HVEN_AFTER_CRASH"):
            site.store.verifications.request_full_verification()
        site.engines.embedded_engine.delegate_long_queries()
    except HvenError as error:
        log.error("%s", error)  # noqa: TRY400  (the message tells the operator all: no traceback)
        raise SystemExit(SITE_ERROR_EXIT_CODE) from None
    gc.collect()
    # These objects last as long as the worker. Frozen, they do not lengthen the collector's rounds, which hold the
    # interpreter's lock.
    gc.freeze()
    return worker_application


_preloaded_application: tuple[Site, ReloadingApplication] | None = None  # what the server has built for its workers


_settings_in_force: site_settings.ReloadableSettings | None = None  # the server keeps them while it runs


def _get_or_build_application() -> tuple[Site, ReloadingApplication]:
    """Return the site and the application that the server has built for its workers; build them if it has not.

    They are also built anew if hven.toml has changed since, because some settings only apply from the start of a
    process. While hven.toml has an error, the settings stay as they were before it.
    """
    if _preloaded_application is not None and _preloaded_application[0].reloadable_settings.is_file_unchanged():
        return _preloaded_application
    try:
        settings = site_settings.load_settings(Path(os.environ[SITE_DIRECTORY_VARIABLE]))
    except (HvenError, OSError) as error:
        if _settings_in_force is None:
            raise
        log.error("a worker starts with the previous settings: %s", error)  # noqa: TRY400  (the message tells all)
        settings = _settings_in_force.current
    if _preloaded_application is not None and _preloaded_application[0].settings == settings:
        return _preloaded_application
    # the server has opened the state: if it is missing now, that is an error
    mark_state_required(settings.var_directory, settings.store)
    site = Site(settings)
    return site, ReloadingApplication(site)


def _preload_application(settings: Settings, store: StateStore) -> None:
    """Build the site and the application once for all workers, which are forks: they share its memory.

    A worker that is forked later reads what has changed since.
    """
    global _preloaded_application  # noqa: PLW0603  (forks have nothing else in common)
    thread_count = threading.active_count()
    with contextlib.suppress(HvenError):  # each worker tries it again, and reports the error
        site = Site(settings, store=store, is_preloading=True)
        try:
            application = ReloadingApplication(site)
            site.prepare_forks()
            if threading.active_count() <= thread_count:  # workers would lack a thread that a plug-in has started
                _preloaded_application = site, application
        finally:
            if _preloaded_application is None:
                site.close()
    gc.collect()
    gc.freeze()


def _end_worker_over_memory_limit(held_bytes: int) -> None:
    """End this worker because its queries use too much memory, and cancelling them did not free enough.

    The server starts another worker at once.
    """
    log.error("restarting a worker because it uses %d MiB, which is more than its queries may use", held_bytes >> 20)
    os._exit(MEMORY_EXIT_CODE)


def serve_site(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    activation_socket: socket.socket | None = None,
    drain_seconds: float = 0.0,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Serve a site until SIGINT or SIGTERM; running answers then get some time to end.

    Raises
    ------
    StorageError
        The system state cannot be opened.
    """
    # opened here before the workers do, so that a fault is reported once and at once, and an upgrade is made once
    store = StateStore(settings.var_directory, settings.store).mark_state_required()
    global _settings_in_force  # noqa: PLW0603  (workers are forks, and get it)
    settings_in_force = _settings_in_force = site_settings.ReloadableSettings(settings)
    logging.config.dictConfig(LOGGING_CONFIG)
    for server_process in list_server_processes(settings)[:1]:
        log.info(
            "%s also serves this site; both processes share its data, jobs and schedule", server_process.display_name
        )
    os.environ[SITE_DIRECTORY_VARIABLE] = str(settings.directory.resolve())
    counters.create_shared_counter_memory()
    reserve_request_observer_memory()
    for gate in load_request_gates():
        gate.reserve_shared_memory(workers)
    try:
        _preload_worker_modules(settings, store)
    finally:
        store.close()  # forks must not share its connections
    _preload_application(settings, store)
    release_library_pages()
    side_processes = start_side_processes(settings, store)

    def stop_side_processes() -> None:  # all at once, because each may take a while
        for side_process in side_processes:
            side_process.request_stop()

    def log_address() -> None:
        address = replace(settings, host=host, port=port).listening_address
        log.info("serving %s at http://%s with %s workers", settings.directory, address, workers)

    server = WorkerServer(
        "hven.app._server.processes:create_worker_application",
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.uvloop,
        backpressure=raise_connection_limit(),
        log_dictconfig=LOGGING_CONFIG,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=grace_seconds,
        websockets=False,
        activation_socket=activation_socket,
        drain_seconds=drain_seconds,
        on_stop=stop_side_processes,
        on_listening=log_address,
        on_check=settings_in_force.reload_if_changed,
    )
    try:
        server.serve()
    finally:
        stop_side_processes()
        for side_process in side_processes:
            side_process.stop()


class SupervisedSideProcess:
    """A process beside the workers: a fork of this process, which is forked again if it dies.

    Parameters
    ----------
    name
        Name of the process in the log.
    run_process
        Runs until SIGTERM. It gets the id of this process, with which it must end, too.
    """

    def __init__(self, name: str, run_process: Callable[[int], None]) -> None:
        self._name = name
        self._run_process = run_process
        self._is_stopping = threading.Event()
        self._pid = self._fork_child()
        threading.Thread(target=self._run_respawn_loop, name=name, daemon=True).start()

    def _fork_child(self) -> int:
        pulse = self._pulse = child_processes.ProcessHeartbeat()

        def run_child(parent: int) -> None:
            pulse.assign_to_this_process()
            os.setsid()
            deadlines.reduce_thread_priority(deadlines.JOB_NICENESS)
            deadlines.reduce_session_priority(deadlines.SESSION_NICENESS)
            self._run_process(parent)

        return child_processes.fork_process(run_child, self._name, log)

    def _run_respawn_loop(self) -> None:
        while not self._is_stopping.is_set():
            try:
                exited_pid = os.waitpid(self._pid, os.WNOHANG)[0]
            except ChildProcessError:  # `stop` has waited for its end
                return
            silent_seconds = self._pulse.get_silent_seconds()
            if not exited_pid and silent_seconds > MAX_SILENCE_SECONDS * compute_load_factor():
                log.error("killing %s, which has not sent a heartbeat for %.0f s", self._name, silent_seconds)
                child_processes.send_signal(self._pid, signal.SIGKILL)
            if exited_pid and not self._is_stopping.wait(RESPAWN_CHECK_SECONDS):
                log.warning("restarting %s, which died", self._name)
                self._pid = self._fork_child()
            self._is_stopping.wait(RESPAWN_CHECK_SECONDS)

    def request_stop(self) -> None:
        """Tell the process to end."""
        self._is_stopping.set()
        child_processes.send_signal(self._pid, signal.SIGTERM)

    def stop(self) -> None:
        """Tell the process to end, and wait until it has; kill it if it does not end in time."""
        self.request_stop()
        end = time.monotonic() + (GRACE_SECONDS + 1.0) * compute_load_factor()
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(self._pid, os.WNOHANG)[0]:
                if time.monotonic() > end:
                    child_processes.send_signal(self._pid, signal.SIGKILL)
                time.sleep(0.02)


def start_side_processes(
    settings: Settings, store: StateStore | None = None, *, with_jobs: bool = True
) -> list[SupervisedSideProcess]:
    """Start the side processes of a site: the job supervisor and the scheduler.

    They use the store, which has no connections, or open it if it is None.
    """
    # The forks run jobs and syncs, and returned memory of staged rows too late (386 MB instead of 173 MB).
    _limit_malloc_arenas()

    def run_jobs(parent_pid: int) -> None:
        job_supervisor.run_job_supervisor(
            settings, worker_limit=settings.job_workers, parent_pid=parent_pid, store=store
        )

    def run_schedule(parent_pid: int) -> None:
        scheduler.run_scheduler(settings, parent_pid=parent_pid, store=store)

    side_processes = []
    if with_jobs and settings.job_workers:
        side_processes.append(SupervisedSideProcess("the job supervisor", run_jobs))
    if settings.schedule.runs:
        side_processes.append(SupervisedSideProcess("the scheduler", run_schedule))
    return side_processes


def _limit_malloc_arenas() -> None:
    """Limit the C library's memory pools: each keeps memory that its threads once used.

    See also `hven.app._server`.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc has it, musl does not
        mallopt(M_ARENA_MAX, MAX_ARENAS)
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def _preload_worker_modules(settings: Settings, store: StateStore | None = None) -> None:
    """Import what every worker needs. Workers are forks, so this is done once, and they share its memory."""
    engine = plugins.load_plugin("engines", settings.engine)
    for _, name, _ in pkgutil.iter_modules(vars(engine).get("__path__"), f"{engine.__name__}."):
        importlib.import_module(name)
    descriptor_store = None if store is None else store.descriptors
    preload_descriptors(settings, descriptor_store)  # the workers report their faults
    for group in ("engines", "jobs"):
        for name in plugins.list_plugins(group):
            plugins.load_plugin(group, name)
    face.load_service_faces()
    load_package_pages()
    formats.load_formats()
    gc.collect()
    gc.freeze()  # otherwise the collector would write into objects, and pages of memory would not be shared any more
