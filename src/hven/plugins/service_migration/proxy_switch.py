"""Write the configuration of a proxy before both services, and switch between them without losing a request."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import split_address
from hven.model.errors import UsageError, UserError

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION_FILE = "haproxy.cfg"
TARGET_MAP_FILE = "target.map"
JOBS_MAP_FILE = "jobs.map"
SOCKET_FILE = "proxy.sock"
SERVICE_KEY = "service"
BACKENDS = ("old", "new")
MAX_SOCKET_PATH_BYTES = 100  # Linux allows 107 bytes, and HAProxy adds some while it starts
COMMAND_TIMEOUT_SECONDS = 10.0
MAX_REPLY_BYTES = 1 << 16
MAX_JOBS_BYTES = 256 << 20  # some millions of jobs
TEMPLATE = """\
# HAProxy before {old_url} (old) and {new_url} (new).
# `hven migrate {url} --switch new` changes the target; `--switch old` is the way back.
global
    stats socket {directory}/{socket_file} mode 600 level admin

defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    retries 3
    retry-on conn-failure
    option forwardfor

frontend public
    bind {listen}
    # a job is known only to the service that created it
    http-request set-var(txn.job) path,regsub(^.*/async/,),word(1,/) if {{ path_sub /async/ }}
    use_backend %[var(txn.job),map({directory}/{jobs_file})] if {{ var(txn.job),map({directory}/{jobs_file}) -m found }}
    use_backend %[str({service_key}),map({directory}/{target_file},old)]

backend old
{backend_lines}    server old {old_server}

