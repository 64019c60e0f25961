"""ADQL inside a descriptor: parsed so that errors point at the character in the YAML file; templates.

Names that are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import parse_condition, parse_expression
from hven.adql.syntax_tree import ColumnRef, Expr, FunctionCall, Ident, SyntaxNode, iterate_children, walk_tree
from hven.model.errors import ParseError
from hven.model.table import TIME_PART_POSITIONS, list_unknown_time_directives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlScalar

NAME_PREFIXES = ("target", "file", "site", "source")  # what may stand before a dot in a name
_COLUMN_NAME_PATTERN = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)?")
_FORMAT_SPEC_PATTERN = re.compile(r":\s*(0?\d+d|\.\d+f|0\d+\.\d+f|iso|date|%[^{}]*)\s*$")


@dataclass(frozen=True, slots=True)
class TemplatePlaceholder:
    """``{name}``, ``{expression}``, ``{name:05d}`` or ``{name:iso}`` in a template, and where it stands in the text."""

    expression_text: str
    offset: int
    format_spec: str = ""

    @property
    def name(self) -> str | None:
        """The name, if that is all there is: ``orbit``, ``file.path``, ``target.obs_id``, ``DATE-OBS``."""
        if _COLUMN_NAME_PATTERN.fullmatch(self.expression_text):
            return self.expression_text
        return None


MAX_EXPRESSION_DEPTH = 200


def parse_written_expression(
    value: LocatedYamlScalar, key_path: str, faults: FaultCollector, *, is_condition: bool = False
) -> Expr | None:
    """Parse a written expression or condition.

    Parameters
    ----------
    value
        Text of the descriptor.
    key_path
        Path of its key, for messages.
    faults
        Collects what is wrong.
    is_condition
        Whether the text is a condition.

    Returns
    -------
    tree
        None after a fault.
    """
    try:
        return parse_expression_with_depth_limit(str(value), is_condition=is_condition)
    except ParseError as error:
        faults.add_error(f"{key_path}: {error.message}", value.locate_character(error.offset), error.remedy)
        return None


def parse_expression_with_depth_limit(text: str, *, is_condition: bool = False) -> Expr:
    """Parse an expression or condition that does not nest without end, as sums of thousands of terms do.

    Raises
    ------
    ParseError
        It is none.
    """
    if is_condition:
        tree = parse_condition(text)
    else:
        tree = parse_expression(text)
    if _is_deeper_than(tree, MAX_EXPRESSION_DEPTH):
        raise ParseError(
            f"the expression has more than {MAX_EXPRESSION_DEPTH} nested operations",
            text=text,
            offset=0,
            remedy="define parts of the expression under `let`",
        )
    return tree


def _is_deeper_than(tree: Expr, max_depth: int) -> bool:
    """Check whether more than `max_depth` nodes stand within each other; `a + b + c` is two."""
    pending_nodes: list[tuple[SyntaxNode, int]] = [(tree, 0)]
    while pending_nodes:
        node, depth = pending_nodes.pop()
        if depth >= max_depth:
            return True
        pending_nodes += [(part, depth + 1) for part in iterate_children(node)]
    return False


def split_template(
    template: LocatedYamlScalar, key_path: str, faults: FaultCollector
) -> list[str | TemplatePlaceholder]:
    """Cut a template into literal text and holes; ``{{`` and ``}}`` are braces."""
    parts: list[str | TemplatePlaceholder] = []
    literal = ""
    position = 0
    text = str(template)
    while position < len(text):
        character = text[position]
        if text[position : position + 2] in {"{{", "}}"}:
            literal += character
            position += 2
        elif character == "}":
            faults.add_error(
                f"{key_path}: there is an extra '}}'", template.locate_character(position), "write }} for a literal }"
            )
            return []
        elif character == "{":
            end = text.find("}", position)
            inner = text[position + 1 : end]
            if end < 0 or "{" in inner:
                faults.add_error(
                    f"{key_path}: a '{{' is not closed", template.locate_character(position), "write {{ for a literal {"
                )
                return []
            spec = _FORMAT_SPEC_PATTERN.search(inner)
            name = (inner[: spec.start()] if spec else inner).strip()
            if not name:
                faults.add_error(
                    f"{key_path}: {{}} is empty", template.locate_character(position), "specify a column of the source"
                )
                return []
            unknown = []
            if spec:
                unknown = list_unknown_time_directives(spec.group(1))
            if unknown:
                known_directives = ", ".join(f"%{letter}" for letter in TIME_PART_POSITIONS)
                faults.add_error(
                    f"{key_path}: {unknown[0]} does not stand for a part of a time",
                    template.locate_character(position),
                    f"use one of iso, date, {known_directives}",
                )
                return []
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(
                TemplatePlaceholder(
                    name, position + 1 + len(inner) - len(inner.lstrip()), spec.group(1) if spec else ""
                )
            )
            position = end + 1
        else:
            literal += character
            position += 1
    if literal:
        parts.append(literal)
    return parts


def iterate_column_references(tree: Expr) -> Iterator[tuple[str, str, ColumnRef]]:
    """Yield every column name in an expression as (prefix, name, node).

    Prefix is '' or one of `NAME_PREFIXES`, lower case.
    """
    for node in walk_tree(tree):
        if isinstance(node, ColumnRef):
            prefix = ".".join(part.name for part in node.qualifier)
            yield (prefix.lower() if prefix.lower() in NAME_PREFIXES else prefix), node.name.name, node


def iterate_function_calls(tree: Expr) -> Iterator[FunctionCall]:
    """Yield every function call in an expression."""
    for node in walk_tree(tree):
        if isinstance(node, FunctionCall):
            yield node


def parse_placeholder(
    template: LocatedYamlScalar, placeholder: TemplatePlaceholder, key_path: str, faults: FaultCollector
) -> Expr | None:
    """Parse what stands in a hole: a name as it is, even a reserved word; anything else as an expression."""
    if placeholder.name is not None:
        prefix, dot, column_name = placeholder.name.partition(".")
        if dot:
            return ColumnRef(Ident(column_name, quoted=True), (Ident(prefix),), text_offset=0)
        return ColumnRef(Ident(placeholder.name), text_offset=0)
    try:
        return parse_expression(placeholder.expression_text)
    except ParseError as error:
        faults.add_error(
            f"{key_path}: {error.message}", template.locate_character(placeholder.offset + error.offset), error.remedy
        )
        return None
