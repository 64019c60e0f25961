"""Conversions of units that are written by hand where Hven converts anyway: the value would be converted twice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.syntax_tree import BinaryOperation, Expr, FunctionCall, Literal
from hven.descriptor._column_expressions import iterate_function_calls
from hven.model import units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def find_manual_unit_conversion(tree: Expr, source_unit: str, target_unit: str) -> BinaryOperation | None:
    """Find ``x / 3600`` in a value that is in arcsec and becomes degrees by itself."""
    unit_factor = units.compute_unit_factor(source_unit, target_unit)
    pending_nodes = [tree]
    while pending_nodes:
        node = pending_nodes.pop()
        if isinstance(node, FunctionCall) and len(node.args) == 1:
            pending_nodes.append(node.args[0])
        if not isinstance(node, BinaryOperation) or node.op not in {"*", "/"}:
            continue
        if isinstance(node.right, Literal):
            number = node.right.value
        else:
            number = None
        if (
            isinstance(number, int | float)
            and number > 0
            and math.isclose(number if node.op == "*" else 1 / number, unit_factor, rel_tol=1e-9)
        ):
            return node
        pending_nodes += [node.left, node.right]
    return None


def find_manual_argument_conversions(
    tree: Expr, find_unit: Callable[[Expr], str | None]
) -> Iterator[tuple[str, BinaryOperation, str, str]]:
    """Find arguments that were converted by hand, though the function converts them by itself.

    Parameters
    ----------
    find_unit
        Returns the unit of an expression; None: it has none.

    Yields
    ------
    function, operation, unit, expected_unit
        The function, the product or quotient that converts by hand, its unit, and the unit that the function takes.
    """
    for node in iterate_function_calls(tree):
        definition = MAPPING_FUNCTIONS.find_function(node.name)
        if definition is None:
            continue
        signature = next(
            (
                candidate_signature
                for candidate_signature in definition.signatures
                if candidate_signature.min_argument_count
                <= len(node.args)
                <= (candidate_signature.max_argument_count or len(node.args))
            ),
            None,
        )
        for index, arg in enumerate(node.args if signature is not None else ()):
            if signature is not None:
                parameter_unit = signature.get_argument_parameter(index).unit.rstrip("?")
            else:
                parameter_unit = ""
            if parameter_unit and not isinstance(arg, Literal):
                argument_unit = find_unit(arg)
            else:
                argument_unit = None
            if (
                argument_unit is None
                or not units.are_units_convertible(argument_unit, parameter_unit)
                or units.is_same_unit(argument_unit, parameter_unit)
            ):
                continue
            conversion_node = find_manual_unit_conversion(arg, argument_unit, parameter_unit)
            if conversion_node is not None:
                yield node.name.lower(), conversion_node, argument_unit, parameter_unit