backend new
{new_backend_lines}    server new {new_server}
"""
JOB_LINE = (
    "    http-response set-map({directory}/{jobs_file}) %[res.hdr(location),field(-1,/)] {backend} "
    "if {{ res.hdr(location) -m sub /async/ }}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddresses:
    """The addresses in a proxy's configuration.

    Attributes
    ----------
    url
        Address of the migration, for the commands in comments.
    old_url, new_url
        Addresses of the services.
    listen
        Where the proxy listens: ``HOST:PORT`` or ``:PORT``.
    """

    url: str
    old_url: str
    new_url: str
    listen: str


def write_proxy_files(directory: Path, addresses: ProxyAddresses) -> Path:
    """Write the configuration, whose target is the old service; existing targets stay.

    Parameters
    ----------
    directory
        Directory of the migration.
    addresses
        The addresses.

    Returns
    -------
    path
        The configuration.

    Raises
    ------
    UserError
        The path of the directory is too long for a socket.
    """
    socket_path = directory / SOCKET_FILE
    if len(bytes(socket_path)) > MAX_SOCKET_PATH_BYTES or any(mark in str(directory) for mark in " \t,()"):
        raise UserError(
            f"{socket_path} cannot be the path of a socket: it is longer than {MAX_SOCKET_PATH_BYTES} bytes, or has "
            "blanks, commas or parentheses",
            remedy="move the site to a directory with a short, plain name",
        )
    names = {"directory": directory, "jobs_file": JOBS_MAP_FILE}
    text = TEMPLATE.format(
        **names,
        url=addresses.url,
        old_url=addresses.old_url,
        new_url=addresses.new_url,
        listen=addresses.listen,
        socket_file=SOCKET_FILE,
        target_file=TARGET_MAP_FILE,
        service_key=SERVICE_KEY,
        backend_lines=JOB_LINE.format(**names, backend="old"),
        new_backend_lines=JOB_LINE.format(**names, backend="new"),
        old_server=_write_server(addresses.old_url),
        new_server=_write_server(addresses.new_url),
    )
    directory.mkdir(parents=True, exist_ok=True)
    for file_name, content in ((TARGET_MAP_FILE, f"{SERVICE_KEY} old\n"), (JOBS_MAP_FILE, "")):
        if not (directory / file_name).exists():
            (directory / file_name).write_text(content, encoding="utf-8")
    path = directory / CONFIGURATION_FILE
    path.write_text(text, encoding="utf-8")
    return path


def _write_server(url: str) -> str:
    """Write host and port of a service, with TLS if its address has it."""
    parts = split_address(url)
    if parts.scheme == "https":
        host = parts.hostname
        return f"{host}:{parts.port or 443} ssl verify required ca-file @system-ca sni str({host}) check"
    return f"{parts.hostname}:{parts.port or 80} check"


def replace_proxy_target(directory: Path, target: str) -> str:
    """Send all new requests to a service; requests under way end where they began.

    The proxy keeps its maps in memory. They are written to their files for its next start.

    Parameters
    ----------
    directory
        Directory of the migration.
    target
        ``old`` or ``new``.

    Returns
    -------
    previous
        The service that had the requests before.

    Raises
    ------
    UserError
        The proxy does not run, or refuses.
    """
    map_path = directory / TARGET_MAP_FILE
    previous = _read_target(directory)
    reply = _send_command(directory, f"set map {map_path} {SERVICE_KEY} {target}")
    if reply or _read_target(directory) != target:
        raise UserError(
            f"the proxy still sends requests to {previous}: {reply or 'it did not take the change'}",
            remedy=f"start HAProxy with {directory / CONFIGURATION_FILE}",
        )
    _write_map(map_path, f"{SERVICE_KEY} {target}\n")
    jobs_path = directory / JOBS_MAP_FILE
    entries = _list_map_entries(_send_command(directory, f"show map {jobs_path}", MAX_JOBS_BYTES))
    _write_map(jobs_path, "".join(f"{job} {service}\n" for job, service in entries))
    return previous


def _write_map(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _list_map_entries(reply: str) -> list[tuple[str, str]]:
    """List keys and values in the reply to ``show map``, whose lines begin with an address in memory."""
    lines = [line.split() for line in reply.splitlines() if line.startswith("0x")]
    return [(line[1], line[2]) for line in lines if len(line) == 3]


def check_target_is_up(directory: Path, target: str) -> None:
    """Check that the proxy has found a service in working order.

    Parameters
    ----------
    directory
        Directory of the migration.
    target
        ``old`` or ``new``.

    Raises
    ------
    UsageError
        There is no such service.
    UserError
        The service does not answer, or the proxy does not run.
    """
    if target not in BACKENDS:
        raise UsageError(f"{target!r} is not a service to switch to", remedy="write --switch new, or --switch old")
    rows = [line.split(",") for line in _send_command(directory, "show stat").lstrip("# ").splitlines() if line]
    status_column = 0
    if rows and "status" in rows[0]:
        status_column = rows[0].index("status")
    states = [row[status_column] for row in rows if row[:2] == [target, target] and len(row) > status_column]
    if not states or not states[0].startswith("UP"):
        raise UserError(
            f"the proxy cannot reach the {target} service (its state is {states[0] if states else 'unknown'})",
            remedy="start the service, and switch when it answers",
        )


def _read_target(directory: Path) -> str:
    """Ask the proxy for its target."""
    reply = _send_command(directory, f"show map {directory / TARGET_MAP_FILE}")
    return dict(_list_map_entries(reply)).get(SERVICE_KEY, "nowhere")


def _send_command(directory: Path, command: str, byte_limit: int = MAX_REPLY_BYTES) -> str:
    """Send a command to the socket of the proxy, and return its reply."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(COMMAND_TIMEOUT_SECONDS)
            connection.connect(str(directory / SOCKET_FILE))
            connection.sendall(f"{command}\n".encode())
            reply = bytearray()
            while len(reply) < byte_limit and (part := connection.recv(1 << 16)):
                reply += part
    except OSError as error:
        raise UserError(
            f"the proxy does not answer at {directory / SOCKET_FILE}: {error.strerror or error}",
            remedy=f"start it: haproxy -W -f {directory / CONFIGURATION_FILE}",
        ) from error
    return reply.decode(errors="replace").strip()
