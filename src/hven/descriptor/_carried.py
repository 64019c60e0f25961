"""What a source says beside the names and types of its columns - links, groups, options, constants, frames - as lines of a first descriptor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor._yaml_text import comment, flow, scalar
from hven.model import units
from hven.model.table import HIDDEN, Constant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.descriptor._guesses import Guess
    from hven.formats import Head
    from hven.model.table import Column, FrameRef, Group

_TEMPLATE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def relinked(template: str, names: Mapping[str, str]) -> tuple[str, str | None]:
    """Rename a link's columns as the table does; and return the first column that the table does not have."""
    lost = next(
        (found[1] for found in _TEMPLATE.finditer(template) if found[1] is not None and found[1] not in names), None
    )
    return _TEMPLATE.sub(
        lambda found: found[0] if found[1] is None else f"{{{names.get(found[1], found[1])}}}", template
    ), lost


class Carried:
    """What is carried over for the columns that were guessed; `of` gives a column's further attributes, `lines` those of the table."""

    def __init__(self, head: Head | None, guesses: Sequence[Guess]) -> None:
        self._head = head
        self._names = {item.source: item.column.name for item in guesses}
        frames = () if head is None else head.frames
        self._frames = {frame.id: frame for frame in frames if any(item.column.frame == frame.id for item in guesses)}
        self.hidden = sum(item.column.display == HIDDEN for item in guesses)

    def of(self, column: Column) -> dict[str, Any]:
        """Return what a column refers to, and whether it is hidden or indexed."""
        if self._head is None:
            return {}
        found: dict[str, Any] = {"display": HIDDEN, "rank": 30} if column.display == HIDDEN else {}
        if column.link:
            link, lost = relinked(column.link, self._names)
            found |= {} if lost is not None else {"link": link}
        if column.enum in self._head.enums:
            found["enum"] = column.enum
        if column.frame in self._frames:
            found["frame"] = column.frame
        if column.indexed:
            found["indexed"] = True
        return found

    def lines(self, *, frames: bool = True) -> list[str]:
        """Write the keys of the table; without `frames` where a standard has its own."""
        if self._head is None:
            return []
        params = {column.name: _param(column, value) for column, value in self._head.params}
        doubts = {
            one.name: f"the source says unit {one.unit!r}, which is none"
            for one, _ in self._head.params
            if one.unit and not _unit(one.unit)
        }
        used = {column.enum for column in (*self._head.columns, *(column for column, _ in self._head.params))}
        enums = {name: dict(words) for name, words in self._head.enums.items() if name in used}
        known = {**self._names, **{name: name for name in params}}
        groups = {one.name: found for one in self._head.groups if (found := _group(one, known))}
        told = {name: _frame(one) for name, one in self._frames.items()}
        return [
            *_written("frames", told if frames else {}),
            *_written("enums", enums),
            *_written("params", params, doubts),
            *_written("groups", groups),
        ]


def _group(one: Group, names: Mapping[str, str]) -> dict[str, Any]:
    members = [(role, column) for role, column in one.roles.items() if column in names]
    found: dict[str, Any] = {"columns": [names[column] for role, column in members if role == column]}
    found["roles"] = {role: names[column] for role, column in members if role != column}
    found |= {key: getattr(one, key) for key in ("ucd", "utype", "description")}
    return {key: value for key, value in found.items() if value} if members else {}


def _param(one: Column, value: object) -> dict[str, Any]:
    text = one.value if isinstance(one, Constant) else value
    found = {
        "type": "string" if one.type.is_string and one.type.xtype is None else str(one.type),
        "value": str(text or ""),
    }
    unit = _unit(one.unit) if one.unit else None
    about = {
        "unit": unit,
        "ucd": units.modern_ucd(one.ucd) if one.ucd else None,
        "utype": one.utype,
        "description": one.description,
        "enum": one.enum,
    }
    return found | {key: value for key, value in about.items() if value}


def _unit(text: str) -> str | None:
    try:
        return units.check(text)
    except ValueError:
        return None


def _frame(one: FrameRef) -> dict[str, Any]:
    words = ("kind", "system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
    return {key: value for key in words if (value := getattr(one, key)) and (key, value) != ("kind", "coosys")}


def _written(
    key: str, entries: Mapping[str, Mapping[str, Any]], doubts: Mapping[str, str] | None = None
) -> Iterable[str]:
    if not entries:
        return []
    notes = {name: f"  # {comment(text)}" for name, text in (doubts or {}).items()}
    return [
        f"    {key}:",
        *(f"      {scalar(name)}: {flow(dict(entry))}{notes.get(name, '')}" for name, entry in entries.items()),
    ]


__all__ = ["Carried", "relinked"]
