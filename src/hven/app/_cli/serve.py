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
from hven.app._cli.context import settings
from hven.app._server import processes
from hven.app._server.log import LOGGING
from hven.jobs import declared, keeper
from hven.model import plugins
from hven.model.errors import UsageError
from hven.model.settings import exposed, lacking
from hven.site.addresses import outdated


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
    found = settings(context)
    for broken in plugins.faults():
        raise broken
    declared.offered(found)  # their faults are told here, not by a process that nobody looks at
    for fault in [
        *lacking(found),
        *outdated(found, host=host, port=port),
        *exposed(found.directory, found.var, found.kept),
    ]:
        print(f"warning: {fault}", file=sys.stderr)
    # as the server's processes load them
    found = replace(found, directory=found.directory.resolve(), host=host or found.host, port=port or found.port)
    free = _free(found.host, found.port)
    # the server's processes read the settings by themselves: addresses in ivoa.obscore are those of this server as well
    said = {"HVEN_HOST": host, "HVEN_PORT": port and str(port)}
    os.environ |= {name: value for name, value in said.items() if value}
    server.serve(found, host=free, port=found.port, workers=workers or found.workers)


def work(
    context: typer.Context,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: job_workers of hven.toml, 1).")
    ] = None,
) -> None:
    """Run asynchronous jobs, and the schedule, until Ctrl-C.

    Beside a server, or on another machine that shares the site's directory and store.
    """
    found = settings(context)
    logging.config.dictConfig(LOGGING)
    plugins.load("engines", found.engine)
    number = workers or max(found.job_workers, 1)
    logging.getLogger("hven").info("running the jobs of %s with up to %s workers", found.directory, number)
    others = processes.beside(found, jobs=False)
    try:
        keeper.keep(found, workers=number)
    finally:
        for other in others:
            other.stop()


def _free(host: str, port: int) -> str:
    """Resolve a host to its address, and check that nobody listens there (the workers share their port, and would share it with others).

    Raises
    ------
    UsageError
        There is no such address on this machine, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing are nobody
            trial.bind(address)
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
