"""The log of slow queries, and the slow queries that still run, in ``var/operations``.

The log is JSON lines in two files that take turns, so that its size has a limit. Values are masked in queries whose
answers are not for everybody, because they can name what is private.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import write_adql
from hven.engines import LiveRelation, Snapshot
from hven.model.errors import HvenError
from hven.plugins.operations.disk_forecast import get_operations_directory
from hven.plugins.operations.index_advice import list_index_advice
from hven.plugins.operations.settings import get_operations_settings
from hven.site import CURRENT_USAGE
from hven.site.store import get_process_holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.engines import Relation
    from hven.model.settings import Settings
    from hven.query import PlannedQuery, QueryResult
    from hven.site.auth import Principal

LOG_FILE, OLD_LOG_FILE = "slow-queries.jsonl", "slow-queries.1.jsonl"
RUNNING_PATTERN = "running-*.json"
MAX_RUNNING_AGE_SECONDS = 10.0  # an older file belongs to a process that has ended
MAX_TEXT_CHARACTERS = 4000
MAX_PLAN_CHARACTERS = 8000
MAX_READ_ENTRIES = 100_000
MASK = "?"
BACKGROUND_CLASS = "background"  # of queries without a service and an account: Hven's own counts, jobs of visitors
# texts, comments and numbers are replaced; names in double quotes and names with digits stay
_VALUE_PATTERN = re.compile(
    r"""(?P<name>"(?:[^"]|"")*"|[A-Za-z_]\w*|\$\d+)|'(?:[^']|'')*'|--[^\n]*|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"""
)


def mask_query_values(text: str) -> str:
    """Replace the values and comments in a query by question marks.

    Parameters
    ----------
    text
        ADQL or SQL.
    """
    return _VALUE_PATTERN.sub(lambda match: match["name"] or MASK, text)


def find_query_shape(text: str) -> str:
    """Return what queries have in common that differ only in values and blanks."""
    return " ".join(mask_query_values(text).split())


def find_current_service() -> str:
    """Return the name of the service that works in this thread; empty for jobs and commands."""
    usage = CURRENT_USAGE.get()
    if usage is None:
        return ""
    return usage.face


