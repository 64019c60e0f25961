"""Send the requests of a log to a new service, and to the old one, and collect the differences."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.plugins.log_replay.answer_comparison import compare_answers
from hven.plugins.log_replay.request_counts import RequestCounts
from hven.plugins.log_replay.request_logs import read_log
from hven.sources.http_client import send_request_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hven.plugins.log_replay.request_logs import LoggedRequest
    from hven.sources.http_client import HttpAnswer

OVER_LIMIT = "rare requests beyond --limit"
OUTSIDE_PREFIX = "requests whose path doesn't begin with the prefix"
MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 32 * 1024**2
TIMEOUT_SECONDS = 60.0
REPEATED_HEADERS = {"user-agent": "Hven replay", "accept-encoding": "gzip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedRequest:
    """A request that was sent again.

    Attributes
    ----------
    target
        Path and query in the log.
    count
        How often the log has it.
    difference
        In which way the new answer differs; empty: in none.
    old_seconds, new_seconds
        How long the answers took; the old one is None if the old service was not asked.
    """

    target: str
    count: int
    difference: str
    new_seconds: float
    old_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON."""
        seconds = {"old_seconds": self.old_seconds, "new_seconds": self.new_seconds}
        return {"target": self.target, "count": self.count, "difference": self.difference, **seconds}


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """What came out.

    Attributes
    ----------
    requests
        The requests that were sent again, the most frequent first.
    unrepeatable
        Reason -> number of lines of the log that were not repeated because of it.
    """

    requests: list[ReplayedRequest] = field(default_factory=list)
    unrepeatable: Counter[str] = field(default_factory=Counter)

    @property
    def repeated_count(self) -> int:
        """Number of lines of the log that were repeated."""
        return sum(request.count for request in self.requests)

    @property
    def differences(self) -> list[ReplayedRequest]:
        """The requests whose answers differ."""
        return [request for request in self.requests if request.difference]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "repeated": self.repeated_count,
            "not_repeated": dict(self.unrepeatable.most_common()),
            "different": sum(request.count for request in self.differences),
            "requests": [request.to_json() for request in self.requests],
        }


def collect_distinct_requests(
    path: Path, *, prefix: str, request_limit: int
) -> tuple[list[tuple[LoggedRequest, int]], Counter[str]]:
    """Collect the different requests of a log.

    Parameters
    ----------
    path
        The log.
    prefix
        Beginning of the paths in the log that is removed.
    request_limit
        Number of different requests at most.

    Returns
    -------
    requests
        The most frequent first, each with its number. Its status is the most frequent one that does not depend on the
        moment.
    unrepeatable
        Reason -> number of lines.
    """
    counts = RequestCounts()
    unrepeatable: Counter[str] = Counter()
    prefix = prefix.rstrip("/")
    for entry in read_log(path):
        if isinstance(entry, str):
            unrepeatable[entry] += 1
        elif prefix and not entry.target.startswith(prefix + "/"):
            unrepeatable[OUTSIDE_PREFIX] += 1
        else:
            counts.count(entry, entry.target)
    ordered = counts.list_targets()
    over_limit = counts.dropped_count + sum(count for _, count in ordered[request_limit:])
    if over_limit:
        unrepeatable[OVER_LIMIT] = over_limit
    requests = [
        (replace(counts.first_requests[target], status=counts.find_lasting_status(target)), count)
        for target, count in ordered[:request_limit]
    ]
    return requests, unrepeatable


