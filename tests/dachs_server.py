"""A private GAVO DaCHS for tests: Debian's package gavodachs2-server, with a PostgreSQL server of its own.

Nothing of an installed DaCHS is read or changed: settings, data, state and database are in temporary directories. The
program needs about 20 s of processor time to create its own tables, so tests share one server.
"""

from __future__ import annotations

import grp
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from postgres_cluster import install_extensions, run_cluster
from requirements import require_program

DATABASE = "gavo"
AUTHORITY = "dachs.example.org"
VOCABULARIES = ("uat",)
COMMAND_TIMEOUT_SECONDS = 300
START_TIMEOUT_SECONDS = 120
MAX_MESSAGE_CHARACTERS = 4_000
SETTINGS_TEXT = """
[general]
rootDir: {root}
group: {group}
gavoGroup: {group}
maintainerAddress: operator@example.org
sendmail: true

[web]
bindAddress: 127.0.0.1
serverPort: {port}
serverURL: {url}
user:
sitename: DaCHS of a test

[ivoa]
authority: {authority}
"""
DEFAULT_METADATA_TEXT = """publisher: An observatory
publisherID: ivo://{authority}/org
contact.name: The operator
contact.address: A street in a town
contact.email: operator@example.org
contact.telephone: +1 555 0100
creator.name: An observatory
authority.creationDate: 2020-01-01T00:00:00
authority.managingOrg: ivo://{authority}/org
authority.title: An authority of a test
authority.shortName: test
authority.description: An authority of a test
authority.referenceURL: {url}
site.description: DaCHS of a test
organization.title: An observatory
organization.description: An observatory of a test
organization.referenceURL: {url}
"""


class DachsError(AssertionError):
    """A command of DaCHS has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DachsServer:
    """An installation of DaCHS.

    Attributes
    ----------
    root
        Its directory; resource descriptors are in ``inputs``.
    url
        Address of its web server while `serve_dachs` runs it.
    database_url
        Address of its database, with all rights.
    """

    root: Path
    url: str
    database_url: str

    @property
    def inputs(self) -> Path:
        """The directory of resource descriptors."""
        return self.root / "inputs"

    @property
    def tap_url(self) -> str:
        """Address of the TAP service."""
        return f"{self.url}/tap"

    def run_command(self, *words: object, expected_code: int | None = 0) -> str:
        """Run ``dachs`` with some words, and return what it prints.

        Parameters
        ----------
        words
            The subcommand with its arguments, for example ``"imp", "brightest/q"``.
        expected_code
            The exit code; None: any.

        Raises
        ------
        DachsError
            The exit code is another one.
        """
        done = subprocess.run(
            [require_program("dachs"), *map(str, words)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self.build_environment(),
            cwd=self.root,
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
        text = done.stdout.decode(errors="replace")
        if expected_code is not None and done.returncode != expected_code:
            raise DachsError(f"dachs {' '.join(map(str, words))}: {done.returncode}: {text[-MAX_MESSAGE_CHARACTERS:]}")
        return text

    def build_environment(self) -> dict[str, str]:
        """Build the environment in which DaCHS finds this installation only."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        home = str(self.root.parent)
        return {**kept, "HOME": home, "GAVOSETTINGS": f"{home}/gavo.rc", "GAVOCUSTOM": f"{home}/none", "TMPDIR": home}

    def add_descriptor(self, folder: Path, name: str) -> str:
        """Copy the folder of a resource descriptor to the inputs, and return the descriptor's id, ``NAME/q``."""
        shutil.copytree(folder, self.inputs / name, dirs_exist_ok=True)
        return f"{name}/q"

    def import_descriptor(self, descriptor_id: str, *, publish: bool = True) -> str:
        """Check, import and publish a resource descriptor, and return what DaCHS prints."""
        texts = [self.run_command("val", descriptor_id), self.run_command("imp", descriptor_id)]
        if publish:
            texts.append(self.run_command("pub", descriptor_id))
        return "\n".join(texts)

    def query_csv(self, query: str, max_rows: int = 100_000) -> str:
        """Send a query to the TAP service, and return the rows as CSV.

        Raises
        ------
        DachsError
            The service refuses the query.
        """
        form = {"LANG": "ADQL", "QUERY": query, "FORMAT": "csv", "MAXREC": str(max_rows)}
        data = urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(f"{self.tap_url}/sync", data, timeout=COMMAND_TIMEOUT_SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise DachsError(f"{query}: {error.code}: {text[-MAX_MESSAGE_CHARACTERS:]}") from error


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def create_dachs() -> Iterator[DachsServer]:
    """Create an installation of DaCHS with its database; no web server runs yet.

    Skip the test if Debian's package gavodachs2-server, PostgreSQL or pgSphere is missing.
    """
    require_program("dachs")
    home = Path(tempfile.mkdtemp(prefix="dachs-"))
    try:
        with run_cluster() as cluster:
            with psycopg.connect(cluster.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE} ENCODING 'UTF8'")
            database_url = cluster.url.replace("/postgres?", f"/{DATABASE}?")
            install_extensions(database_url)
            url = f"http://127.0.0.1:{_find_free_port()}"
            server = DachsServer(root=home / "gavo", url=url, database_url=database_url)
            _write_settings(server)
            server.run_command("init", "-d", f"host={cluster.directory} user=hven dbname={DATABASE}")
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _write_settings(server: DachsServer) -> None:
    values = {
        "root": str(server.root),
        "url": server.url,
        "port": server.url.rpartition(":")[2],
        "group": grp.getgrgid(os.getgid()).gr_name,
        "authority": AUTHORITY,
    }
    (server.root.parent / "gavo.rc").write_text(SETTINGS_TEXT.format(**values), encoding="utf-8")
    settings_directory = server.root / "etc"
    settings_directory.mkdir(parents=True)
    (settings_directory / "defaultmeta.txt").write_text(DEFAULT_METADATA_TEXT.format(**values), encoding="utf-8")
    cache = server.root / "cache"
    cache.mkdir()
    for name in VOCABULARIES:  # else DaCHS fetches them, and `dachs val` fails where there is no network
        url = f"http://www.ivoa.net/rdf/{name}"
        (cache / url.replace("/", "=2F")).write_text(json.dumps({"uri": url, "terms": {}}), encoding="utf-8")


@contextmanager
def serve_dachs(server: DachsServer) -> Iterator[DachsServer]:
    """Run the web server of an installation until the block ends."""
    log_path = server.root.parent / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [require_program("dachs"), "serve", "start", "-f"],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=server.build_environment(),
            cwd=server.root,
        )
    try:
        _wait_until_available(server, process, log_path)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_available(server: DachsServer, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until the server answers; its end, or a time limit, is an error."""
    for _ in range(START_TIMEOUT_SECONDS):
        try:
            with urllib.request.urlopen(f"{server.tap_url}/availability", timeout=COMMAND_TIMEOUT_SECONDS):
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise DachsError(f"DaCHS does not answer: {log_path.read_text(errors='replace')[-MAX_MESSAGE_CHARACTERS:]}")
