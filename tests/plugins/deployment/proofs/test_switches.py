"""Switch between an older and a newer server of one site under load: no request is lost, and nothing happens twice.

Five switches here; with HVEN_PROOF=full, a hundred under 32 clients. HVEN_SWITCHES is another number.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from switched_servers import (
    HaproxyProcess,
    build_site,
    judge_clients,
    open_held_socket,
    run_clients,
    start_variant,
)

from hven.model.settings import load_settings
from hven.plugins.deployment.deployment_files import render_deployment_files
from process_runner import reserve_port, wait_until
from requirements import require_program

pytestmark = pytest.mark.slow
FULL = os.environ.get("HVEN_PROOF") == "full"
SWITCHES = int(os.environ.get("HVEN_SWITCHES") or (100 if FULL else 5))
CLIENTS = 32 if FULL else 6
REST_SECONDS = (
    1.0 if FULL else 0.2
)  # between the requests of a client: the load of a busy site, not more than it can answer

PAUSE_SECONDS = 0.5  # between two switches, so that waiting jobs run
MAX_STOPPING = 2  # servers that end while the switches go on
# no switch begins after this time: the figures say how many there were
MAX_SECONDS = float(os.environ.get("HVEN_SWITCHES_SECONDS") or 7200)


def count_switches() -> Iterator[int]:
    """Number the switches, as long as there is time."""
    end = time.monotonic() + MAX_SECONDS
    return itertools.takewhile(lambda _: time.monotonic() < end, range(SWITCHES))


def test_switches_by_haproxy(tmp_path: Path) -> None:
    program = require_program("haproxy")
    site = tmp_path / "site"
    token = build_site(site)
    files = {file.name: file.text for file in render_deployment_files(load_settings(site), "compose")}
    ports = {name: reserve_port() for name in ("blue", "green")}
    variants = {"blue": start_variant(site, "blue", port=ports["blue"], drain_seconds=0)}
    stopping: list[Future[None]] = []
    proxy = HaproxyProcess(program, files["haproxy.cfg"], tmp_path, port := reserve_port(), ports)
    try:
        with ThreadPoolExecutor() as stoppers:
            wait_until(lambda: proxy.read_server("blue")["status"] == "UP", 120)
            with run_clients(port, token, CLIENTS, REST_SECONDS) as clients:
                for switch in count_switches():
                    old, new = ("blue", "green") if switch % 2 == 0 else ("green", "blue")
                    # the process that had this name two switches ago may still be stopping on its port
                    proxy.set_port(new, new_port := reserve_port())
                    # green is a newer program, whose format of the system state blue can use
                    variants[new] = start_variant(site, new, port=new_port, is_newer=new == "green", drain_seconds=0)
                    proxy.set_state(new, "ready")
                    proxy.wait_for_server(new, lambda row: row["status"] == "UP")
                    proxy.set_state(old, "drain")
                    proxy.wait_for_server(old, lambda row: row["scur"] == "0")
                    stopping.append(stoppers.submit(variants.pop(old).stop))
                    if len(stopping) > MAX_STOPPING:
                        stopping[-MAX_STOPPING - 1].result()
                    time.sleep(PAUSE_SECONDS)
            for stop in stopping:
                stop.result()
        judge_clients(clients, site, port, f"{switch + 1} switches by HAProxy")
    finally:
        proxy.stop()
        for variant in variants.values():
            variant.process.kill()
            variant.process.wait()


def test_restarts_with_a_held_socket(tmp_path: Path) -> None:
    site = tmp_path / "site"
    token = build_site(site)
    with open_held_socket() as held_socket:
        port = held_socket.getsockname()[1]
        variant = start_variant(site, "socket", held_socket=held_socket)
        try:
            wait_until(variant.has_workers, 120)
            with run_clients(port, token, CLIENTS, REST_SECONDS) as clients:
                for switch in count_switches():
                    variant.stop()
                    variant = start_variant(site, "socket", held_socket=held_socket, is_newer=switch % 2 == 0)
                    wait_until(variant.has_workers, 120)
                    time.sleep(PAUSE_SECONDS)
            judge_clients(clients, site, port, f"{switch + 1} restarts with a held socket")
        finally:
            variant.process.kill()
            variant.process.wait()
