"""Switch between an older and a newer server of one site under load: no request is lost, and nothing happens twice.

Five switches here; with HVEN_PROOF=full, a hundred under 32 clients that also stream a million rows. HVEN_SWITCHES is another number.

At full size, a run may end early: after HVEN_SWITCHES_SECONDS, or when the file that HVEN_SWITCHES_STOP names is there. What
has happened so far is checked then, and the next run makes the switches that are left. After a run that fails or is
killed, or a change of the code, the count begins at 0.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from switch_record import SwitchRecord, identify_code
from switched_servers import (
    HaproxyProcess,
    NginxProcess,
    RunningVariant,
    build_site,
    check_p99,
    judge_clients,
    open_held_socket,
    publish_edition,
    run_clients,
    start_variant,
    wait_quiet_time,
)

from hven.model.settings import load_settings
from hven.plugins.deployment.deployment_files import render_deployment_files
from process_runner import reserve_port, wait_until
from requirements import require_program
from shared import ROOT

pytestmark = pytest.mark.slow
FULL = os.environ.get("HVEN_PROOF") == "full"
SWITCHES = int(os.environ.get("HVEN_SWITCHES") or (100 if FULL else 5))
CLIENTS = 32 if FULL else 6
# between the requests of a client: the load of a busy site, not more than it can answer
REST_SECONDS = 1.0 if FULL else 0.2

PAUSE_SECONDS = 0.5  # between two switches, so that waiting jobs run
QUIET_SECONDS = 90.0 if FULL else 0.0  # in which the same clients send the same requests before the first switch
MAX_STOPPING = 2  # servers that end while the switches go on
SWITCHES_PER_EDITION = 5  # after so many, a table is published anew: no answer may mix both
# no switch begins after this time, or when this file is there: the figures say how many there were
MAX_SECONDS = float(os.environ.get("HVEN_SWITCHES_SECONDS") or 7200)
STOP_FILE = Path(os.environ["HVEN_SWITCHES_STOP"]) if os.environ.get("HVEN_SWITCHES_STOP") else None
RECORD_DIRECTORY = ROOT / ".cache/switches"


def create_record(name: str) -> SwitchRecord:
    return SwitchRecord(
        name,
        RECORD_DIRECTORY if FULL else None,
        SWITCHES,
        max_seconds=MAX_SECONDS,
        stop_file=STOP_FILE,
        code=identify_code() if FULL else "",
    )


class ServerPair:
    """Blue and green servers of a site. Green is a newer program, whose format of the system state blue can use."""

    def __init__(self, site: Path) -> None:
        self._site = site
        self._started: list[RunningVariant] = []

    def start(self, name: str) -> tuple[int, RunningVariant]:
        """Start a server, and wait until its workers have opened the site; return its port and the server."""
        port = reserve_port()  # the process that had this name before may still be stopping on its port
        variant = start_variant(self._site, name, port=port, is_newer=name == "green", drain_seconds=0)
        self._started.append(variant)
        wait_until(variant.has_workers, 300)
        return port, variant

    def kill(self) -> None:
        for variant in self._started:
            variant.process.kill()
            variant.process.wait()


def test_switches_by_haproxy(tmp_path: Path) -> None:
    program = require_program("haproxy")
    site = tmp_path / "site"
    token = build_site(site)
    files = {file.name: file.text for file in render_deployment_files(load_settings(site), "compose")}
    stopping: list[Future[None]] = []
    drained_requests: list[int] = []  # those that the old server still answered when the new one got all others
    record = create_record("haproxy")
    servers = ServerPair(site)
    proxy: HaproxyProcess | None = None
    try:
        blue_port, current = servers.start("blue")
        ports = {"blue": blue_port, "green": reserve_port()}
        proxy = HaproxyProcess(program, files["haproxy.cfg"], tmp_path, port := reserve_port(), ports)
        with ThreadPoolExecutor() as workers:
            proxy.wait_for_server("blue", lambda row: row["status"] == "UP")
            with run_clients(port, token, CLIENTS, REST_SECONDS) as clients:
                wait_quiet_time(clients, QUIET_SECONDS)
                starting = workers.submit(servers.start, "green")
                for switch in record.number_switches(clients):
                    old, new = ("blue", "green") if switch % 2 == 0 else ("green", "blue")
                    new_port, successor = starting.result()
                    proxy.set_port(new, new_port)
                    # the next server starts while this one takes over, so that there are three for some seconds
                    starting = workers.submit(servers.start, old)
                    proxy.set_state(new, "ready")
                    proxy.wait_for_server(new, lambda row: row["status"] == "UP")
                    proxy.set_state(old, "drain")
                    drained_requests.append(int(proxy.read_server(old)["scur"]))
                    proxy.wait_for_server(old, lambda row: row["scur"] == "0")
                    stopping.append(workers.submit(current.stop))
                    current = successor
                    if switch % SWITCHES_PER_EDITION == 0:
                        publish_edition(site, switch + 1)
                    if len(stopping) > MAX_STOPPING:
                        stopping[-MAX_STOPPING - 1].result()
                    time.sleep(PAUSE_SECONDS)
            starting.result()[1].stop()
            for stop in stopping:
                stop.result()
        busy_count = sum(count > 0 for count in drained_requests)
        print(f"{busy_count} of {record.count} drains began with requests in progress, {sum(drained_requests)} in all")
        way = f"{record.count} switches by HAProxy"
        record.add_run(lambda: judge_clients(clients, site, port, way))
        check_p99(clients, is_bounded=True)
    finally:
        if proxy is not None:
            proxy.stop()
        servers.kill()


def test_switches_by_reloads_of_nginx(tmp_path: Path) -> None:
    """nginx closes idle connections of clients when it is reloaded, and completes the requests in progress."""
    program = require_program("nginx")
    site = tmp_path / "site"
    token = build_site(site)
    variants = {"blue": start_variant(site, "blue", port=(server_port := reserve_port()))}
    record = create_record("nginx")
    wait_until(variants["blue"].has_workers, 300)
    proxy = NginxProcess(program, tmp_path, port := reserve_port(), server_port)
    try:
        with run_clients(port, token, CLIENTS, REST_SECONDS, kept_seconds=0.0) as clients:
            for switch in record.number_switches(clients):
                old, new = ("blue", "green") if switch % 2 == 0 else ("green", "blue")
                variants[new] = start_variant(site, new, port=(server_port := reserve_port()), is_newer=new == "green")
                wait_until(variants[new].has_workers, 300)
                proxy.switch(server_port)
                if switch % SWITCHES_PER_EDITION == 0:
                    publish_edition(site, switch + 1)
                variants.pop(old).stop()
                time.sleep(PAUSE_SECONDS)
        way = f"{record.count} switches by reloads of nginx"
        record.add_run(lambda: judge_clients(clients, site, port, way))
    finally:
        proxy.stop()
        for variant in variants.values():
            variant.process.kill()
            variant.process.wait()


def test_restarts_with_a_held_socket(tmp_path: Path) -> None:
    site = tmp_path / "site"
    token = build_site(site)
    record = create_record("held-socket")
    with open_held_socket() as held_socket:
        port = held_socket.getsockname()[1]
        variant = start_variant(site, "socket", held_socket=held_socket)
        try:
            wait_until(variant.has_workers, 300)
            with run_clients(port, token, CLIENTS, REST_SECONDS) as clients:
                wait_quiet_time(clients, QUIET_SECONDS)
                for switch in record.number_switches(clients):
                    variant.stop()
                    variant = start_variant(site, "socket", held_socket=held_socket, is_newer=switch % 2 == 0)
                    wait_until(variant.has_workers, 300)
                    if switch % SWITCHES_PER_EDITION == 0:
                        publish_edition(site, switch + 1)
                    time.sleep(PAUSE_SECONDS)
            way = f"{record.count} restarts with a held socket"
            record.add_run(lambda: judge_clients(clients, site, port, way))
            check_p99(clients, is_bounded=False)  # new connections must wait
        finally:
            variant.process.kill()
            variant.process.wait()
