"""Simulate MySQL 8 where it differs from MariaDB: caching_sha2_password and JSON columns, in front of MariaDB."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

import mariadb_server
import pymysql
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

VERSION, PLUGIN, COLLATION = b"8.4.3", b"caching_sha2_password", 255  # utf8mb4_0900_ai_ci
SALT = bytes(range(33, 53))
# CLIENT_LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH,
# PLUGIN_AUTH_LENENC_CLIENT_DATA
CAPABILITIES = 1 | 8 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19 | 1 << 21
OK, DENIED = b"\0\0\0\2\0\0\0", b"\xff" + struct.pack("<H", 1045) + b"#28000Access denied for user"
FAST_LOGIN, FULL_LOGIN, KEY_REQUEST = b"\1\3", b"\1\4", b"\2"
JSON, JSON_OF_MARIADB, BINARY = 245, 252, 63  # types of columns; a character set


@dataclass
class MySqlServer:
    """A simulated server; `logins` records how clients logged in.

    `has_password` says that the server has the password in its cache (fast login); otherwise clients send it (full
    login).
    """

    port: int
    has_password: bool = False
    logins: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of the test account."""
        server = mariadb_server.get_server()
        return server.url.replace(str(server.port), str(self.port))


def scramble_password(password: bytes) -> bytes:
    """Scramble a password as clients do: XOR(SHA256(p), SHA256(SHA256(SHA256(p)), salt))."""
    one = hashlib.sha256(password).digest()
    two = hashlib.sha256(hashlib.sha256(one).digest() + SALT).digest()
    return bytes(a ^ b for a, b in zip(one, two, strict=True))


def _read_packet(stream: socket.socket) -> tuple[int, bytes]:
    head = _read_exactly(stream, 4)
    return head[3], _read_exactly(stream, int.from_bytes(head[:3], "little"))


def _read_exactly(stream: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = stream.recv(count - len(found))
        if not more:
            raise ConnectionError
        found += more
    return found


def _send_packet(stream: socket.socket, number: int, body: bytes) -> None:
    stream.sendall(struct.pack("<I", len(body) | number << 24) + body)


def _authenticate(client: socket.socket, there: MySqlServer, key: rsa.RSAPrivateKey) -> bool:
    """Authenticate a client as the documentation of MySQL's protocol describes."""
    hello = (
        b"\x0a"
        + VERSION
        + b"\0"
        + struct.pack("<I", 7)
        + SALT[:8]
        + b"\0"
        + struct.pack("<HBHHB", CAPABILITIES & 0xFFFF, COLLATION, 2, CAPABILITIES >> 16, 21)
    )
    _send_packet(client, 0, hello + bytes(10) + SALT[8:] + b"\0" + PLUGIN + b"\0")
    number, answer = _read_packet(client)
    user, _, rest = answer[32:].partition(b"\0")
    sent = rest[1 : 1 + rest[0]]
    password = mariadb_server.PASSWORD.encode()
    if user.decode() != mariadb_server.USER:
        _send_packet(client, number + 1, DENIED)
        return False
    if there.has_password:
        good = sent == scramble_password(password)
        there.logins.append("fast")
        if good:
            _send_packet(client, number + 1, FAST_LOGIN)
            number += 1
    else:
        _send_packet(client, number + 1, FULL_LOGIN)
        number, asked = _read_packet(client)
        if asked != KEY_REQUEST:  # a plain password, which clients may not send without TLS
            there.logins.append("plain")
            _send_packet(client, number + 1, DENIED)
            return False
        there.logins.append("full")
        pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        _send_packet(client, number + 1, b"\1" + pem)
        number, secret = _read_packet(client)
        plain = key.decrypt(
            secret, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        )  # the padding that the protocol prescribes
        good = bytes(a ^ b for a, b in zip(plain, cycle(SALT))) == password + b"\0"
    _send_packet(client, number + 1, OK if good else DENIED)
    return good


def _relay_client(client: socket.socket, there: MySqlServer, key: rsa.RSAPrivateKey) -> None:
    """Authenticate a client, then relay packets between it and MariaDB."""
    with client, contextlib.suppress(OSError, ConnectionError):
        if not _authenticate(client, there, key):
            return
        server = mariadb_server.get_server()
        behind = pymysql.connect(host="127.0.0.1", port=server.port, user=mariadb_server.USER, password=mariadb_server.PASSWORD, database="test", ssl_disabled=True, autocommit=True)  # fmt: skip
        link = behind._sock  # the socket of the session
        threading.Thread(target=_relay_answers, args=(link, client), daemon=True).start()
        while data := client.recv(65_536):
            link.sendall(data)
        link.shutdown(socket.SHUT_RDWR)


def _relay_answers(link: socket.socket, client: socket.socket) -> None:
    """Relay packets to the client; declare columns called `json...` as MySQL declares JSON."""
    with contextlib.suppress(OSError, ConnectionError):
        while True:
            number, body = _read_packet(link)
            if body[:4] == b"\3def" and b"\4json\0\x0c" in body:
                at = body.rindex(b"\x0c") + 1
                body = body[:at] + struct.pack("<H", BINARY) + body[at + 2 : at + 6] + bytes([JSON]) + body[at + 7 :]
            _send_packet(client, number, body)
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def run_server(*, known: bool = False) -> Iterator[MySqlServer]:
    """Run a simulated server."""
    key = rsa.generate_private_key(65_537, 2048)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = MySqlServer(listening.getsockname()[1], known)

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=_relay_client, args=(client, there, key), daemon=True).start()

        threading.Thread(target=work, daemon=True).start()
        yield there
        listening.shutdown(socket.SHUT_RDWR)