def describe_running_query(
    planned: PlannedQuery, settings: Settings, start_time: float, service: str
) -> dict[str, Any]:
    """Describe a query that runs, for operators.

    Parameters
    ----------
    planned
        The query.
    settings
        Settings of the site.
    start_time
        When it began, in seconds since 1970.
    service
        Name of the service that asked.
    """
    principal = planned.request.principal
    user = classify_user(principal, settings)
    if user == "anonymous" and not service:
        user = BACKGROUND_CLASS
    entry = {
        "time": datetime.fromtimestamp(start_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user": user,
        "service": service,
        "text": _get_query_text(planned)[:MAX_TEXT_CHARACTERS],
    }
    if get_operations_settings(settings).names and principal.name is not None:
        entry["name"] = principal.name
    return entry


def describe_slow_query(
    result: QueryResult, planned: PlannedQuery, settings: Settings, duration_seconds: float
) -> dict[str, Any]:
    """Describe a slow query that has ended: its plan, the rows of its tables, its waits, and indexes that would help.

    Parameters
    ----------
    result
        Its result.
    planned
        The query with its plan.
    settings
        Settings of the site.
    duration_seconds
        How long it took, with the time of its client, which the entry has apart.
    """
    prepared = planned.prepared
    entry = describe_running_query(planned, settings, time.time() - duration_seconds, find_current_service())
    entry |= {
        "seconds": round(duration_seconds - result.client_seconds, 3),
        "waited": round(result.wait_seconds, 3),
        "client": round(result.client_seconds, 3),
        "rows": result.row_count,
        "request": result.request_id,
        "error": None if result.failure is None else type(result.failure).__name__,
    }
    try:  # its tables may have been removed meanwhile
        relations = prepared.relations or planned.request.list_relations(prepared.bound_query)
        entry["tables"] = {name: _get_known_row_count(relation) for name, relation in relations.items()}
        entry["advice"] = list_index_advice(prepared.bound_query, relations)
        if _is_public_query(planned):
            entry["reads"] = prepared.plan.describe_row_estimates(planned.literal_values, relations)
            entry["plan"] = prepared.plan.explain()[:MAX_PLAN_CHARACTERS]
        elif not prepared.hides_rows:
            entry["plan"] = mask_query_values(prepared.plan.explain())[:MAX_PLAN_CHARACTERS]
    except HvenError as error:
        entry["plan"] = f"it is unknown: {error.message}"
    return entry


def classify_user(principal: Principal, settings: Settings) -> str:
    """Return the class of a user: ``anonymous``, ``account`` or ``operator``."""
    if "owner" in principal.groups or principal.name in settings.health.operators:
        return "operator"
    if principal.is_anonymous:
        return "anonymous"
    return "account"


def _is_public_query(planned: PlannedQuery) -> bool:
    return planned.prepared.scope.is_public and not planned.request.uploads


def _get_query_text(planned: PlannedQuery) -> str:
    query = planned.request.query
    try:
        if isinstance(query, str):
            text = query
        else:
            text = write_adql(query)
    except TypeError:  # a service has built a tree that has no text
        text = "a query of a service"
    if _is_public_query(planned):
        return text
    return mask_query_values(text)


def _get_known_row_count(relation: Relation) -> int | None:
    if isinstance(relation, Snapshot | LiveRelation):
        return relation.rows
    return None


class SlowQueryLog:
    """The log of slow queries of a site, which all of its processes write.

    Parameters
    ----------
    settings
        Settings of the site.
    """

    def __init__(self, settings: Settings) -> None:
        self._directory = get_operations_directory(settings)
        self._max_file_bytes = get_operations_settings(settings).log_bytes // 2

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; on a disk that is full or read-only, it is lost.

        Parameters
        ----------
        entry
            Of `describe_slow_query`.
        """
        line = f"{json.dumps(entry, ensure_ascii=False)}\n".encode()
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path = self._directory / LOG_FILE
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "ab") as file:  # noqa: PTH123  (the mode of a new file is that of a secret)
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(line)
                file.flush()
                # another process may have renamed the file while this one waited for the lock
                if file.tell() > self._max_file_bytes and path.stat().st_ino == os.fstat(descriptor).st_ino:
                    path.replace(self._directory / OLD_LOG_FILE)

    def read_entries(self, since: str = "") -> list[dict[str, Any]]:
        """Read the entries, the newest first; lines that are no entries are left out.

        Parameters
        ----------
        since
            ISO time, UTC; empty: all.
        """
        entries: deque[dict[str, Any]] = deque(maxlen=MAX_READ_ENTRIES)
        for name in (OLD_LOG_FILE, LOG_FILE):
            entries.extend(_iterate_log_entries(self._directory / name, since))
        return sorted(entries, key=lambda entry: entry["time"], reverse=True)


def _iterate_log_entries(path: Path, since: str) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    is_entry = isinstance(entry, dict) and {"time", "text", "seconds"} <= entry.keys()
                    if is_entry and entry["time"] >= since:
                        yield entry
    except OSError:
        return


def write_running_slow_queries(settings: Settings, entries: Sequence[Mapping[str, Any]]) -> None:
    """Tell other processes which slow queries run in this one.

    Parameters
    ----------
    settings
        Settings of the site.
    entries
        Of `describe_running_query`; without any, there is no file.
    """
    directory = get_operations_directory(settings)
    # processes in other containers may have the same number
    digest = hashlib.sha256(get_process_holder().encode()).hexdigest()[:16]
    path = directory / RUNNING_PATTERN.replace("*", digest)
    with contextlib.suppress(OSError):
        if not entries:
            path.unlink(missing_ok=True)
            return
        directory.mkdir(mode=0o700, exist_ok=True)
        new_path = path.with_suffix(".new")
        descriptor = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  (as above)
            json.dump(entries, file)
        new_path.replace(path)
        for other_path in directory.glob(RUNNING_PATTERN):
            if time.time() - other_path.stat().st_mtime > MAX_RUNNING_AGE_SECONDS:
                other_path.unlink(missing_ok=True)


def read_running_slow_queries(settings: Settings) -> list[dict[str, Any]]:
    """Read the slow queries that run in any process of the site, those that began first before the others."""
    entries: list[dict[str, Any]] = []
    for path in get_operations_directory(settings).glob(RUNNING_PATTERN):
        with contextlib.suppress(OSError, ValueError):
            if time.time() - path.stat().st_mtime < MAX_RUNNING_AGE_SECONDS:
                entries += json.loads(path.read_text(encoding="utf-8"))
    return sorted(entries, key=lambda entry: str(entry["time"]))


@dataclass(slots=True, kw_only=True)
class QueryGroup:
    """Slow queries that differ only in values.

    Attributes
    ----------
    worst
        The entry of the slowest.
    count, seconds
        How many there are, and how long they took together.
    users
        Classes of their users.
    """

    worst: Mapping[str, Any]
    count: int = 0
    seconds: float = 0.0
    users: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the group as a JSON object."""
        return {"count": self.count, "seconds": round(self.seconds, 3), "users": self.users, "worst": self.worst}


def group_queries(entries: Iterable[Mapping[str, Any]]) -> list[QueryGroup]:
    """Group queries by their shapes; those that took most time together come first.

    Parameters
    ----------
    entries
        Entries of the log.
    """
    groups: dict[str, QueryGroup] = {}
    for entry in entries:
        group = groups.setdefault(find_query_shape(entry["text"]), QueryGroup(worst=entry, users={}))
        group.count += 1
        group.seconds += entry["seconds"]
        user = str(entry.get("user"))
        group.users[user] = group.users.get(user, 0) + 1
        if entry["seconds"] > group.worst["seconds"]:
            group.worst = entry
    return sorted(groups.values(), key=lambda group: -group.seconds)
