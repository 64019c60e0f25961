"""The verb ``hven ready``: whether a server is ready to take requests, for probes and before a switch."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from hven.app.api import load_site_settings, print_json
from hven.plugins.deployment.readiness import Readiness, check_state_format, wait_until_ready

LOCAL_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (where to ask a server that listens everywhere)


def check_server_readiness(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Address of the server. Default: host and port in hven.toml.")
    ] = "",
    *,
    wait: Annotated[float, typer.Option(min=0, max=86400, help="Seconds to wait until the server is ready.")] = 0.0,
    process: Annotated[
        int | None,
        typer.Option(min=1, help="Id of the server's process. When it has ended, the command does not wait."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Check that a server can answer queries.

    Without an address, or with --site, the command also checks that this version of Hven can use the site's system
    state. The exit code is 1 if the server should get no requests.
    """
    state = Readiness(is_ready=True)
    url = address
    if not address or context.obj is not None:
        settings = load_site_settings(context)
        state = check_state_format(settings)
        host = LOCAL_HOSTS.get(settings.host, settings.host)
        local_address = replace(settings, host=host).listening_address
        url = address or f"http://{local_address}{settings.root_path.rstrip('/')}"
    server = wait_until_ready(url, wait if state.is_ready else 0.0, process_id=process)
    is_ready = state.is_ready and server.is_ready
    if as_json:
        print_json({"ready": is_ready, "address": url, "server": server.messages, "state": state.messages})
    else:
        print(f"{url}: {'ready' if is_ready else 'not ready'}")
        for message in (*server.messages, *state.messages):
            print(f"  {message}", file=sys.stdout if is_ready else sys.stderr)
    if not is_ready:
        raise typer.Exit(1)
