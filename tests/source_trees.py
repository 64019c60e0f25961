"""The parsed source, at which several test modules look: a process reads, parses and tokenizes each file once.

The trees of the whole source take half a gigabyte. The tests that need them all form one group, `SOURCE_GROUP`, after
whose last test they are released.
"""

from __future__ import annotations

import ast
import gc
import io
import tokenize
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Node = TypeVar("Node", bound=ast.AST)

SOURCE_GROUP = pytest.mark.xdist_group("source")  # one process runs these tests, so it parses each file once
IGNORED_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
LONG_TEXT_CHARACTERS = 500  # a longer text in code may be code of another language


class SourceFile:
    """A file of the source: its text, its tree, and the nodes of the tree by their types."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        # A tree has no cycles, but many objects. If the collector ran, it would go over all of them again and again.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return ast.parse(self.text)
        finally:
            gc.freeze()
            if was_enabled:
                gc.enable()

    @cached_property
    def _nodes_by_type(self) -> dict[type[ast.AST], list[Any]]:
        nodes: dict[type[ast.AST], list[Any]] = {}
        for node in ast.walk(self.tree):
            nodes.setdefault(type(node), []).append(node)
        return nodes

    def find_nodes(self, *types: type[Node]) -> Iterator[Node]:
        """Yield the nodes of certain types; those of a type come in the order of `ast.walk`."""
        for node_type in types:
            yield from self._nodes_by_type.get(node_type, ())

    @cached_property
    def tokens_by_line(self) -> Counter[int]:
        """How many tokens begin in each line; comments and white space do not count."""
        return self._tokens[0]

    @cached_property
    def long_texts(self) -> dict[tuple[int, int], int]:
        """The characters of each token that is a long text, by the place where it begins."""
        return self._tokens[1]

    @cached_property
    def _tokens(self) -> tuple[Counter[int], dict[tuple[int, int], int]]:
        tokens_by_line: Counter[int] = Counter()
        long_texts = {}
        for kind, string, start, _, _ in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if kind not in IGNORED_TOKENS:
                tokens_by_line[start[0]] += 1
                if kind == tokenize.STRING and len(string) > LONG_TEXT_CHARACTERS:
                    long_texts[start] = len(string)
        return tokens_by_line, long_texts


_files: dict[Path, SourceFile] = {}


def read_source(path: Path) -> SourceFile:
    """Return a file of the source, which is read when it is first asked for."""
    if path not in _files:
        _files[path] = SourceFile(path)
    return _files[path]


def find_group(item: pytest.Item) -> object:
    """Return the mark of the group that a test belongs to."""
    mark = item.get_closest_marker("xdist_group")
    return mark and (mark.args, mark.kwargs)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave no trees to the tests of another group."""
    if _files and (nextitem is None or find_group(item) != find_group(nextitem)):
        _files.clear()
