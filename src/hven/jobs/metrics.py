"""Metrics in Prometheus' text format 0.0.4: what the processes of a server have counted, and how its collections are."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

from hven.jobs.health import FAILING, FRESH, HELD, PAUSED, STALE, UNSCHEDULED
from hven.site.counters import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.jobs.health import Check, Picture
    from hven.site.counters import Counters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SIZES = ("sent_bytes_total", "query_rows_total")
_COLLECTION_TIMES = tuple((name, about, attrgetter(attribute)) for name, about, attribute in (
    ("collection_success_time_seconds", "When the last good sync or ingest ended.", "succeeded"),
    ("collection_stale_time_seconds", "When it becomes stale without another.", "limit"),
    ("collection_modified_time_seconds", "Last modification seen in the source.", "modified"),
    ("collection_next_time_seconds", "When it is synchronised next.", "next"),
    ("collection_verified_time_seconds", "When its files were last seen to be what was published.", "verified"),
))  # fmt: skip
STATES = (FRESH, FAILING, STALE, HELD, PAUSED, UNSCHEDULED)

Sample = tuple[str, dict[str, str], float | None]  # what is added to the name, labels, value


def exposition(
    picture: Picture,
    checks: Sequence[Check],
    counters: Counters,
    *,
    version: str,
    variant: str | None,
    started: datetime,
    sizes: bool = True,
) -> str:
    """Serialize all metrics of a server.

    Parameters
    ----------
    picture
        With the collections that the reader may know of.
    checks
        Of the service.
    counters
        Of its processes.
    version
        Of Hven.
    variant
        Of the site (`settings.variant`); None: it is the only one.
    started
        When this process began.
    sizes
        Tell also how many rows and bytes all readers together were given: what others were shows how much is hidden from who asks.

    Returns
    -------
    text
        Lines of Prometheus' format.
    """
    lines: list[str] = []
    for name, kind, about, samples in (
        *_server(checks, version, variant, started),
        *_counted(counters),
        *_collections(picture),
    ):
        shown = sizes or name not in SIZES
        told = [(suffix, labels, value) for suffix, labels, value in samples if value is not None and shown]
        if told:
            lines += [f"# HELP hven_{name} {about}", f"# TYPE hven_{name} {kind}"]
            lines += [f"hven_{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in told]
    return "\n".join(lines) + "\n"


def _server(
    checks: Sequence[Check], version: str, variant: str | None, started: datetime
) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    yield (
        "info",
        "gauge",
        "Version and variant of the server.",
        [("", {"version": version, "variant": variant or ""}, 1)],
    )
    yield "start_time_seconds", "gauge", "When the process began that answers.", [("", {}, started.timestamp())]
    values = {"ok": 1.0, "warning": 0.5, "failed": 0.0}
    yield (
        "check",
        "gauge",
        "1: well, 0.5: it goes on with less, 0: queries cannot be answered.",
        [("", {"check": check.name}, values[check.state]) for check in checks],
    )


def _counted(counters: Counters) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    found = counters.counted()
    yield "requests_running", "gauge", "Requests that are being answered.", [("", {}, found.running)]
    yield (
        "requests_total",
        "counter",
        "Requests by face and class of status; left: the reader did not wait.",
        [("", {"face": face, "status": status}, count) for (face, status), count in found.requests.items()],
    )
    samples: list[Sample] = []
    for face, times in found.times.items():
        if not sum(times):
            continue
        total = 0
        for bound, count in zip((*BUCKETS, math.inf), times, strict=True):
            total += count
            samples.append(("_bucket", {"face": face, "le": _number(bound)}, total))
        samples += [("_sum", {"face": face}, found.seconds[face]), ("_count", {"face": face}, total)]
    yield "request_seconds", "histogram", "Seconds from a request to the end of its answer.", samples
    sent = [("", {"face": face}, float(count)) for face, count in found.bytes.items() if count]
    yield "sent_bytes_total", "counter", "Bytes of answers, without their heads.", sent
    yield "queries_running", "gauge", "Queries that run.", [("", {}, found.querying)]
    yield "queries_total", "counter", "Queries that have ended, or were refused.", [("", {}, found.queries)]
    yield "query_rows_total", "counter", "Rows that queries gave.", [("", {}, found.rows)]
    yield (
        "query_seconds_total",
        "counter",
        "Seconds that queries ran, their readers' pauses included.",
        [("", {}, found.query_seconds)],
    )
    yield (
        "query_errors_total",
        "counter",
        "Queries that ended in an error, by its kind.",
        [("", {"kind": kind}, count) for kind, count in found.errors.items()],
    )


def _collections(picture: Picture) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    items = picture.collections

    def of(values: Iterable[float | None]) -> list[Sample]:
        return [("", {"collection": item.collection}, value) for item, value in zip(items, values, strict=True)]

    yield "collection_rows", "gauge", "Rows that are published.", of(item.rows for item in items)
    yield (
        "collection_lag_seconds",
        "gauge",
        "Seconds since the last good sync or ingest.",
        of(item.lag for item in items),
    )
    for name, about, read in _COLLECTION_TIMES:
        yield name, "gauge", about, of(_seconds(read(item)) for item in items)
    yield (
        "collection_damaged",
        "gauge",
        "Tables whose published rows are damaged.",
        of(float(len(item.damaged)) for item in items),
    )
    yield (
        "collection_failures",
        "gauge",
        "Runs in a row that failed.",
        of(item.failures if item.timing else None for item in items),
    )
    yield (
        "collection_running",
        "gauge",
        "1 while it is synchronised or ingested.",
        of(float(item.running is not None) for item in items),
    )
    yield (
        "collection_state",
        "gauge",
        "1 for the state that it is in.",
        [
            ("", {"collection": item.collection, "state": state}, float(item.state == state))
            for item in items
            for state in STATES
        ],
    )
    for key, about in (
        ("size", "Connections that there may be."),
        ("used", "Connections that are in use."),
        ("kept", "Connections that wait."),
    ):
        samples: list[Sample] = [("", {"engine": name}, facts.get(key)) for name, facts in picture.engines.items()]
        yield f"engine_connections_{key}", "gauge", about, samples


def _seconds(text: str | None) -> float | None:
    """Read an ISO time; a watermark that is none has no metric."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
