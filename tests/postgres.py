"""A PostgreSQL server of our own for tests: made in a temporary directory, on a socket only, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path:
    """Find initdb and pg_ctl; without them fail in CI and skip elsewhere."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    if here:
        return Path(here).parent
    if os.environ.get("CI") == "true":
        pytest.fail("PostgreSQL must be installed in CI")
    pytest.skip("PostgreSQL is not installed")


@contextmanager
def server() -> Iterator[str]:
    """Run a server; gives what follows ``postgresql+psycopg://`` or ``postgresql://``: user, database ``postgres`` and socket."""
    binaries = programs()
    directory = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
    prefix: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        owner = pwd.getpwnam("postgres")
        os.chown(directory, owner.pw_uid, owner.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]
    data = directory / "data"

    def do(*words: object) -> None:
        subprocess.run([*prefix, *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)

    try:
        do(binaries / "initdb", "-D", data, "-U", "hven", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off -c max_connections=40"
        do(binaries / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start")
        try:
            yield f"hven@/postgres?host={directory}"
        finally:
            do(binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
