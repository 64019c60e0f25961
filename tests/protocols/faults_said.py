"""What rooms tell a reader who errs: the shapes of all messages and remedies, read from their source."""

from __future__ import annotations

import ast
import re
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[2] / "src/hven"
HOLE = re.compile(r"\{([a-z]\w*)\}")
WORD = re.compile(r"[a-z]{2}")
MOST = 24  # variants of one text
ERRORS = frozenset({"HvenError", "UserError", "QueryError", "ParseError", "BindError", "EvaluationError", "ParamError", "NotFound", "Gone", "Forbidden", "Unauthenticated", "TooLarge", "Conflict", "TooOften", "ServiceError", "Timeout", "Overloaded", "Replaced", "StorageError", "Unavailable", "SourceError", "DataError", "Unresolved", "Ambiguous", "Fault", "Told"})  # fmt: skip
HELPERS = frozenset(
    {"fail", "_fail", "refuse", "fault", "_refused", "bounded", "at_most", "expect", "expected", "unexpected", "whole"}
)  # functions that raise what they are given
NAMES = frozenset({"message", "remedy", "instead"})  # variables that hold such texts


def files(rooms: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for room in rooms:
        found += sorted((SOURCE / room).rglob("*.py")) if (SOURCE / room).is_dir() else [SOURCE / room]
    return found


def said(path: Path, tables: frozenset[str] = frozenset(), returning: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Give line and template of each text; where it has a value, the template has ``{a name of it}``.

    Parameters
    ----------
    tables
        Names of constants that hold texts.
    returning
        Names of functions that return texts.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in tables:
                for one in ast.walk(node.value):
                    if isinstance(one, ast.Constant) and spoken(one.value):
                        yield one.lineno, str(one.value)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for text in (one for inner in ast.walk(node) if isinstance(inner, ast.Call) for one in _texts(inner, frozenset())):
                yield from ((text.lineno, numbered(one)) for one in _shapes(text, {}) if spoken(HOLE.sub("", one)))
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            known = _known(scope)
            for node in ast.walk(scope):
                for text in _texts(node, returning if scope.name in returning else frozenset()):
                    for shape in _shapes(text, known):
                        if spoken(HOLE.sub("", shape)):
                            yield text.lineno, numbered(shape)


def _texts(node: ast.AST, returning: frozenset[str]) -> list[ast.expr]:
    """Give the expressions of texts that a statement or a call tells."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
        named = [one.value for one in node.keywords if one.arg in {"remedy", "message"}]
        if name in ERRORS:
            return [*node.args[:1], *named]
        return [*node.args, *named] if name in HELPERS else named
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
        pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
        return [value for one, value in pairs if isinstance(one, ast.Name) and one.id in NAMES]
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and {one.id for one in node.targets[0].elts if isinstance(one, ast.Name)} & NAMES
    ):
        return _alternatives(node.value)
    if isinstance(node, ast.Assign | ast.AugAssign) and node.value is not None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return [node.value] if isinstance(target, ast.Name) and target.id in NAMES else []
    if returning and isinstance(node, ast.Return) and node.value is not None:
        return _alternatives(node.value)
    return []


def _known(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Give what variables of a function can be, as far as it is written there as text."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {
        name: values
        for name, values in found.items()
        if any(WORD.search(HOLE.sub("", one)) for value in values for one in _shapes(value, {}))
    }


def _shapes(node: ast.expr, known: dict[str, list[ast.expr]]) -> list[str]:
    """Give what a text can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = [_shapes(one.value if isinstance(one, ast.FormattedValue) else one, known) for one in node.values]
        return ["".join(each) for each in islice(product(*parts), MOST)]
    if isinstance(node, ast.IfExp):
        return [*_shapes(node.body, known), *_shapes(node.orelse, known)]
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return [one for value in node.values for one in _shapes(value, known)]
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in ast.walk(node))
    ):
        return ["".join(each) for each in islice(product(_shapes(node.left, known), _shapes(node.right, known)), MOST)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and len(node.args) == 2:
        inner = node.func.value.values if isinstance(node.func.value, ast.Dict) else []
        return [one for value in [*inner, node.args[1]] for one in _shapes(value, known)]
    if isinstance(node, ast.Name) and node.id in known:
        return [one for value in known[node.id] for one in _shapes(value, {})]
    return [f"{{{_name(node)}}}"]


def _name(node: ast.expr) -> str:
    """Name a value."""
    while not isinstance(node, ast.Name | ast.Attribute):
        if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.GeneratorExp | ast.ListComp):
            node = node.args[0]
        elif isinstance(node, ast.BinOp):
            node = node.left
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            break
    plain = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else "value"
    return plain.strip("_").lower()


def numbered(shape: str) -> str:
    """Number names that come twice."""
    seen: dict[str, int] = {}

    def one(match: re.Match[str]) -> str:
        name = match[1]
        seen[name] = seen.get(name, 0) + 1
        return f"{{{name}}}" if seen[name] == 1 else f"{{{name}{seen[name]}}}"

    return HOLE.sub(one, shape)


def shape(template: str) -> str:
    """Give a template without the names of its values."""
    return HOLE.sub("{}", template)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Tuple):
        return list(node.elts)
    if isinstance(node, ast.IfExp):
        return [*_alternatives(node.body), *_alternatives(node.orelse)]
    return [node]


def spoken(text: object) -> bool:
    """Tell whether a text has words in it: what is one word, a sign or a name is none."""
    return isinstance(text, str) and " " in text.strip() and any(sign.islower() for sign in text)
