"""Summarise a log as a model of load: how many requests arrive when, and for what.

A benchmark draws requests from the model, so that it loads a server as the users of the log did. The model has no
addresses of users, but it has their queries.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.log_replay.request_counts import MAX_TARGET_CHARACTERS, RequestCounts
from hven.plugins.log_replay.request_logs import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS = 86_400, 3_600, 60
# of the file; JSON may write a character of a target in six bytes
MAX_MODEL_BYTES = 6 * MAX_TARGET_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadModel:
    """A model of the requests in a log.

    Attributes
    ----------
    requests
        Number of requests in the log that can be repeated.
    requests_without_target
        Number of those whose targets are not in `targets`, because the log has too many different ones.
    days
        Number of days from the first to the last of them.
    mean_rate
        Requests per second on average.
    peak_rate
        Requests per second in the minute with most of them.
    hourly_rates
        Requests per second in each hour of the day (UTC).
    targets
        Paths with queries, and how often the log has each; the most frequent first.
    """

    requests: int
    requests_without_target: int = 0
    days: float
    mean_rate: float
    peak_rate: float
    hourly_rates: list[float]
    targets: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON."""
        return asdict(self)


def build_load_model(path: Path, *, prefix: str = "", max_characters: int = MAX_TARGET_CHARACTERS) -> LoadModel:
    """Build the model of a log.

    Parameters
    ----------
    path
        The log.
    prefix
        Beginning of the paths that is removed; requests for other paths are left out.
    max_characters
        Characters of all targets. If the log has more, the model has the most frequent ones.

    Raises
    ------
    UserError
        The file cannot be read, or none of its requests has a time.
    """
    counts = RequestCounts(max_characters)
    minutes: Counter[int] = Counter()
    first_time, last_time = float("inf"), float("-inf")
    prefix = prefix.rstrip("/")
    for entry in read_log(path):
        if isinstance(entry, str) or entry.unix_time is None or (prefix and not entry.target.startswith(f"{prefix}/")):
            continue
        counts.count(entry, entry.target.removeprefix(prefix))
        minutes[int(entry.unix_time // MINUTE_SECONDS)] += 1
        first_time, last_time = min(first_time, entry.unix_time), max(last_time, entry.unix_time)
    targets = counts.list_targets()
    if not targets:
        raise UserError(
            f"{path} has no request with a time that can be repeated",
            remedy="use a log of Hven, DaCHS, vollt, Apache or nginx; check --prefix",
        )
    span_seconds = max(last_time - first_time, 1.0)
    hour_counts: Counter[int] = Counter()
    for minute, count in minutes.items():
        hour_counts[minute * MINUTE_SECONDS % DAY_SECONDS // HOUR_SECONDS] += count
    seconds_per_hour = max(span_seconds / DAY_SECONDS, 1.0) * HOUR_SECONDS
    request_count = minutes.total()
    return LoadModel(
        requests=request_count,
        requests_without_target=counts.dropped_count,
        days=round(span_seconds / DAY_SECONDS, 3),
        mean_rate=round(request_count / span_seconds, 6),
        peak_rate=round(max(minutes.values()) / MINUTE_SECONDS, 6),
        hourly_rates=[round(hour_counts[hour] / seconds_per_hour, 6) for hour in range(24)],
        targets=dict(targets),
    )


def read_load_model(path: Path) -> LoadModel:
    """Read a model that `hven replay --model` has written.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UserError
        The file is no such model.
    """
    try:
        with path.open(encoding="utf-8") as file:
            values: Mapping[str, Any] = json.loads(file.read(MAX_MODEL_BYTES))
        model = LoadModel(**values)
        if sum(model.targets.values()) > 0 and min(model.targets.values()) > 0:
            return model
        error: Exception | None = None
    except (OSError, ValueError, TypeError, AttributeError) as read_error:
        error = read_error
    raise UserError(f"{path} is not a model of load", remedy="write one with `hven replay LOG --model`") from error


def draw_requests(model: LoadModel, rate: float, seed: int) -> Iterator[tuple[float, str]]:
    """Draw requests that arrive independently of each other, without end.

    Parameters
    ----------
    model
        The model.
    rate
        Requests per second, such as its `peak_rate`.
    seed
        The same seed draws the same requests.

    Yields
    ------
    second, target
        When the request arrives, from the beginning, and its path with its query.
    """
    generator = random.Random(seed)  # noqa: S311  (nothing secret)
    targets = list(model.targets)
    bounds = list(accumulate(model.targets.values()))
    second = 0.0
    while True:
        second += generator.expovariate(rate)
        yield second, targets[bisect_right(bounds, generator.randrange(bounds[-1]))]
