"""Two machines and a database on a network: two servers in network namespaces of their own share holdings and jobs, and survive a cut cable."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from network_lock import change_network
from plugin_needs import require_plugins
from postgres_cluster import PostgresCluster, run_cluster
from process_runner import HVEN_COMMAND, Server, run_hven, serve_site, wait_until
from requirements import require

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("machines")]
COUNT = "SELECT COUNT(*) AS n FROM stars.main"


def run_ip(*words: object) -> None:
    """Run iproute2's program."""
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, timeout=60)


def free_net() -> str:
    """Give the beginning of addresses that nothing on this machine has: not another run of these tests either."""
    told = [
        subprocess.run(["ip", what], check=False, capture_output=True, timeout=60).stdout.decode()
        for what in ("addr", "route")
    ]
    nets = (f"10.{64 + (os.getpid() + number) % 100}" for number in range(100))
    return next(net for net in nets if f" {net}." not in " ".join(" ".join(told).split()))


@dataclass(frozen=True)
class Machine:
    """A network namespace that is joined to the database's by a cable."""

    name: str
    address: str
    gateway: str

    @property
    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self.name, *HVEN_COMMAND]

    @contextlib.contextmanager
    def cut(self, database: str) -> Iterator[None]:
        """Lose every packet that comes from the database."""
        rule = ("from", database, "to", self.address, "blackhole")
        run_ip("rule", "add", *rule)
        try:
            yield
        finally:
            run_ip("rule", "del", *rule)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine, str]]:
    """Make two namespaces, each with a cable to this one, and an address of the database's own; skip where that is not allowed."""
    require("ip", "root")
    with contextlib.ExitStack() as stack:
        with change_network():
            found, database_address = _join_machines(stack)
        yield found[0], found[1], database_address
        with change_network():
            stack.close()


def _join_machines(stack: contextlib.ExitStack) -> tuple[list[Machine], str]:
    """Make the namespaces and cables; the stack removes them. Return the machines and the database's address."""
    tag, net = f"hv{os.getpid() % 100_000}", free_net()

    def add_and_schedule_removal(undo: tuple[object, ...], *words: object) -> None:
        run_ip(*words)
        stack.callback(run_ip, *undo)

    found = []
    try:
        add_and_schedule_removal(
            ("addr", "del", f"{net}.0.1/32", "dev", "lo"), "addr", "add", f"{net}.0.1/32", "dev", "lo"
        )
        for number in (1, 2):
            name, here, there = f"{tag}-{number}", f"{tag}h{number}", f"{tag}n{number}"
            machine = Machine(name, f"{net}.{number}.2", f"{net}.{number}.1")
            # its end of the cable goes with it, and so does ours
            add_and_schedule_removal(("netns", "del", name), "netns", "add", name)
            run_ip("link", "add", here, "type", "veth", "peer", "name", there)
            run_ip("link", "set", there, "netns", name)
            run_ip("addr", "add", f"{machine.gateway}/24", "dev", here)
            run_ip("link", "set", here, "up")
            run_ip("-n", name, "addr", "add", f"{machine.address}/24", "dev", there)
            for device in (there, "lo"):
                run_ip("-n", name, "link", "set", device, "up")
            run_ip("-n", name, "route", "add", "default", "via", machine.gateway)
            found.append(machine)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', b'') or error}")
    return found, f"{net}.0.1"


@pytest.fixture(scope="module")
def database(machines: tuple[Machine, Machine, str]) -> Iterator[str]:
    """Run PostgreSQL on the network; its address for SQLAlchemy."""
    address = machines[2]

    def listening(self: PostgresCluster) -> None:
        options = f"-c listen_addresses={address} -c port=5432 -c unix_socket_directories={self.directory} -c fsync=off"
        with (self.directory / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 trust\n")
        self.run_program("pg_ctl", "-w", "-t", 150, "-l", self.directory / "log", "-o", options, "start")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresCluster, "start", listening)
        with run_cluster():
            yield f"postgresql+psycopg://hven@{address}/postgres"


