"""A private slapd for tests, on a free port, with its entries in a temporary directory."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from process_runner import reserve_port, wait_until
from requirements import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = "dc=example,dc=org"
OWNER, READER, PASSWORD = f"cn=owner,{SUFFIX}", f"cn=reader,{SUFFIX}", "sésame ouvre-toi"
CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile {place}/ca.pem
TLSCertificateFile {place}/ca.pem
TLSCertificateKeyFile {place}/key.pem
referral ldap://elsewhere.example.net
sizelimit size.soft=500 size.hard=500 size.pr=600 size.prtotal=625
database mdb
suffix "{suffix}"
rootdn "{owner}"
rootpw "{password}"
directory {place}/rows
maxsize 33554432
dbnosync
access to * by users read by anonymous auth
overlay memberof
"""
ROOT = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: {READER}
objectClass: person
cn: reader
sn: reader
userPassword: {PASSWORD}
"""


@dataclass(frozen=True, kw_only=True)
class LdapServer:
    """A running LDAP server."""

    place: Path
    port: int
    tls_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def options(self, **more: Any) -> dict[str, Any]:
        """Return the options of a source that reads this server."""
        return {
            "url": self.url,
            "bind": READER,
            "password": "$LDAP",
            "base": SUFFIX,
            "starttls": True,
            "ca": str(self.place / "ca.pem"),
            **more,
        }

    def change(self, ldif: str) -> None:
        """Change entries as their owner."""
        import ldap3

        directory = ldap3.Connection(self.url, OWNER, PASSWORD, auto_bind=True, raise_exceptions=True)
        how = {"add": ldap3.MODIFY_ADD, "delete": ldap3.MODIFY_DELETE}
        name, *lines = ldif.strip().splitlines()
        for line in lines:
            word, attribute, value = line.split(maxsplit=2)
            directory.modify(name, {attribute: [(how[word], [value])]})
        directory.unbind()


@contextlib.contextmanager
def run_server(entries: str) -> Iterator[LdapServer]:
    """Run a server with some entries (LDIF, below `SUFFIX`)."""
    found = require_program("slapd")
    place = Path(tempfile.mkdtemp(prefix="ldap-"))
    try:
        slapd = shutil.copy(
            found, place / "directory"
        )  # a profile of AppArmor lets the installed one see its own files alone
        (place / "rows").mkdir()
        (place / "slapd.conf").write_text(CONFIG.format(place=place, suffix=SUFFIX, owner=OWNER, password=PASSWORD))
        words = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=directory -addext subjectAltName=IP:127.0.0.1,DNS:localhost"
        _run_program(
            require_program("openssl"), "req", *words.split(), "-keyout", place / "key.pem", "-out", place / "ca.pem"
        )
        (place / "entries").write_text(f"{ROOT}\n{entries}", encoding="utf-8")
        _run_program(slapd, "-Tadd", "-q", "-f", place / "slapd.conf", "-l", place / "entries")
        port, tls_port = reserve_port(), reserve_port()
        addresses = " ".join(f"ldap://127.0.0.{host}:{port} ldaps://127.0.0.{host}:{tls_port}" for host in (1, 2))
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [slapd, "-f", place / "slapd.conf", "-h", addresses, "-d", "0"], stdout=log, stderr=log
            )
        try:
            for one in (port, tls_port):  # its file of the process is there before it listens
                wait_until(lambda one=one: process.poll() is not None or _is_listening(one))
            assert process.poll() is None, (place / "log").read_text()
            yield LdapServer(place=place, port=port, tls_port=tls_port, process=process)
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_listening(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def _run_program(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
