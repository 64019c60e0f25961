"""The texts of all messages and remedies for users, read from the source, and messages that cannot be translated."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[2] / "src/hven"
ERROR_NAMES = frozenset({"HvenError", "UserError", "QueryError", "ParseError", "BindError", "EvaluationError", "ParamError", "NotFoundError", "GoneError", "ForbiddenError", "UnauthenticatedError", "TooLargeError", "ConflictError", "TooManyRequestsError", "ServiceError", "TimeLimitError", "OverloadedError", "RowsReplacedError", "StorageError", "StorageUnavailableError", "SourceError", "DataError", "UnresolvedNameError", "AmbiguousObjectNameError", "Fault", "SearchFault", "FileAccess", "TableQueryOutcome", "MessageTranslator", "ValueError", "NoAnswerError"})  # fmt: skip
HELPER_NAMES = frozenset({
    "raise_bind_error", "build_error", "build_user_code_error", "_raise_parse_error", "raise_parse_error", "find_call_fault", "build_bind_error", "create_error", "_build_upload_error",
    "_build_access_errors", "_build_login_error", "_build_refusal_error", "_build_sesame_error", "check_and_record_literal_bounds", "check_query_limit", "check_limits", "expect_token",
    "raise_unexpected_token", "parse_integer", "require_number", "require_modules",
})  # fmt: skip
TRANSLATING_FUNCTIONS = frozenset(
    {"format_message", "join_messages", "check_query_limit"}
)  # their arguments are messages even if they are single words
MESSAGE_VARIABLES = frozenset({"message", "remedy", "instead"})  # variables that hold such texts


def list_files(rooms: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for room in rooms:
        found += sorted((SOURCE / room).rglob("*.py")) if (SOURCE / room).is_dir() else [SOURCE / room]
    return found


@cache
def list_nodes(path: Path) -> list[ast.AST]:
    """List the nodes of a file, outer before inner."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def list_texts(path: Path) -> set[str]:
    """List the texts of a file."""
    return {node.value for node in list_nodes(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def iterate_messages(path: Path, tables: frozenset[str], returning: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield line and text of each message and each part of one.

    Parameters
    ----------
    tables
        Names of constants that hold texts.
    returning
        Names of functions that return texts.
    """
    for text, alone in _iterate_texts(path, tables, returning):
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and is_message(text.value, alone=alone):
            yield text.lineno, text.value


def iterate_composed_lines(path: Path, returning: frozenset[str]) -> Iterator[int]:
    """Yield the lines of messages that cannot be translated.

    These are messages that are composed of texts, and words among the values of `format_message`.
    """
    for text, _ in _iterate_texts(path, frozenset(), returning):
        pieces = (
            [one.value for one in ast.walk(text) if isinstance(one, ast.Constant)]
            if isinstance(text, ast.JoinedStr | ast.BinOp)
            else []
        )
        if any(isinstance(one, str) and re.search(r"[a-z]{2} |[a-z]{2}$| [a-z]{2}", one) for one in pieces):
            yield text.lineno
    for node in list_nodes(path):
        if isinstance(node, ast.Call) and _name_callee(node) == "format_message":
            values = [one for value in node.args[1:] for one in _list_alternatives(value)]
            yield from (one.lineno for one in values if isinstance(one, ast.Constant) and is_message(str(one.value)))


def iterate_format_calls(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield line, template and number of values of each call of `format_message` with a constant template."""
    for node in list_nodes(path):
        if (
            isinstance(node, ast.Call)
            and _name_callee(node) == "format_message"
            and not any(isinstance(one, ast.Starred) for one in node.args)
        ):
            for text in _list_alternatives(node.args[0]):
                if isinstance(text, ast.Constant):
                    yield node.lineno, str(text.value), len(node.args) - 1


def _iterate_texts(path: Path, tables: frozenset[str], returning: frozenset[str]) -> Iterator[tuple[ast.expr, bool]]:
    """Yield each expression of a message, and whether even a single word is a message."""
    for node in list_nodes(path):
        if isinstance(node, ast.Call):
            name = _name_callee(node)
            told = (
                node.args
                if name in HELPER_NAMES
                else node.args[:1]
                if name in ERROR_NAMES | TRANSLATING_FUNCTIONS
                else []
            )
            told = [*told, *(one.value for one in node.keywords if one.arg in {"remedy", "message"})]
            yield from ((text, name in TRANSLATING_FUNCTIONS) for one in told for text in _list_alternatives(one))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names = {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
            if names & tables:
                yield from ((text, False) for text in ast.walk(node.value) if isinstance(text, ast.Constant))
            elif names & MESSAGE_VARIABLES:
                yield from ((text, False) for text in _list_alternatives(node.value))
        elif isinstance(node, ast.FunctionDef) and node.name in returning:
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    yield from ((text, False) for text in _list_alternatives(one.value))


def _name_callee(node: ast.Call) -> str:
    return (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )


def _list_alternatives(node: ast.expr) -> list[ast.expr]:
    """List the expressions that an expression may evaluate to."""
    if isinstance(node, ast.Call):  # {..}.get(word, "..")
        inner = node.func.value if isinstance(node.func, ast.Attribute) and node.func.attr == "get" else None
        parts = [*inner.values, *node.args[1:]] if isinstance(inner, ast.Dict) else []
    else:
        parts = (
            [node.body, node.orelse] if isinstance(node, ast.IfExp)
            else node.values if isinstance(node, ast.BoolOp)
            else node.elts if isinstance(node, ast.Tuple | ast.List)
            else []
        )  # fmt: skip
    return [one for part in parts for one in _list_alternatives(part)] or [node]


def is_message(text: str, *, alone: bool = False) -> bool:
    """Return whether a text has English words; a single word counts only if it is `alone`."""
    return (alone and text != "") or (" " in text.strip() and re.search(r"[a-z]", text) is not None)
