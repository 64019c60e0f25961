"""Lists the messages of the program: texts of errors, remedies, warnings and findings, with their places.

    python tests/message_list.py [PACKAGE ...]

prints them for somebody who reads them all.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE_DIRECTORY = Path(__file__).parents[1] / "src/hven"
MESSAGE_KEYWORDS = ("message", "remedy", "reason", "hint")
MESSAGE_FUNCTION_PATTERN = re.compile(
    r"\w*(Error|Fault|Finding|Deviation)|_?(add|build|raise|report)_\w*(error|fault|finding|warning|unjudged|notice)"
    r"|format_message|join_messages|echo|secho|print|info|warning|error|exception"
)
MESSAGE_VARIABLE_PATTERN = re.compile(r"(\w+_)?(message|remedy|reason|hint)", re.IGNORECASE)
MIN_MESSAGE_CHARACTERS = 12  # of an argument that is a text: shorter ones are names and words


class Message(NamedTuple):
    """A text that a user can meet. A value that is put in stands as its expression in braces."""

    path: str
    line: int
    text: str


def list_messages(directory: Path = SOURCE_DIRECTORY) -> list[Message]:
    """List the messages of all modules below a directory, in the order of their places."""
    messages = []
    for path in sorted(directory.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(directory).as_posix()
        found = [(*place, text) for node in ast.walk(tree) for *place, text in _list_node_texts(node)]
        messages += [Message(name, line, text) for line, _column, text in sorted(set(found))]
    return messages


def _list_node_texts(node: ast.AST) -> Iterator[tuple[int, int, str]]:
    """Yield line, column and text of the messages that a call, an assignment or the returns of a function have."""
    if isinstance(node, ast.Call):
        yield from _list_call_texts(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(_is_message_variable(target) for target in targets):
            yield from _list_sentences(node.value)
    elif isinstance(node, ast.FunctionDef) and MESSAGE_VARIABLE_PATTERN.fullmatch(node.name):
        for part in ast.walk(node):
            if isinstance(part, ast.Return) and part.value is not None:
                yield from _list_sentences(part.value)


def _list_call_texts(call: ast.Call) -> Iterator[tuple[int, int, str]]:
    if _is_message_function(call.func):
        for argument in call.args:
            yield from _list_sentences(argument)
    for keyword in call.keywords:
        if keyword.arg in MESSAGE_KEYWORDS:
            for text in read_texts(keyword.value):
                yield keyword.value.lineno, keyword.value.col_offset, text


def _list_sentences(node: ast.expr) -> Iterator[tuple[int, int, str]]:
    for text in read_texts(node):
        if len(text) >= MIN_MESSAGE_CHARACTERS and " " in text.strip():
            yield node.lineno, node.col_offset, text


def _is_message_variable(target: ast.expr) -> bool:
    if isinstance(target, ast.Attribute):
        return MESSAGE_VARIABLE_PATTERN.fullmatch(target.attr) is not None
    return isinstance(target, ast.Name) and MESSAGE_VARIABLE_PATTERN.fullmatch(target.id) is not None


def _is_message_function(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return MESSAGE_FUNCTION_PATTERN.fullmatch(function.attr) is not None
    return isinstance(function, ast.Name) and MESSAGE_FUNCTION_PATTERN.fullmatch(function.id) is not None


def read_texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may have: one, or one for each branch of a condition."""
    if isinstance(node, ast.IfExp):
        yield from read_texts(node.body)
        yield from read_texts(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [
            f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else ast.literal_eval(part)
            for part in node.values
        ]
        yield "".join(parts)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        lefts, rights = list(read_texts(node.left)), list(read_texts(node.right))
        if lefts or rights:
            for left in lefts or [f"{{{ast.unparse(node.left)}}}"]:
                for right in rights or [f"{{{ast.unparse(node.right)}}}"]:
                    yield left + right


def main() -> None:
    """Print the messages of the packages that the command line names, or all."""
    packages = tuple(f"{name}/" for name in sys.argv[1:])
    for message in list_messages():
        if not packages or message.path.startswith(packages):
            print(f"{message.path}:{message.line}: {message.text}")


if __name__ == "__main__":
    main()
