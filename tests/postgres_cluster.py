"""A private PostgreSQL server for tests, in a temporary directory, on a Unix socket."""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from requirements import find_postgresql, is_excluded, report_missing, require


def find_programs() -> Path:
    """Find initdb and pg_ctl. If they are missing, skip the test, or fail in CI."""
    require("postgresql")
    found = find_postgresql()
    assert found is not None
    return found


class PostgresCluster:
    """A server that can be stopped and started again."""

    def __init__(self, directory: Path, prefix: list[str]) -> None:
        self.directory = directory
        self.url = f"postgresql://hven@/postgres?host={directory}"
        self._prefix = prefix
        self._binaries = find_programs()

    def run_program(self, program: str, *words: object) -> None:
        """Run a program of PostgreSQL."""
        said = self.directory / f"{program}.said"  # not a pipe, because a started server would keep it open
        with said.open("w") as file:
            done = subprocess.run(
                [*self._prefix, str(self._binaries / program), "-D", str(self.directory / "data"), *map(str, words)],
                check=False,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=180,
            )
        assert not done.returncode, f"{program}: {done.returncode}: {said.read_text(errors='replace')[-2000:]}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off -c max_connections=60"
        options += " -c autovacuum=off"  # what it locks and learns, and when, would differ from run to run
        self.run_program("pg_ctl", "-w", "-t", 150, "-l", self.directory / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server immediately, as a crash does."""
        self.run_program("pg_ctl", "-t", 150, "-m", "immediate", "stop")


def _create_cluster() -> PostgresCluster:
    """Create the directory of a server."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
    prefix: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        owner = pwd.getpwnam("postgres")
        os.chown(directory, owner.pw_uid, owner.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]
    return PostgresCluster(directory, prefix)


@cache
def _initialize_template() -> Path:
    """Initialize an empty database once in this process; a copy takes a tenth of the time."""
    found = _create_cluster()
    atexit.register(shutil.rmtree, found.directory, ignore_errors=True)
    found.run_program("initdb", "-U", "hven", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    return found.directory / "data"


@contextmanager
def run_cluster() -> Iterator[PostgresCluster]:
    """Run a server that tests may stop and start."""
    find_programs()
    found = _create_cluster()
    directory = found.directory
    try:
        subprocess.run(["cp", "-a", _initialize_template(), directory / "data"], check=True)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def run_server() -> Iterator[str]:
    """Run a server; yield what follows ``postgresql://`` or ``postgresql+psycopg://`` in its address."""
    with run_cluster() as found:
        yield found.url.removeprefix("postgresql://")


def install_extensions(url: str) -> None:
    """Install pgSphere and q3c in a database if they are missing.

    PostgreSQL 15.20 refuses two operators of Debian's pgSphere 1.2.0, which only old programs use (pgSphere issue 85).
    They are left out.
    """
    import psycopg

    if is_excluded("pgsphere"):
        report_missing("pgsphere")
    with psycopg.connect(url, autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions").fetchall()}
        if not {"q3c", "pg_sphere"} <= there:
            report_missing("pgsphere")
        connection.execute("CREATE EXTENSION IF NOT EXISTS q3c")
        if connection.execute("SELECT to_regtype('scircle')").fetchone()[0] is not None:
            return
        try:
            connection.execute("CREATE EXTENSION pg_sphere")
        except psycopg.errors.InvalidFunctionDefinition:
            script = max(Path("/usr/share/postgresql").glob("*/extension/pg_sphere--1.2.0.sql")).read_text(
                encoding="utf-8"
            )
            script = re.sub(r"CREATE OPERATOR @ \([^;]*\bsmoc\b[^;]*;", "", script).replace(
                "MODULE_PATHNAME", "$libdir/pg_sphere"
            )
            connection.execute(re.sub(r"(?m)^\\.*$", "", script))
