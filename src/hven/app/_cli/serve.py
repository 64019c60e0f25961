"""``hven serve`` and ``work``: the site's processes, until somebody stops them."""

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

from hven.app import _server as server  # before whatever loads Arrow: it says which allocator that takes

# isort: split
from hven.app._cli.context import load_site_settings
from hven.app._server import processes
from hven.app._server.logging_setup import LOGGING_CONFIG
from hven.jobs import declared_types, job_supervisor
from hven.model import plugins
from hven.model.errors import UsageError
from hven.model.settings import find_exposed_files, find_unavailable_sections
from hven.site.outdated_addresses import find_outdated_addresses


def serve(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=1, max=65535, help="Port (default: of hven.toml, 8080).")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen at (default: of hven.toml, 127.0.0.1).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: of hven.toml, 2).")
    ] = None,
) -> None:
    """Serve the site until Ctrl-C."""
    site_settings = load_site_settings(context)
    for plugin_fault in plugins.find_plugin_faults():
        raise plugin_fault
    declared_types.load_all_job_types(
        site_settings
    )  # their faults are told here, not by a process that nobody looks at
    for fault in [
        *find_unavailable_sections(site_settings),
        *find_outdated_addresses(site_settings, host=host, port=port),
        *find_exposed_files(site_settings.directory, site_settings.var_directory, site_settings.data_directory),
    ]:
        print(f"warning: {fault}", file=sys.stderr)
    # as the server's processes load them
    directory = site_settings.directory.resolve()
    site_settings = replace(
        site_settings,
        directory=directory,
        host=host or site_settings.host,
        port=port or site_settings.port,
    )
    listen_address = _resolve_free_address(site_settings.host, site_settings.port)
    # the server's processes read the settings by themselves: addresses in ivoa.obscore are those of this server as well
    environment = {"HVEN_HOST": host, "HVEN_PORT": port and str(port)}
    os.environ |= {name: value for name, value in environment.items() if value}
    server.serve_site(
        site_settings, host=listen_address, port=site_settings.port, workers=workers or site_settings.workers
    )


def work(
    context: typer.Context,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: job_workers of hven.toml, 1).")
    ] = None,
) -> None:
    """Run asynchronous jobs, and the schedule, until Ctrl-C.

    Beside a server, or on another machine that shares the site's directory and store.
    """
    site_settings = load_site_settings(context)
    logging.config.dictConfig(LOGGING_CONFIG)
    plugins.load_plugin("engines", site_settings.engine)
    number = workers or max(site_settings.job_workers, 1)
    logging.getLogger("hven").info("running the jobs of %s with up to %s workers", site_settings.directory, number)
    side_processes = processes.start_side_processes(site_settings, with_jobs=False)
    try:
        job_supervisor.run_job_supervisor(site_settings, worker_limit=number)
    finally:
        for side_process in side_processes:
            side_process.stop()


def _resolve_free_address(host: str, port: int) -> str:
    """Resolve a host to its address, and check that no other program listens there.

    The workers share their port; without this check they would share it with another program.

    Raises
    ------
    UsageError
        There is no such address on this machine, or it is taken.
    """
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket_type, protocol) as test_socket:
            test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing are nobody
            test_socket.bind(address)
    except socket.gaierror:
        raise UsageError(
            f"--host {host}: there is no such address",
            remedy="127.0.0.1 is this machine alone, 0.0.0.0 all its networks",
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"somebody listens at {host}:{port} already", remedy="stop it, or say --port N") from None
        if error.errno == errno.EACCES:
            raise UsageError(
                f"port {port} is only for root", remedy="take one from 1024 on, behind a reverse proxy"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"--host {host} is no address of this machine",
                remedy="127.0.0.1 is this machine alone, 0.0.0.0 all its networks",
            ) from None
        raise
    return str(address[0])