@pytest.fixture(scope="module")
def servers(
    machines: tuple[Machine, Machine, str], database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Serve a site on each machine, with one store, one directory of data, and rows of `kept` in PostgreSQL; the second runs no jobs."""
    require_plugins("engines", "postgres")
    place = tmp_path_factory.mktemp("machines")
    (place / "stars.csv").write_text(
        "id,ra,dec\n" + "".join(f"{number},{number % 360},{number % 90}\n" for number in range(5_000))
    )
    with contextlib.ExitStack() as stack:
        found = []
        for number, machine in enumerate(machines[:2]):
            site = place / f"machine{number}"
            run_hven("init", site)
            toml = site / "hven.toml"
            said = f'store = "$STORE"\ndata = "{place / "shared"}"\njob_workers = {1 - number}\nhost = "{machine.address}"\n'
            toml.write_text(f'{said}{toml.read_text()}\n[postgres]\nurl = "$ROWS"\n')
            (site / "secrets.toml").write_text(f"STORE = '{database}'\nROWS = '{database.replace('+psycopg', '')}'\n")
            if not number:
                run_hven("new", "stars", "--from", place / "stars.csv", "--site", site)
                for name, engine in (("stars", "duckdb"), ("kept", "postgres")):
                    text = (site / "collections" / "stars" / "stars.yaml").read_text()
                    (site / "collections" / name).mkdir(exist_ok=True)
                    text = text.replace("collection: stars", f"collection: {name}\nengine: {engine}", 1).replace(
                        "files: stars.csv", f"files: {place / 'stars.csv'}"
                    )
                    (site / "collections" / name / f"{name}.yaml").write_text(text)
                    if name == "stars":
                        (site / "collections" / name / f"{name}.yaml").write_text(text.replace("engine: duckdb\n", ""))
            else:
                shutil.copytree(place / "machine0" / "collections", site / "collections", dirs_exist_ok=True)
            found.append(stack.enter_context(serve_site(site, command=machine.command, address=machine.address)))
        yield found[0], found[1]


@pytest.fixture(scope="module")
def shared_servers(servers: tuple[Server, Server], machines: tuple[Machine, Machine, str]) -> tuple[Server, Server]:
    """Ingest on the first machine, and wait until both know of it: whichever test comes first."""
    for name in ("stars", "kept"):
        command = [*machines[0].command, "ingest", name, "--site", servers[0].site]
        done = subprocess.run(command, check=False, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
    for there in servers:
        for name in ("stars", "kept"):
            query = COUNT.replace("stars", name)
            wait_until(lambda there=there, query=query: there.post("/tap/sync", LANG="ADQL", QUERY=query)[0] == 200)
            assert there.rows(query) == [[5000]]
    return servers


def test_machines_share_holdings_and_jobs(shared_servers: tuple[Server, Server]) -> None:
    _, two = shared_servers
    status, headers, body = two.post("/tap/async", LANG="ADQL", QUERY=COUNT, PHASE="RUN", RESPONSEFORMAT="json")
    assert status == 303, body
    job = headers["location"].removeprefix(two.url)
    wait_until(lambda: two.get(f"{job}/phase")[2] == b"COMPLETED")
    for there in shared_servers:
        assert json.loads(there.get(f"{job}/results/result")[2])["data"] == [[5000]]


def reaches_database(machine: Machine, database: str) -> bool:
    """Say whether a machine reaches the database."""
    text = f"import socket; socket.create_connection(({database!r}, 5432), 5).close()"
    command = [*machine.command[: -len(HVEN_COMMAND)], sys.executable, "-c", text]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == 0


def test_a_cable_that_is_cut(shared_servers: tuple[Server, Server], machines: tuple[Machine, Machine, str]) -> None:
    one, two = shared_servers
    kept = COUNT.replace("stars", "kept")
    assert reaches_database(machines[1], machines[2])
    with machines[1].cut(machines[2]):
        assert not reaches_database(machines[1], machines[2])
        assert two.rows(COUNT) == [[5000]]  # rows that are here are served on
        assert one.rows(kept) == [[5000]]
    wait_until(lambda: two.post("/tap/sync", LANG="ADQL", QUERY=kept)[0] == 200)
    assert two.rows(kept) == [[5000]]
