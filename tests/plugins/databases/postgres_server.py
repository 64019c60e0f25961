"""A private PostgreSQL server for tests of sources, in a temporary directory, on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import postgres_cluster


@contextlib.contextmanager
def run_server():
    """Run a server and yield its SQLAlchemy URL. If PostgreSQL is missing, skip the test, or fail in CI."""
    programs_at = postgres_cluster.find_programs()
    home = Path(tempfile.mkdtemp(prefix="hven-pg-"))
    as_user = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        person = pwd.getpwnam("postgres")
        os.chown(home, person.pw_uid, person.pw_gid)
        as_user = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}

    def run(program, *arguments):
        done = subprocess.run(
            [programs_at / program, *arguments],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            **as_user,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run("initdb", "-D", f"{home}/data", "-U", "hven", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        options = f"-k {home} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c autovacuum=off"
        run("pg_ctl", "-D", f"{home}/data", "-l", f"{home}/log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://hven:sesame@/postgres?host={home}"
        finally:
            run("pg_ctl", "-D", f"{home}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
