"""Links between rows that were made of each other: they share names and times, and their levels of calibration say which came first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.text import quote
from hven.descriptor._expression_names import written
from hven.descriptor.value_schema import Fields
from hven.model.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.descriptor._inherited import Inherited
    from hven.descriptor.value_schema import Faults

TIMES = (("t_min", "t_max"), ("time_min", "time_max"))  # of ObsCore and EPN-TAP, in days
LEVELS = ("calib_level", "processing_level")
TARGETS = {"target_name", "target", "object", "alt_target_name", "target_class"}  # what many observations share
DAY = 86_400.0


def derived(
    where: str, name: str, item: Fields, names: Sequence[str] | None, around: Inherited, faults: Faults
) -> Iterator[Fields]:
    """Write a link with ``derived`` as two: to what the row was made from, and to what was made of it."""
    said, place = item["derived"], item.places["derived"]
    for key in ("semantics", "from", "where"):
        if key in item:
            faults.error(f"{where}.{key}: derived says it", item.places[key], "leave one of them out")
            return
    by = [str(one) for one in said["by"]]
    begin, end, level = _columns(f"{where}.derived", by, said, names, faults)
    if not begin or not level:
        return
    source = str(said.get("in", f"{around.schema}.{name}"))
    alias = source.rpartition(".")[2]

    def both(column: str) -> tuple[str, str]:
        return f"{quote(alias)}.{quote(column)}", f"target.{quote(column)}"

    order = ""
    parts = [f"{theirs} = {mine}" for theirs, mine in map(both, by)]
    if "within" in said:
        days = said["within"] / DAY
        (their_begin, my_begin), (their_end, my_end) = both(begin), both(end)
        if "other_time" in said:
            their_begin, their_end = (both(str(column))[0] for column in said["other_time"])
        order = their_begin
        parts += [f"{their_begin} <= {my_end} + {days!r}", f"{their_end} >= {my_begin} - {days!r}"]
    theirs, mine = both(level)
    parts.append(f"{theirs} <> {mine}")
    for semantics, sign in (("progenitor", "<"), ("derivation", ">")):
        made = Fields(
            item.place,
            {
                **item.places,
                "semantics": place,
                "from": place,
                "where": place,
                "if": place,
                "order": item.places.get("order", place),
            },
        )
        made.update({key: value for key, value in item.items() if key != "derived"})
        condition = f"{theirs} {sign} {mine}" + (f" AND ({item['if']})" if "if" in item else "")
        texts = {"semantics": semantics, "from": source, "where": " AND ".join(parts), "if": condition}
        texts |= {"order": order} if order and "order" not in item else {}
        made.update({key: written(text, place) for key, text in texts.items()})
        yield made


def _columns(
    what: str, by: list[str], said: Fields, names: Sequence[str] | None, faults: Faults
) -> tuple[str, str, str]:
    """Find the columns of times and levels that the table has; empty: a fault was told."""
    known = None if names is None else {one.lower(): one for one in names}
    wanted = [*by, *([str(said["level"])] if "level" in said else ()), *map(str, said.get("time", ()))]
    for one in wanted if known is not None else ():
        if one.lower() not in (known or {}):
            faults.error(f"{what}: the table has no column {one!r}", said.place, nearest(one, names or ()))
            return "", "", ""
    if {one.lower() for one in by} <= TARGETS and "within" not in said:
        remedy = "add obs_id or the programme to `by`, or say within: 10 min"
        faults.error(
            f"{what}.by: who observes the same target makes nothing of each other's data", said.places["by"], remedy
        )
        return "", "", ""
    level = str(said["level"]) if "level" in said else _first(LEVELS, known)
    if not level:
        remedy = f"level: a column that is larger in what was made of it; by themselves: {', '.join(LEVELS)}"
        faults.error(f"{what}: nothing says which was made from which", said.place, remedy)
    times = [str(one) for one in said.get("time", ())] or [
        _first([pair[end] for pair in TIMES], known) for end in (0, 1)
    ]
    if "within" in said and (len(times) != 2 or not all(times)):
        remedy = "time: [start, stop], columns of both tables, in days; other_time: [..] where the other table calls them otherwise"
        faults.error(f"{what}.within: it is not said when a row begins and ends", said.places["within"], remedy)
        return "", "", ""
    if "other_time" in said and ("within" not in said or "in" not in said or len(said["other_time"]) != 2):
        remedy = "in: the other table, within: 10 min, other_time: [start, stop]"
        faults.error(
            f"{what}.other_time: the columns of another table where its rows begin and end",
            said.places["other_time"],
            remedy,
        )
        return "", "", ""
    return times[0] or "-", times[-1] or "-", level


def _first(wanted: Sequence[str], known: dict[str, str] | None) -> str:
    return next((one for one in wanted if known is None or one in known), "")
