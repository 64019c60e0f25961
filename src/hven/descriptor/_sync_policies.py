"""``sync:`` of a table and of a collection: how changes of the source are followed, and when."""

from __future__ import annotations

import math
import re
import zoneinfo
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.value_schema import describe_value
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar
from hven.model.errors import suggest_spelling
from hven.model.resource import Recurrence, SyncPolicy, SyncSchedule
from hven.sources.kind_traits import find_source_kind_traits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.model.errors import TextPlace

SECONDS_BY_UNIT = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
UNIT_ALIASES = {
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "m": "min",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
}
_DURATION_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")
_NUMBER_PATTERN = re.compile(r"\s*[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\s*")
_PERCENT_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")
UNIT_LIST_TEXT = "s, min, h, d, w"


def _read_duration(value: Any, key_path: str, faults: FaultCollector, *, allow_unitless: bool = False) -> Any:
    """Convert to seconds: ``2 d``, ``1 h``, ``30 min``.

    If `allow_unitless`, a number without a unit is right, too, and stays so.
    """
    if not isinstance(value, LocatedYamlScalar) or value.is_null:
        faults.add_error(
            f"{key_path} must be a duration, not {describe_value(value)}", value.place, "write 2 d, 1 h or 30 min"
        )
        return None
    if _NUMBER_PATTERN.fullmatch(value):
        if allow_unitless:
            return value
        faults.add_error(
            f"{key_path}: {str(value)!r} has no unit",
            value.place,
            f"add a unit ({UNIT_LIST_TEXT}): {str(value).strip()} h",
        )
        return None
    match = _DURATION_PATTERN.fullmatch(value)
    if match:
        unit = match[2].lower()
    else:
        unit = ""
    unit = UNIT_ALIASES.get(unit, unit)
    if match is None or unit not in SECONDS_BY_UNIT:
        if match:
            remedy = f"write {match[1]} with a unit ({UNIT_LIST_TEXT})"
        else:
            remedy = "write 2 d, 1 h or 30 min"
        faults.add_error(f"{key_path}: {str(value)!r} is not a duration", value.place, remedy)
        return None
    return float(match[1]) * SECONDS_BY_UNIT[unit]


def _read_full_sync_interval(value: Any, key_path: str, faults: FaultCollector) -> Any:
    """Convert to seconds; ``never`` is infinity."""
    if isinstance(value, LocatedYamlScalar) and value.strip().lower() == "never":
        return math.inf
    return _read_duration(value, key_path, faults)


def _read_percent(value: Any, key_path: str, faults: FaultCollector) -> float | None:
    """Convert ``10 %`` to a fraction."""
    if isinstance(value, LocatedYamlScalar):
        match = _PERCENT_PATTERN.fullmatch(value)
    else:
        match = None
    if match is None or float(match[1]) > 100:
        faults.add_error(
            f"{key_path} must be a percentage of the rows, not {describe_value(value)}", value.place, "write 10 %"
        )
        return None
    return float(match[1]) / 100


