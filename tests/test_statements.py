"""Statements say one thing at a time: lines, conditions and lengths of the source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from plain_names import SOURCE
from source_trees import SOURCE_GROUP, SourceFile, read_source

pytestmark = SOURCE_GROUP

MAX_LINE_CHARACTERS = 120
# tokens of nine statements in ten; a tenth are tables of facts, calls with many arguments, but texts of SQL
MAX_USUAL_TOKENS = 22
MAX_MEAN_TOKENS = 11.55  # of a statement
MAX_CONDITIONAL_EXPRESSIONS = 0.03  # of a statement
SIMPLE_STATEMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Delete, ast.Assert)


@cache
def list_modules() -> dict[str, Path]:
    return {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}


def count_tokens(source: SourceFile) -> Iterator[int]:
    """Yield how many tokens each statement has that is no docstring."""
    tokens_by_line = source.tokens_by_line
    for node in source.find_nodes(*SIMPLE_STATEMENTS):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield sum(tokens_by_line[line] for line in range(node.lineno, node.end_lineno + 1))


def test_lines_are_short_and_formatted():
    long_lines = [
        f"{name}:{number}"
        for name, path in list_modules().items()
        for number, line in enumerate(read_source(path).text.splitlines(), 1)
        if len(line) > MAX_LINE_CHARACTERS or "fmt: " in line
    ]
    assert long_lines == []


def test_no_condition_stands_in_another():
    nested_conditions = [
        f"{name}:{node.lineno}"
        for name, path in list_modules().items()
        for node in read_source(path).find_nodes(ast.IfExp)
        if any(isinstance(child, ast.IfExp) for child in ast.walk(node) if child is not node)
    ]
    assert nested_conditions == []


def test_statements_are_short():
    sources = [read_source(path) for path in list_modules().values()]
    token_counts = sorted(count for source in sources for count in count_tokens(source))
    conditions = sum(1 for source in sources for _ in source.find_nodes(ast.IfExp))
    assert len(token_counts) > 50_000
    assert token_counts[int(len(token_counts) * 0.9)] <= MAX_USUAL_TOKENS
    assert sum(token_counts) / len(token_counts) < MAX_MEAN_TOKENS
    assert conditions <= len(token_counts) * MAX_CONDITIONAL_EXPRESSIONS
