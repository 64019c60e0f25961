"""Find the tests that execute the place of a fault: one run of the tier with a probe before each of these places.

A probe is a call in a copy of a source file. It notes the number of the fault and the test that runs. A process of a
server notes the test that started it, so other tests of the same module may use the place, too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PROBE_MODULE = "hven_probe"
FOLDER_VARIABLE = "HVEN_PROBES"  # the environment variable that names the folder of the notes
PROBE_PROGRAM = '''\
"""Notes which test executes which place."""

import os

_noted = set()


def note(number):
    folder = os.environ.get("HVEN_PROBES")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    key = number, test, os.getpid()
    if folder and key not in _noted:
        _noted.add(key)
        with open(os.path.join(folder, str(os.getpid())), "a", encoding="utf-8") as file:
            file.write(f"{number} {test}\\n")
'''


def write_probes(text: str, lines_by_number: Mapping[int, int]) -> str:
    """Write a probe before the statement of each line of a module.

    Parameters
    ----------
    lines_by_number
        The lines, from 1, by the numbers of the faults. A probe of a line in the head of a function is in its body.
    """
    tree = ast.parse(text)
    lines = text.split("\n")
    numbers = defaultdict(list)
    for number, line in lines_by_number.items():
        statement = find_statement(tree, line)
        if statement is not None:
            numbers[statement.lineno, statement.col_offset].append(number)
    for (line, column), found in sorted(numbers.items(), reverse=True):
        calls = "; ".join(f"__import__({PROBE_MODULE!r}).note({number})" for number in found)
        before = lines[line - 1]
        lines[line - 1 : line] = [f"{before[:column]}{calls}", before] if not before[:column].strip() else [before]
    return "\n".join(lines)


def find_statement(node: ast.AST, line: int) -> ast.stmt | None:
    """Find the innermost statement with a line inside a node, before which a probe may stand."""
    for block in _iterate_blocks(node):
        for statement in block:
            if not statement.lineno <= line <= (statement.end_lineno or statement.lineno):
                continue
            inner = find_statement(statement, line)
            if inner is not None:
                return inner
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                return _find_first_statement(statement)
            return statement
    return None


def _find_first_statement(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    """Return the first statement of a function after its docstring."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.body[1] if is_docstring and len(function.body) > 1 else first


def _iterate_blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of statements directly inside a node; an ``elif`` is a part of its ``if``."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list) or not block:
            continue
        is_elif = name == "orelse" and isinstance(node, ast.If) and isinstance(block[0], ast.If) and len(block) == 1
        if is_elif and block[0].col_offset == node.col_offset:
            yield from _iterate_blocks(block[0])
        else:
            yield block
    for handler in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
        yield handler.body


def read_notes(folder: Path) -> dict[int, set[str]]:
    """Read the tests that executed each place, by the numbers of the faults; an empty name means an import."""
    tests: dict[int, set[str]] = defaultdict(set)
    for path in folder.iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            number, _, test = line.partition(" ")
            tests[int(number)].add(test)
    return tests


def instrument(texts: Mapping[str, str], places: Iterable[tuple[int, str, int]]) -> dict[str, str]:
    """Return the texts of files with the probes of all places: number of the fault, file and line."""
    by_file: dict[str, dict[int, int]] = defaultdict(dict)
    for number, path, line in places:
        by_file[path][number] = line
    return {path: write_probes(texts[path], lines) for path, lines in by_file.items()}