Duration = Annotated[str, _read_duration, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*[A-Za-z]+\s*$")]
Overlap = Annotated[Duration | Annotated[float, Field(ge=0)], partial(_read_duration, allow_unitless=True)]
FullInterval = Annotated[Duration | Literal["never"], _read_full_sync_interval]
Share = Annotated[str, _read_percent, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$")]


def read_sync_policy(
    key_path: str, fields: LocatedKeyValues, primary_key_columns: Sequence[str], faults: FaultCollector
) -> SyncPolicy | None:
    """Read ``sync:`` of a table.

    Parameters
    ----------
    primary_key_columns
        Columns of the primary key.
    """
    sync_fields = fields.get("sync")
    if sync_fields is None:
        return None
    where = f"{key_path}.sync"
    watermark = sync_fields.get("watermark")
    overlap = sync_fields.get("overlap")
    deletions = sync_fields.get("deletions", "compare")
    if watermark is None and "overlap" in sync_fields:
        faults.add_error(
            f"{where}: 'overlap' has no effect without a watermark",
            sync_fields.places["overlap"],
            "remove 'overlap', or give 'watermark'; without a watermark, Hven reads everything each time",
        )
    if isinstance(deletions, str):
        deletion_method = deletions
    else:
        deletion_method = "column"
    if deletion_method in {"none", "column"} and watermark is None and "deletions" in sync_fields.places:
        faults.add_warning(
            (
                f"{where}: 'deletions' has no effect without a watermark, because Hven then reads everything and "
                "removes rows that have disappeared from the source"
            ),
            sync_fields.places["deletions"],
            "give 'watermark', or remove 'deletions'",
        )
    if (
        watermark is not None
        and not primary_key_columns
        and "primary" not in fields.places
        and not fields.get("standard")
    ):
        faults.add_error(
            f"{where}: a table with a watermark needs a primary key",
            sync_fields.places["watermark"],
            "write `primary: [column, ..]`",
        )
    source_kinds = {
        str(source_entry.get("kind", ""))  # type: ignore[call-overload]
        for source_entry in fields.get("source", ())
        if isinstance(source_entry, LocatedYamlMap)
    }  # keys are Written
    if (
        watermark is not None
        and deletion_method != "blocks"
        and "full" not in sync_fields.places
        and any(find_source_kind_traits(kind).is_read_from_watermark for kind in source_kinds)
    ):
        faults.add_warning(
            f"{where}: 'full' is missing; it sets how often Hven reads everything to find edits that leave the "
            "watermark unchanged",
            sync_fields.places["watermark"],
            "write `full: 7 d`, or `full: never` if every write changes the watermark; on PostgreSQL, you can write "
            "`deletions: blocks` instead to find every edit",
        )
    guard = sync_fields.get("guard", {})
    return SyncPolicy(
        watermark=None if watermark is None else (str(watermark), watermark.place),
        overlap_seconds=overlap if isinstance(overlap, float) else None,
        overlap_amount=float(overlap) if isinstance(overlap, LocatedYamlScalar) else None,
        deletion_method=str(deletion_method),
        deleted_condition=None
        if isinstance(deletions, str) or "column" not in deletions
        else (deletions["column"], deletions["column"].place),
        full_interval_seconds=sync_fields.get("full"),
        page_row_count=None if "page" not in sync_fields else int(sync_fields["page"]),
        max_requests_per_second=sync_fields.get("rate"),
        max_removed_share=guard.get("removed", SyncPolicy.DEFAULT_MAX_REMOVED_SHARE),
        max_changed_share=guard.get("changed", SyncPolicy.DEFAULT_MAX_CHANGED_SHARE),
        place=sync_fields.place,
    )


@cache
def _list_time_zones() -> set[str]:
    """List all time zones, once: each is a file that is opened for it."""
    return zoneinfo.available_timezones()


def read_sync_schedule(fields: LocatedKeyValues, faults: FaultCollector) -> SyncSchedule | None:
    """Read ``sync:`` of a collection."""
    sync_fields = fields.get("sync")
    if sync_fields is None:
        return None
    cron = sync_fields.get("cron")
    zone = sync_fields.get("zone")
    fault_count = len(faults.faults)
    if "every" in sync_fields.places and "cron" in sync_fields.places:
        faults.add_error("sync has both 'every' and 'cron'", sync_fields.places["cron"], "remove one of them")
    if "every" not in sync_fields.places and "cron" not in sync_fields.places:
        faults.add_error("sync needs 'every' or 'cron'", sync_fields.place, "write `every: 1 h`")
    if cron is not None:
        _check_cron(str(cron), cron.place, faults)
    if zone is not None:
        time_zones = _list_time_zones()
        if zone not in time_zones:
            faults.add_error(
                f"sync.zone: there is no time zone {str(zone)!r}",
                zone.place,
                suggest_spelling(zone, time_zones) or "write a name such as Europe/Vienna or UTC",
            )
        if cron is None:
            faults.add_warning("sync.zone has no effect without 'cron'", zone.place, "remove 'zone'")
    if sync_fields.get("every") == 0:
        faults.add_error("sync.every is zero", sync_fields.places["every"], "write `every: 1 h`")
        return None
    interval_seconds = sync_fields.get("every")
    sync_schedule = SyncSchedule(
        interval_seconds=interval_seconds,
        cron=None if cron is None else " ".join(str(cron).split()),
        max_jitter_seconds=sync_fields.get("jitter", 0.0),
        time_zone="UTC" if zone is None else str(zone),
        place=sync_fields.place,
    )
    if all(fault.severity != "error" for fault in faults.faults[fault_count:]):
        try:  # what each part for itself may be, and together may not: the 30th of February
            Recurrence(
                interval_seconds=sync_schedule.interval_seconds,
                cron=sync_schedule.cron,
                max_jitter_seconds=sync_schedule.max_jitter_seconds,
                time_zone=sync_schedule.time_zone,
            )
        except ValueError as error:
            faults.add_error(
                f"sync: {error}",
                sync_fields.places["cron" if cron is not None else "every"],
                "write a time that exists" if cron is not None else "write, for example, `every: 1 h`",
            )
            return None
    return sync_schedule


_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
_CRON_NAMES_BY_FIELD = {
    3: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


def _check_cron(text: str, place: TextPlace, faults: FaultCollector) -> None:
    """Check each of the five fields."""
    parts = text.split()
    if len(parts) != len(_CRON_FIELDS):
        faults.add_error(
            f"sync.cron has {len(parts)} fields instead of 5",
            place,
            ('write minute, hour, day, month and weekday: "15 3 * * *"'),
        )
        return
    for number, (part, (name, low, high)) in enumerate(zip(parts, _CRON_FIELDS, strict=True)):
        for item in part.split(","):
            body, slash, step = item.partition("/")
            if body == "*":
                range_ends = []
            else:
                range_ends = body.split("-", 1)
            values = [_parse_cron_value(end, number) for end in range_ends]
            invalid_ends = [
                end for end, value in zip(range_ends, values, strict=True) if value is None or not low <= value <= high
            ]
            if invalid_ends or (slash and (not step.isdecimal() or int(step) == 0)):
                faults.add_error(
                    f"sync.cron: {item!r} is not a valid {name}",
                    place,
                    f"write a number from {low} to {high}, *, */2 or {low}-{low + 3}",
                )
                return
            if len(values) == 2 and values[0] is not None and values[1] is not None and values[0] > values[1]:
                faults.add_error(f"sync.cron: {item!r} ends before it begins", place, f"write {values[1]}-{values[0]}")
                return


def _parse_cron_value(text: str, field_number: int) -> int | None:
    if text.isdecimal():
        return int(text)
    names = _CRON_NAMES_BY_FIELD.get(field_number, ())
    if text.lower() in names:
        return names.index(text.lower()) + (1 if field_number == 3 else 0)
    return None
