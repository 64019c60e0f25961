"""Ask a server whether it can answer queries, and check that the system state fits this version of Hven."""

from __future__ import annotations

import http.client
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hven.model.errors import UserError
from hven.plugins.operations.state_format import read_state_format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.settings import Settings

REQUEST_TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1 << 20
POLL_INTERVAL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a server can take requests.

    Attributes
    ----------
    is_ready
        Whether it can.
    messages
        Why not; if it can, what is restricted.
    """

    is_ready: bool
    messages: Sequence[str] = ()


def request_readiness(url: str) -> Readiness:
    """Ask the server at an address once.

    Parameters
    ----------
    url
        Address of the site.

    Raises
    ------
    UserError
        This is no address of a site.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in {"http", "https"}:
        raise UserError(f"{url!r} is not an address", remedy="write an address such as http://127.0.0.1:8080")
    connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connection_class(host, port, timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health/ready", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if isinstance(error, OSError):
            strerror = error.strerror
        else:
            strerror = None
        reason = strerror or str(error) or type(error).__name__
        return Readiness(is_ready=False, messages=[f"the server does not respond: {reason}"])
    finally:
        connection.close()
    return _parse_readiness_answer(response.status, body)


def _parse_readiness_answer(status: int, body: bytes) -> Readiness:
    try:
        checks = json.loads(body)["checks"]
        messages = [_describe_check(check) for check in checks if check["state"] != "ok"]
    except (ValueError, LookupError, TypeError):
        text = body[:200].decode("utf-8", "replace").strip()
        return Readiness(is_ready=False, messages=[f"status {status}, which is no answer of /health/ready: {text}"])
    return Readiness(is_ready=status == http.HTTPStatus.OK, messages=messages)


def _describe_check(check: dict[str, Any]) -> str:
    return f"{check['name']}: {check.get('message') or check.get('reason') or check['state']}"


def wait_until_ready(
    url: str,
    wait_seconds: float,
    *,
    process_id: int | None = None,
    get_time: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Readiness:
    """Ask the server at an address until it is ready, the time is over, or its process has ended.

    Parameters
    ----------
    url
        Address of the site.
    wait_seconds
        Time to wait.
    process_id
        Id of the server's process; None: only the time ends the wait. While systemd holds the socket, connections wait
        although the process has ended.
    get_time, sleep
        A clock, and a function that waits.
    """
    deadline = get_time() + wait_seconds
    while True:
        has_ended = process_id is not None and not _is_running(process_id)
        readiness = request_readiness(url)
        if readiness.is_ready or get_time() >= deadline:
            return readiness
        if has_ended:
            message = f"the server's process {process_id} has ended; its log says why"
            return Readiness(is_ready=False, messages=[message])
        sleep(POLL_INTERVAL_SECONDS)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another account
        return True
    return True


def check_state_format(settings: Settings) -> Readiness:
    """Check whether this version of Hven can use the system state of a site.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    state_format = read_state_format(settings)
    messages = [f"{finding.message}; {finding.remedy}" for finding in state_format.findings]
    return Readiness(is_ready=state_format.can_open or state_format.can_extend, messages=messages)
