"""``hven serve`` and ``hven work``: run the processes of the site until they are stopped."""

from __future__ import annotations

import errno
import logging
import logging.config
import os
import socket
import sys
from dataclasses import replace
from typing import Annotated

import typer

from hven.app import _server as server  # first: it chooses the allocator of Arrow, before Arrow is imported

# isort: split
from hven.app._cli.context import load_site_settings
from hven.app._server import processes
from hven.app._server.activation import take_activation_socket
from hven.app._server.logging_setup import LOGGING_CONFIG
from hven.jobs import job_supervisor, type_catalogue
from hven.model import plugins
from hven.model.errors import UsageError
from hven.model.settings import find_exposed_file_faults, find_unavailable_section_faults
from hven.site.state_faults import find_state_faults


def serve(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=1, max=65535, help="Port (default: `port` in hven.toml, or 8080).")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (default: `host` in hven.toml, or 127.0.0.1).")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Number of processes (default: `workers` in hven.toml, or 2)."),
    ] = None,
    *,
    drain: Annotated[
        float,
        typer.Option(
            min=0, max=3600, help="When told to stop: seconds in which connections close after their next answer."
        ),
    ] = 0.0,
    grace: Annotated[
        float, typer.Option(min=1, max=86400, help="When told to stop: seconds that running answers get to end.")
    ] = processes.GRACE_SECONDS,
) -> None:
    """Serve the site until Ctrl-C.

    If systemd passes a listening socket, the server uses it instead of its own.
    """
    site_settings = load_site_settings(context)
    activation_socket = take_activation_socket()
    if activation_socket is not None:
        host, port = activation_socket.getsockname()[:2]
    for plugin_fault in plugins.find_plugin_faults():
        raise plugin_fault
    # faults of job types are reported here, where the operator sees them, and not by a background process
    type_catalogue.load_all_job_types(site_settings)
    for fault in [
        *find_unavailable_section_faults(site_settings),
        *find_state_faults(site_settings, host=host, port=port),
        *find_exposed_file_faults(site_settings.directory, site_settings.var_directory, site_settings.data_directory),
    ]:
        print(f"warning: {fault}", file=sys.stderr)
    # the same values as in the server's processes, which load the settings again
    site_settings = replace(
        site_settings,
        directory=site_settings.directory.resolve(),
        host=host or site_settings.host,
        port=port or site_settings.port,
    )
    listen_address = site_settings.host
    if activation_socket is None:
        listen_address = _resolve_free_listen_address(site_settings.host, site_settings.port)
    # The server's processes read these variables, so that addresses in ivoa.obscore are those of this server.
    if host:
        os.environ["HVEN_HOST"] = host
    if port:
        os.environ["HVEN_PORT"] = str(port)
    worker_count = workers or site_settings.workers
    server.serve_site(
        site_settings,
        host=listen_address,
        port=site_settings.port,
        workers=worker_count,
        activation_socket=activation_socket,
        drain_seconds=drain,
        grace_seconds=grace,
    )


def work(
    context: typer.Context,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Number of processes (default: `job_workers` in hven.toml, or 1)."),
    ] = None,
) -> None:
    """Run asynchronous jobs and the schedule until Ctrl-C.

    The command runs beside a server, or on another machine that shares the site's directory and store.
    """
    site_settings = load_site_settings(context)
    logging.config.dictConfig(LOGGING_CONFIG)
    plugins.load_plugin("engines", site_settings.engine)
    worker_limit = workers or max(site_settings.job_workers, 1)
    log = logging.getLogger("hven")
    log.info("running the jobs of %s with up to %s workers", site_settings.directory, worker_limit)
    side_processes = processes.start_side_processes(site_settings, with_jobs=False)
    try:
        job_supervisor.run_job_supervisor(site_settings, worker_limit=worker_limit)
    finally:
        for side_process in side_processes:
            side_process.stop()


def _resolve_free_listen_address(host: str, port: int) -> str:
    """Resolve a host to its address, and check that no other program listens there.

    The workers share their port, and without this check they would share it with another program.

    Raises
    ------
    UsageError
        This machine has no such address, or the port is in use.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, socket_type, protocol, _, address = addresses[0]
        with socket.socket(family, socket_type, protocol) as test_socket:
            # connections in TIME_WAIT do not occupy the address
            test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test_socket.bind(address)
    except socket.gaierror:
        raise UsageError(
            f"--host {host}: there is no such address",
            remedy="use 127.0.0.1 for this machine only, or 0.0.0.0 for all its networks",
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"another program is already listening on {host}:{port}",
                remedy="stop it, or choose another port with --port N",
            ) from None
        if error.errno == errno.EACCES:
            raise UsageError(
                f"only root can use port {port}",
                remedy="choose port 1024 or higher, and put a reverse proxy in front of it",
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"--host {host} is not an address of this machine",
                remedy="use 127.0.0.1 for this machine only, or 0.0.0.0 for all its networks",
            ) from None
        raise
    return str(address[0])
