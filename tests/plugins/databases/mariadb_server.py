"""A private MariaDB server for tests, in a temporary directory, on a socket and a port of this machine."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pymysql

from process_runner import reserve_port, wait_until
from requirements import find_program, require, require_program

USER, PASSWORD = "hven", "sesame;}{'@:/"  # what addresses and lines of ODBC must be able to say


class MariaDbServer:
    """A server that can be stopped and started again."""

    def __init__(self) -> None:
        require("mariadb")
        self.program = find_program("mariadbd") or ""
        self.directory = Path(tempfile.mkdtemp(prefix="maria-"))  # a socket's path must be short
        self.environment = {**os.environ, "TMPDIR": str(self.directory)}  # its user may not write into ours
        self.user = []
        if os.geteuid() == 0:  # it does not run as root
            owner = pwd.getpwnam("mysql")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            self.user = ["--user=mysql"]
        self.port = reserve_port()
        self.socket = str(self.directory / "s")
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"mysql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/test"

    def initialize(self) -> None:
        """Create the system tables and a certificate."""
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *self.user, f"--datadir={self.directory}/data", "--auth-root-authentication-method=normal", "--skip-test-db",
             "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180, env=self.environment,
        )  # fmt: skip
        words = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=maria -addext subjectAltName=IP:127.0.0.1"
        subprocess.run(
            [require_program("openssl"), "req", *words.split(), "-keyout", self.directory / "key.pem", "-out", self.directory / "ca.pem"], check=True, capture_output=True
        )  # fmt: skip
        (self.directory / "key.pem").chmod(0o644)  # its user reads it

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = subprocess.Popen(
            [self.program, "--no-defaults", *self.user, f"--datadir={self.directory}/data", f"--socket={self.socket}", f"--port={self.port}",
             "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
             "--skip-log-bin", "--performance-schema=OFF", f"--log-error={self.directory}/log", f"--pid-file={self.directory}/pid", "--sql-mode=", "--lock-wait-timeout=5",
             f"--ssl-cert={self.directory}/ca.pem", f"--ssl-key={self.directory}/key.pem"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment,
        )  # fmt: skip

        def answers() -> bool:
            if not Path(self.socket).exists():
                return False
            try:
                self.execute("SELECT 1")
            except pymysql.err.OperationalError:
                return False
            return True

        wait_until(answers)

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Execute statements as root; return the rows of the last one."""
        with (
            pymysql.connect(
                unix_socket=self.socket, user="root", database=database, autocommit=True, charset="utf8mb4"
            ) as link,
            link.cursor() as cursor,
        ):
            for one in statements:
                cursor.execute(one)
            return list(cursor.fetchall())

    @staticmethod
    def format_literal(value: object) -> str:
        """Format a value as an SQL literal."""
        return pymysql.converters.escape_item(value if not hasattr(value, "isoformat") else str(value), "utf8mb4")

    def stop(self) -> None:
        """Kill the server, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@cache
def get_server() -> MariaDbServer:
    """Return the server of all tests of this process."""
    found = MariaDbServer()
    atexit.register(shutil.rmtree, found.directory, ignore_errors=True)
    found.initialize()
    atexit.register(found.stop)
    found.start()
    secret = PASSWORD.replace("'", "''")
    found.execute(
        "CREATE DATABASE test CHARACTER SET utf8mb4",
        f"CREATE USER {USER}@'%' IDENTIFIED BY '{secret}'",
        f"GRANT SELECT ON test.* TO {USER}@'%'",
    )
    return found


def format_odbc_line(found: MariaDbServer) -> str:
    """Format the ODBC connection line of a server."""
    require("odbc")
    secret = PASSWORD.replace("}", "}}")
    return f"DRIVER={{MariaDB Unicode}};SERVER=127.0.0.1;PORT={found.port};DATABASE=test;UID={USER};PWD={{{secret}}};CHARSET=utf8mb4"
