"""File servers for tests on 127.0.0.1, which record their requests: HTTP with injected faults, FTP and S3."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from requirements import require

FTP_TIME = "20260102030405"
HTTP_TIME = "Fri, 02 Jan 2026 03:04:05 GMT"


@dataclass
class ServedFiles:
    """The files of a server (path -> bytes), its behaviour, and the requests that it received."""

    files: dict[str, bytes]
    tag: str = '"one"'
    ranges: bool = True
    pause: float = 0.0  # seconds before each answer
    hold: Callable[[str], object] = len  # is called with each request after the pause, and may wait
    cut: int | None = None  # bytes of a body after which it breaks off
    token: str = ""  # the header Authorization that lets in; empty: everybody
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextlib.contextmanager
def serve_http(there: ServedFiles) -> Iterator[ServedFiles]:
    """Serve files by HTTP."""

    class Face(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path, said = unquote(self.path), self.headers.get("range")
            line = f"{self.command} {path} {said or ''}".strip()
            there.asked.append(line)
            time.sleep(there.pause)
            there.hold(line)
            if there.token and self.headers.get("authorization") != there.token:
                return self.send_answer(401, b"who are you?")
            if path in there.moved:
                return self.send_answer(302, b"", location=there.moved[path])
            body = there.files.get(path)
            if body is None:
                return self.send_answer(404, b"not here")
            wanted = self.headers.get("if-match", there.tag)
            if wanted != there.tag:
                return self.send_answer(412, b"")
            if said is None or not there.ranges:
                return self.send_answer(200, body, etag=there.tag, **{"last-modified": HTTP_TIME})
            begin, end = (int(part) for part in said.removeprefix("bytes=").split("-"))
            place = f"bytes {begin}-{min(end, len(body) - 1)}/{len(body)}"
            headers = {"etag": there.tag, "last-modified": HTTP_TIME, "content-range": place}
            return self.send_answer(206, body[begin : end + 1], **headers)

        def send_answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(OSError):
                    self.wfile.write(body if there.cut is None else body[: there.cut])
                if there.cut is not None and there.cut < len(body):
                    self.connection.close()
                    self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Face)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    there.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serve_ftp(there: ServedFiles) -> Iterator[ServedFiles]:
    """Serve files by FTP: the parts of RFC 959 and 3659 for reading in passive mode."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept_sessions() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_run_ftp_session, args=(there, connection), daemon=True).start()

    threading.Thread(target=accept_sessions, daemon=True).start()
    there.address = f"ftp://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield there
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _run_ftp_session(there: ServedFiles, connection: socket.socket) -> None:
    lines = connection.makefile("rb")
    passive: socket.socket | None = None
    rest = 0

    def say(text: str) -> None:
        connection.sendall(f"{text}\r\n".encode())

    def give(body: bytes) -> None:
        nonlocal passive
        assert passive is not None
        say("150 here it comes")
        data, _ = passive.accept()
        with data, contextlib.suppress(OSError):
            data.sendall(body)
        passive.close()
        passive = None
        say("226 done")

    with connection, lines, contextlib.suppress(OSError):
        say("220 hello")
        while line := lines.readline().decode().strip():
            word, _, rest_of = line.partition(" ")
            there.asked.append(line)
            time.sleep(there.pause if word == "RETR" else 0)
            match word.upper():
                case "USER":
                    say("331 and the password?")
                case "PASS":
                    say("230 welcome")
                case "TYPE":
                    say("200 as you like")
                case "SIZE" | "MDTM" | "RETR" if rest_of not in there.files:
                    say("550 not here")
                case "SIZE":
                    say(f"213 {len(there.files[rest_of])}")
                case "MDTM":
                    say(f"213 {FTP_TIME}")
                case "REST":
                    rest = int(rest_of)
                    say("350 from there")
                case "PASV":
                    passive = socket.create_server(("127.0.0.1", 0))
                    port = passive.getsockname()[1]
                    say(f"227 Entering Passive Mode (10,0,0,1,{port // 256},{port % 256})")  # a lie, as behind NAT
                case "RETR":
                    give(there.files[rest_of][rest:])
                    rest = 0
                case "MLSD":
                    give(_list_directory(there, rest_of.rstrip("/")).encode())
                case _:
                    say("502 what?")


def _list_directory(there: ServedFiles, below: str) -> str:
    names: dict[str, str] = {}
    for path, body in there.files.items():
        if path.startswith(f"{below}/"):
            name, slash, _ = path[len(below) + 1 :].partition("/")
            names[name] = "type=dir;" if slash else f"type=file;size={len(body)};modify={FTP_TIME};"
    return "".join(f"{facts} {name}\r\n" for name, facts in names.items())


@contextlib.contextmanager
def serve_s3(files: dict[str, bytes], name: str = "observatory") -> Iterator[tuple[str, str, str]]:
    """Serve files by S3 (moto, which checks signatures).

    Yields the address, and the key and secret of an account that may read everything.
    """
    require("moto")
    import boto3
    from moto import settings
    from moto.core.responses import ActionAuthenticatorMixin
    from moto.moto_api._internal import moto_api_backend
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        account = {"aws_access_key_id": "first", "aws_secret_access_key": "first", "region_name": "us-east-1"}
        store, people = (boto3.client(kind, endpoint_url=address, **account) for kind in ("s3", "iam"))
        store.create_bucket(Bucket=name)
        for path, body in files.items():
            store.put_object(Bucket=name, Key=path, Body=body, ACL="public-read" if "open" in path else "private")
        people.create_user(UserName="hven")
        reads = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [reads]})
        people.put_user_policy(UserName="hven", PolicyName="reads", PolicyDocument=policy)
        key = people.create_access_key(UserName="hven")["AccessKey"]
        settings.INITIAL_NO_AUTH_ACTION_COUNT = ActionAuthenticatorMixin.request_count = 0
        yield address, key["AccessKeyId"], key["SecretAccessKey"]
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before
        moto_api_backend.reset()
        server.stop()
