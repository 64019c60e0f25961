"""ADQL inside a descriptor: parsed so that errors point at the character in the YAML file; templates; names that are used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import parse_condition, parse_expression
from hven.adql.tree import ColumnRef, Expr, Function, Ident, Node, children, walk
from hven.model.errors import ParseError
from hven.model.table import TIME_PARTS, unknown_time_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.value_schema import Faults
    from hven.descriptor.written import Written

PREFIXES = ("target", "file", "site", "source")  # what may stand before a dot in a name
_NAME = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)?")
_SPEC = re.compile(r":\s*(0?\d+d|\.\d+f|0\d+\.\d+f|iso|date|%[^{}]*)\s*$")


@dataclass(frozen=True, slots=True)
class Hole:
    """``{name}``, ``{expression}``, ``{name:05d}`` or ``{name:iso}`` in a template, and where it stands in the text."""

    text: str
    offset: int
    spec: str = ""

    @property
    def name(self) -> str | None:
        """The name, if that is all there is: ``orbit``, ``file.path``, ``target.obs_id``, ``DATE-OBS``."""
        return self.text if _NAME.fullmatch(self.text) else None


DEEPEST = 200


def expression(value: Written, what: str, faults: Faults, *, condition: bool = False) -> Expr | None:
    """Parse a written expression or condition; None after a fault."""
    try:
        return parsed(str(value), condition=condition)
    except ParseError as error:
        faults.error(f"{what}: {error.message}", value.at(error.offset), error.remedy)
        return None


def parsed(text: str, *, condition: bool = False) -> Expr:
    """Parse an expression or condition that does not nest without end, as sums of thousands of terms do.

    Raises
    ------
    ParseError
        It is none.
    """
    tree = parse_condition(text) if condition else parse_expression(text)
    if _deeper(tree, DEEPEST):
        raise ParseError(
            f"more than {DEEPEST} operations within each other",
            text=text,
            offset=0,
            remedy="give parts of it names under `let`",
        )
    return tree


def _deeper(tree: Expr, most: int) -> bool:
    """Check whether more than `most` nodes stand within each other; `a + b + c` is two."""
    left: list[tuple[Node, int]] = [(tree, 0)]
    while left:
        node, depth = left.pop()
        if depth >= most:
            return True
        left += [(part, depth + 1) for part in children(node)]
    return False


def holes(template: Written, what: str, faults: Faults) -> list[str | Hole]:
    """Cut a template into literal text and holes; ``{{`` and ``}}`` are braces."""
    parts: list[str | Hole] = []
    literal = ""
    position = 0
    text = str(template)
    while position < len(text):
        character = text[position]
        if text[position : position + 2] in {"{{", "}}"}:
            literal += character
            position += 2
        elif character == "}":
            faults.error(f"{what}: a '}}' too many", template.at(position), "write }} for a brace")
            return []
        elif character == "{":
            end = text.find("}", position)
            inner = text[position + 1 : end]
            if end < 0 or "{" in inner:
                faults.error(f"{what}: a '{{' is not closed", template.at(position), "write {{ for a brace")
                return []
            spec = _SPEC.search(inner)
            name = (inner[: spec.start()] if spec else inner).strip()
            if not name:
                faults.error(f"{what}: {{}} is empty", template.at(position), "name a column of the source")
                return []
            if unknown := unknown_time_parts(spec.group(1)) if spec else []:
                known = ", ".join(f"%{letter}" for letter in TIME_PARTS)
                faults.error(
                    f"{what}: no part of a time is called {unknown[0]}",
                    template.at(position),
                    f"known: iso, date, {known}",
                )
                return []
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(Hole(name, position + 1 + len(inner) - len(inner.lstrip()), spec.group(1) if spec else ""))
            position = end + 1
        else:
            literal += character
            position += 1
    if literal:
        parts.append(literal)
    return parts


def references(tree: Expr) -> Iterator[tuple[str, str, ColumnRef]]:
    """Yield every column name in an expression as (prefix, name, node); prefix is '' or one of `PREFIXES`, lower case."""
    for node in walk(tree):
        if isinstance(node, ColumnRef):
            prefix = ".".join(part.name for part in node.qualifier)
            yield (prefix.lower() if prefix.lower() in PREFIXES else prefix), node.name.name, node


def calls(tree: Expr) -> Iterator[Function]:
    """Yield every function call in an expression."""
    for node in walk(tree):
        if isinstance(node, Function):
            yield node


def inner(template: Written, hole: Hole, what: str, faults: Faults) -> Expr | None:
    """Parse what stands in a hole: a name as it is, even a reserved word; anything else as an expression."""
    if hole.name is not None:
        prefix, dot, rest = hole.name.partition(".")
        return ColumnRef(Ident(rest, quoted=True), (Ident(prefix),), at=0) if dot else ColumnRef(Ident(hole.name), at=0)
    try:
        return parse_expression(hole.text)
    except ParseError as error:
        faults.error(f"{what}: {error.message}", template.at(hole.offset + error.offset), error.remedy)
        return None
