"""Find the value that a question asks for in the answers of tools, and compare it with the known one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

TOLERANCE = 1e-6  # relative; magnitudes are floats of 32 bits


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answer of a tool: whether it is an error, its text and its content."""

    is_error: bool
    text: str
    content: Any


def find_value(answered: Answered, find: str) -> Any:
    """Find a value: ``a.b`` is a property, ``a.0`` an item, ``a[].b`` that of each item, ``a.b=c.d`` that of an item.

    Raises
    ------
    LookupError
        The answer does not have it.
    """
    kind, _, path = find.rpartition(":")
    if kind == "column":
        names = [column["name"] for column in answered.content["columns"]]
        return sorted(row[names.index(path)] for row in answered.content["rows"])
    value = follow_path(answered.content, path)
    if kind == "sorted":
        return sorted(value)
    if kind == "rounded":
        return [round(number, 2) for number in value]
    return value


def follow_path(value: Any, path: str) -> Any:
    step, _, rest = path.partition(".")
    if not step:
        return value
    if step.endswith("[]"):
        return [follow_path(item, rest) for item in value[step[:-2]]]
    if "=" in step:
        key, _, wanted = step.partition("=")
        found = [item for item in value if item.get(key) == wanted]
        if not found:
            raise LookupError(step)
        return follow_path(found[0], rest)
    return follow_path(value[int(step)] if step.isdecimal() else value[step], rest)


def is_right(answered: Answered, question: dict[str, Any], base_url: str) -> bool:
    """Return whether an answer has the known value."""
    known, find = question["answer"], question["find"]
    if find == "error":
        return answered.is_error and all(word in answered.text for word in known)
    if answered.is_error:
        return False
    try:
        value = find_value(answered, find)
    except LookupError:
        return False
    if find.startswith("contains:"):
        return known in value
    return is_equal(value, known, base_url)


def is_equal(value: Any, known: Any, base_url: str) -> bool:
    if isinstance(known, list):
        return (
            isinstance(value, list)
            and len(value) == len(known)
            and all(is_equal(*pair, base_url) for pair in zip(value, known, strict=True))
        )
    if isinstance(known, str) and isinstance(value, str):
        return " ".join(value.split()) == re.sub("^BASE", base_url, known)
    if isinstance(known, bool) or known is None or isinstance(known, str):
        return value is known
    return isinstance(value, (int, float)) and value == pytest.approx(known, rel=TOLERANCE)


def is_silently_truncated(answered: Answered) -> bool:
    """Return whether an incomplete answer does not say so first."""
    if answered.is_error or answered.content["complete"]:
        return False
    return not answered.text.startswith("INCOMPLETE: ")
