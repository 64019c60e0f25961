"""Conversions of units that are written by hand where Hven converts anyway: the value would be converted twice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING
from hven.adql.tree import Binary, Expr, Function, Literal
from hven.descriptor._column_expressions import calls
from hven.model import units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def twice(tree: Expr, said: str, wanted: str) -> Binary | None:
    """Find ``x / 3600`` in a value that is in arcsec and becomes degrees by itself."""
    change = units.factor(said, wanted)
    parts = [tree]
    while parts:
        node = parts.pop()
        if isinstance(node, Function) and len(node.args) == 1:
            parts.append(node.args[0])
        if not isinstance(node, Binary) or node.op not in {"*", "/"}:
            continue
        number = node.right.value if isinstance(node.right, Literal) else None
        if (
            isinstance(number, int | float)
            and number > 0
            and math.isclose(number if node.op == "*" else 1 / number, change, rel_tol=1e-9)
        ):
            return node
        parts += [node.left, node.right]
    return None


def in_arguments(tree: Expr, unit_of: Callable[[Expr], str | None]) -> Iterator[tuple[str, Binary, str, str]]:
    """Yield function, product or quotient, unit and wanted unit, where an argument that the function converts was converted by hand.

    Parameters
    ----------
    unit_of
        Gives the unit of an expression, None if it has none.
    """
    for node in calls(tree):
        entry = MAPPING.get(node.name)
        if entry is None:
            continue
        signature = next(
            (one for one in entry.signatures if one.minimum <= len(node.args) <= (one.maximum or len(node.args))), None
        )
        for index, arg in enumerate(node.args if signature is not None else ()):
            wanted = signature.word(index).unit.rstrip("?") if signature is not None else ""
            have = unit_of(arg) if wanted and not isinstance(arg, Literal) else None
            if have is None or not units.convertible(have, wanted) or units.same(have, wanted):
                continue
            found = twice(arg, have, wanted)
            if found is not None:
                yield node.name.lower(), found, have, wanted


__all__ = ["in_arguments", "twice"]