class LogReplay:
    """Sends requests to the services that the user named, and to no others.

    Parameters
    ----------
    new_url, old_url
        Addresses of the services. An empty old address: new answers are compared with the statuses in the log.
    prefix
        Beginning of the log's paths, which the addresses replace.
    requests_per_second
        Largest number of requests per second to each service.
    new_targets
        Target of a request -> what the new service gets instead, where its tables have other names.
    expects_refusals
        Whether a request that both services refuse with the same status counts as answered equally.
    """

    def __init__(
        self,
        new_url: str,
        old_url: str = "",
        *,
        prefix: str = "",
        requests_per_second: float = 2.0,
        new_targets: Mapping[str, str] | None = None,
        expects_refusals: bool = True,
    ) -> None:
        self._new_url, self._old_url = new_url.rstrip("/"), old_url.rstrip("/")
        self._prefix = prefix.rstrip("/")
        self._interval_seconds = 1.0 / requests_per_second
        self._next_time = 0.0
        self._new_targets = new_targets or {}
        self._expects_refusals = expects_refusals

    def repeat_requests(
        self,
        requests: list[tuple[LoggedRequest, int]],
        report_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[ReplayedRequest]:
        """Send requests again, one after the other.

        Parameters
        ----------
        requests
            Requests with their numbers.
        report_progress
            Is called with the number of requests that were sent, and of all.
        """
        replayed = []
        for number, (request, count) in enumerate(requests):
            report_progress(number, len(requests))
            replayed.append(self._repeat_request(request, count))
        return replayed

    def _repeat_request(self, request: LoggedRequest, count: int) -> ReplayedRequest:
        target = request.target.removeprefix(self._prefix)
        now = time.monotonic()
        time.sleep(max(self._next_time - now, 0.0))
        self._next_time = max(self._next_time, now) + self._interval_seconds
        new_answer, new_seconds = self._send_request(self._new_url, self._new_targets.get(target, target))
        old_seconds: float | None = None
        if self._old_url:
            old_answer, old_seconds = self._send_request(self._old_url, target)
            difference = _compare_or_explain(old_answer, new_answer)
            if isinstance(old_answer, str):
                old_status = 0
            else:
                old_status = old_answer.status
            if old_status >= 400 and not difference and not self._expects_refusals:
                difference = f"both services refuse it (status {old_status}), so nothing is compared"
        elif isinstance(new_answer, str):
            difference = f"no answer: {new_answer}"
        else:
            difference = _compare_with_log(request.status, new_answer.status)
        return ReplayedRequest(
            target=request.target,
            count=count,
            difference=difference,
            new_seconds=round(new_seconds, 3),
            old_seconds=None if old_seconds is None else round(old_seconds, 3),
        )

    def _send_request(self, base_url: str, target: str) -> tuple[HttpAnswer | str, float]:
        """Send a request; return the answer, or why there is none, and the seconds that it took."""
        start = time.monotonic()
        url = base_url + target
        headers: Mapping[str, str] = REPEATED_HEADERS
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = send_request_once(
                    "GET",
                    url,
                    headers=headers,
                    timeout_seconds=TIMEOUT_SECONDS,
                    byte_limit=MAX_ANSWER_BYTES,
                    allow_private=True,  # the user named the address
                )
                if not 300 <= answer.status < 400 or not answer.location.startswith(base_url + "/"):
                    break  # other addresses are not the user's
                url = answer.location
        except HvenError as error:
            return str(error), time.monotonic() - start
        return answer, time.monotonic() - start


def _compare_or_explain(old: HttpAnswer | str, new: HttpAnswer | str) -> str:
    if isinstance(new, str):
        if isinstance(old, str):
            return f"no answer of either service can be compared: {new} (new); {old} (old)"
        return f"no answer: {new}"
    if isinstance(old, str):
        return f"the old service did not answer: {old}"
    return compare_answers(old, new)


def _compare_with_log(logged_status: int | None, status: int) -> str:
    """Compare a status with the log's. A log has 304 for clients that had the answer already, and 206 for parts."""
    if logged_status is None:
        if status >= 500:
            return f"status {status}, and the log does not say what the old service answers"
        return ""
    if status == logged_status or (logged_status in {206, 304} and status == 200):
        return ""
    if 300 <= logged_status < 400 and status < 400:
        return ""
    return f"status {status} instead of {logged_status}"


def repeat_log(
    path: Path, log_replay: LogReplay, *, prefix: str, request_limit: int, report_progress: Callable[[int, int], None]
) -> ReplayReport:
    """Replay a log.

    Parameters
    ----------
    path
        The log.
    log_replay
        Sends the requests.
    prefix, request_limit
        As for `collect_distinct_requests`.
    report_progress
        As for `LogReplay.repeat_requests`.
    """
    requests, unrepeatable = collect_distinct_requests(path, prefix=prefix, request_limit=request_limit)
    return ReplayReport(requests=log_replay.repeat_requests(requests, report_progress), unrepeatable=unrepeatable)
