"""``sync:`` of a table and of a collection: how changes of the source are followed, and when."""

from __future__ import annotations

import math
import re
import zoneinfo
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.value_schema import kind
from hven.descriptor.written import Entries, Written
from hven.model.errors import nearest
from hven.model.resource import Schedule, Sync, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import Faults, Fields
    from hven.model.errors import Place

SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
WORDS = {
    "sec": "s", "second": "s", "seconds": "s", "m": "min", "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "day": "d", "days": "d",
    "week": "w", "weeks": "w",
}  # fmt: skip
_LENGTH = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")
_NUMBER = re.compile(r"\s*[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\s*")
_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")
UNITS = "s, min, h, d, w"
NARROWED = {"sql", "tap"}  # kinds that give the rows behind a watermark alone


def _duration(value: Any, what: str, faults: Faults, *, bare: bool = False) -> Any:
    """Convert to seconds: ``2 d``, ``1 h``, ``30 min``; if `bare`, a number without a unit is right, too, and stays so."""
    if not isinstance(value, Written) or value.is_null:
        faults.error(f"{what} must be a length of time, not {kind(value)}", value.place, "2 d, 1 h, 30 min")
        return None
    if _NUMBER.fullmatch(value):
        if bare:
            return value
        faults.error(f"{what}: {str(value)!r} has no unit", value.place, f"one of {UNITS}: {str(value).strip()} h")
        return None
    found = _LENGTH.fullmatch(value)
    unit = found[2].lower() if found else ""
    unit = WORDS.get(unit, unit)
    if found is None or unit not in SECONDS:
        remedy = f"{found[1]} and one of {UNITS}" if found else "2 d, 1 h, 30 min"
        faults.error(f"{what}: {str(value)!r} is no length of time", value.place, remedy)
        return None
    return float(found[1]) * SECONDS[unit]


def _full(value: Any, what: str, faults: Faults) -> Any:
    """Convert to seconds; ``never`` is infinity."""
    return (
        math.inf if isinstance(value, Written) and value.strip().lower() == "never" else _duration(value, what, faults)
    )


def _share(value: Any, what: str, faults: Faults) -> float | None:
    """Convert ``10 %`` to a fraction."""
    found = _SHARE.fullmatch(value) if isinstance(value, Written) else None
    if found is None or float(found[1]) > 100:
        faults.error(f"{what} must be a share of the rows in percent, not {kind(value)}", value.place, "10 %")
        return None
    return float(found[1]) / 100


