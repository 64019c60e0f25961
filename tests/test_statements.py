"""Statements say one thing at a time: lines, conditions and lengths of the source."""

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache

from plain_names import SOURCE

MAX_LINE_CHARACTERS = 120
# tokens of nine statements in ten; a tenth are tables of facts, calls with many arguments, but texts of SQL
MAX_USUAL_TOKENS = 22
MAX_MEAN_TOKENS = 11.55  # of a statement
MAX_CONDITIONAL_EXPRESSIONS = 0.03  # of a statement
SIMPLE_STATEMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Delete, ast.Assert)
NO_TOKENS = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.COMMENT,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@cache
def read_modules() -> dict[str, tuple[str, ast.Module]]:
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    return {name: (text, ast.parse(text)) for name, text in sorted(texts.items())}


def count_tokens(text: str, tree: ast.Module) -> Iterator[int]:
    """Yield how many tokens each statement has that is no docstring."""
    tokens_by_line: Counter[int] = Counter()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_TOKENS:
            tokens_by_line[token.start[0]] += 1
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, SIMPLE_STATEMENTS) and not is_docstring:
            yield sum(tokens_by_line[line] for line in range(node.lineno, node.end_lineno + 1))


def test_lines_are_short_and_formatted():
    long_lines = [
        f"{name}:{number}"
        for name, (text, _) in read_modules().items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > MAX_LINE_CHARACTERS or "fmt: " in line
    ]
    assert long_lines == []


def test_no_condition_stands_in_another():
    nested_conditions = [
        f"{name}:{node.lineno}"
        for name, (_, tree) in read_modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.IfExp)
        and any(isinstance(child, ast.IfExp) for child in ast.walk(node) if child is not node)
    ]
    assert nested_conditions == []


def test_statements_are_short():
    token_counts = sorted(count for text, tree in read_modules().values() for count in count_tokens(text, tree))
    conditions = sum(isinstance(node, ast.IfExp) for _, tree in read_modules().values() for node in ast.walk(tree))
    assert len(token_counts) > 50_000
    assert token_counts[int(len(token_counts) * 0.9)] <= MAX_USUAL_TOKENS
    assert sum(token_counts) / len(token_counts) < MAX_MEAN_TOKENS
    assert conditions <= len(token_counts) * MAX_CONDITIONAL_EXPRESSIONS