Duration = Annotated[str, _duration, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*[A-Za-z]+\s*$")]
Overlap = Annotated[Duration | Annotated[float, Field(ge=0)], partial(_duration, bare=True)]
Full = Annotated[Duration | Literal["never"], _full]
Share = Annotated[str, _share, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$")]


def sync(what: str, fields: Fields, names: Sequence[str], faults: Faults) -> Sync | None:
    """Read ``sync:`` of a table.

    Parameters
    ----------
    names
        Columns of the primary key.
    """
    said = fields.get("sync")
    if said is None:
        return None
    where = f"{what}.sync"
    watermark, overlap, deletions = said.get("watermark"), said.get("overlap"), said.get("deletions", "compare")
    if watermark is None and "overlap" in said:
        faults.error(
            f"{where}: 'overlap' means nothing without a watermark",
            said.places["overlap"],
            "everything is read each time: remove it, or say watermark",
        )
    word = deletions if isinstance(deletions, str) else "column"
    if word in {"none", "column"} and watermark is None and "deletions" in said.places:
        faults.warning(
            f"{where}: without a watermark everything is read, and rows that are not there any more go",
            said.places["deletions"],
            "say watermark, or leave deletions out",
        )
    if watermark is not None and not names and "primary" not in fields.places and not fields.get("standard"):
        faults.error(
            f"{where}: a table that is read in part needs a primary key",
            said.places["watermark"],
            "say primary: [column, ..]",
        )
    kinds = {str(one.get("kind", "")) for one in fields.get("source", ()) if isinstance(one, Entries)}  # type: ignore[call-overload]  # keys are Written
    if watermark is not None and word != "blocks" and "full" not in said.places and kinds & NARROWED:
        faults.warning(
            f"{where}: an edit that leaves the watermark as it was is found when everything is read, and nothing says how often",
            said.places["watermark"],
            "say full: 7 d; or deletions: blocks (PostgreSQL), which finds every edit; or full: never, if every write moves the watermark",
        )
    guard = said.get("guard", {})
    return Sync(
        watermark=None if watermark is None else (str(watermark), watermark.place),
        overlap=overlap if isinstance(overlap, float) else None,
        overlap_number=float(overlap) if isinstance(overlap, Written) else None,
        deletions=str(word),
        deleted=None
        if isinstance(deletions, str) or "column" not in deletions
        else (deletions["column"], deletions["column"].place),
        full=said.get("full"),
        page=None if "page" not in said else int(said["page"]),
        rate=said.get("rate"),
        removed=guard.get("removed", Sync.REMOVED),
        changed=guard.get("changed", Sync.CHANGED),
        place=said.place,
    )


@cache
def _zones() -> set[str]:
    """List all time zones, once: each is a file that is opened for it."""
    return zoneinfo.available_timezones()


def schedule(fields: Fields, faults: Faults) -> Schedule | None:
    """Read ``sync:`` of a collection."""
    said = fields.get("sync")
    if said is None:
        return None
    cron, zone = said.get("cron"), said.get("zone")
    before = len(faults.found)
    if "every" in said.places and "cron" in said.places:
        faults.error("sync says both 'every' and 'cron'", said.places["cron"], "keep one")
    if "every" not in said.places and "cron" not in said.places:
        faults.error("sync does not say when", said.place, "every: 1 h")
    if cron is not None:
        _check_cron(str(cron), cron.place, faults)
    if zone is not None:
        known = _zones()
        if zone not in known:
            faults.error(
                f"sync.zone: there is no time zone {str(zone)!r}",
                zone.place,
                nearest(zone, known) or "Europe/Vienna, UTC",
            )
        if cron is None:
            faults.warning("sync.zone means nothing without cron", zone.place, "remove it")
    if said.get("every") == 0:
        faults.error("sync.every is no time at all", said.places["every"], "every: 1 h")
        return None
    made = Schedule(
        every=said.get("every"),
        cron=None if cron is None else " ".join(str(cron).split()),
        jitter=said.get("jitter", 0.0),
        zone="UTC" if zone is None else str(zone),
        place=said.place,
    )
    if all(fault.severity != "error" for fault in faults.found[before:]):
        try:  # what each part for itself may be, and together may not: the 30th of February
            Timing(every=made.every, cron=made.cron, jitter=made.jitter, zone=made.zone)
        except ValueError as error:
            faults.error(
                f"sync: {error}", said.places["cron" if cron is not None else "every"], "it must come to be some time"
            )
            return None
    return made


_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_NAMES = {
    3: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


def _check_cron(text: str, place: Place, faults: Faults) -> None:
    """Check each of the five fields."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        faults.error(
            f"sync.cron has {len(parts)} fields instead of 5", place, 'minute, hour, day, month, weekday: "15 3 * * *"'
        )
        return
    for number, (part, (name, low, high)) in enumerate(zip(parts, _FIELDS, strict=True)):
        for item in part.split(","):
            body, slash, step = item.partition("/")
            ends = [] if body == "*" else body.split("-", 1)
            values = [_cron_value(end, number) for end in ends]
            wrong = [end for end, value in zip(ends, values, strict=True) if value is None or not low <= value <= high]
            if wrong or (slash and (not step.isdigit() or int(step) == 0)):
                faults.error(f"sync.cron: {item!r} is no {name}", place, f"{low} to {high}, *, */2, {low}-{low + 3}")
                return
            if len(values) == 2 and values[0] is not None and values[1] is not None and values[0] > values[1]:
                faults.error(f"sync.cron: {item!r} ends before it begins", place, f"{values[1]}-{values[0]}")
                return


def _cron_value(text: str, number: int) -> int | None:
    if text.isdigit():
        return int(text)
    names = _NAMES.get(number, ())
    return names.index(text.lower()) + (1 if number == 3 else 0) if text.lower() in names else None


__all__ = ["Duration", "Full", "Overlap", "Share", "schedule", "sync"]
