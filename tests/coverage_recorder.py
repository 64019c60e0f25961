"""Record which functions of src/hven a process executes, in a map of one byte each that outlives the process.

A line in a ``.pth`` file of the environment imports this module in each process where ``HVEN_COVERAGE`` names a
folder. Each function of Hven then begins with a store into a shared map. A store costs 50 ns a call, where a tracer
costs a third of the run. It also records what tests run in a child process or in a process that is killed.
"""

from __future__ import annotations

import ast
import builtins
import gc
import importlib.machinery
import mmap
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, ModuleType

FOLDER_VARIABLE = "HVEN_COVERAGE"  # the environment variable that names the folder of the maps
MODULE_VARIABLE = "HVEN_COVERAGE_MODULE"  # the environment variable with the test module that started a child process
HITS_NAME = "__hven_hits__"  # the name by which instrumented code finds its map, among the builtins
FILES_NAME = "files"  # of the folder: the checkout, then for each file of Hven its number of functions and its path
PACKAGE = "hven"
STATEMENT_FIELDS = frozenset({"body", "handlers", "orelse", "finalbody", "cases"})  # where statements stand


@cache
def list_functions(path: Path) -> list[str]:
    """List the names of the functions of a file in the order of `FunctionMarker`: each after those inside it."""
    collects = gc.isenabled()
    gc.disable()  # a tree has no cycles, but so many objects that the collector would take half of the time
    try:
        return [node.name for node in iterate_functions(ast.parse(path.read_bytes(), str(path)))]
    finally:
        if collects:
            gc.enable()


def iterate_functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a tree, each after those inside it; expressions, which have none, are not visited."""
    for name in node._fields:
        if name in STATEMENT_FIELDS:
            for inner in getattr(node, name):
                yield from iterate_functions(inner)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield node


def prepare_folder(folder: Path, root: Path) -> None:
    """Create the folder of a recording and number the functions of a checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((root / "src" / PACKAGE).rglob("*.py"))
    lines = [f"{len(list_functions(path)) + 1} {path.relative_to(root).as_posix()}" for path in paths]
    (folder / FILES_NAME).write_text("\n".join([str(root), *lines]))


def read_files(folder: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    """Read the checkout, and for each file the number of its first byte, which is the module's, and its byte count."""
    root, *lines = (folder / FILES_NAME).read_text().splitlines()
    files, first = {}, 0
    for line in lines:
        count, _, path = line.partition(" ")
        files[path] = (first, int(count))
        first += int(count)
    return root, files


def open_map(folder: Path, name: str, size: int) -> mmap.mmap:
    """Open the map of a name; a new one has ``size`` zero bytes."""
    path = folder / f"{name.replace('/', '@')}.hits"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if os.fstat(descriptor).st_size < size:
            os.truncate(descriptor, size)  # never shorter: others may have written
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def read_maps(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path of each test module and its bytes."""
    for path in sorted(folder.glob("*.hits")):
        yield path.stem.replace("@", "/"), path.read_bytes()


class FunctionMarker:
    """Insert the store of a byte at the beginning of each function."""

    def __init__(self, first: int) -> None:
        self.first = first

    def make_store(self, number: int, place: ast.stmt) -> ast.stmt:
        """Write the statement that marks a function, as if it stood at another statement."""
        store = ast.parse(f"{HITS_NAME}[{self.first + number}] = 1").body[0]
        for part in ast.walk(store):
            if isinstance(part, ast.stmt | ast.expr):
                ast.copy_location(part, place)
        return store

    def mark_module(self, tree: ast.Module) -> ast.Module:
        """Mark a module's functions, and the module itself at its end."""
        for number, node in enumerate(list(iterate_functions(tree)), 1):
            at = 1 if ast.get_docstring(node, clean=False) is not None else 0
            node.body.insert(at, self.make_store(number, node.body[min(at, len(node.body) - 1)]))
        if tree.body:
            tree.body.append(self.make_store(0, tree.body[-1]))
        return tree


class SourceLoader(importlib.machinery.SourceFileLoader):
    """Compile a file of Hven with its marks."""

    number: int  # of the byte of the module
    caches: str  # the folder of the recording's own caches: marked code never runs where nothing is recorded
    lock = threading.Lock()

    def get_code(self, fullname: str) -> CodeType | None:
        # other packages keep their caches: to compile them anew takes long, and warns of what they wrote carelessly
        with self.lock:
            before, sys.pycache_prefix = sys.pycache_prefix, self.caches
            try:
                return super().get_code(fullname)
            finally:
                sys.pycache_prefix = before

    def source_to_code(self, data, path, *, _optimize=-1) -> CodeType:  # type: ignore[no-untyped-def, override]
        tree = FunctionMarker(self.number).mark_module(ast.parse(data, path))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class SourceFinder:
    """Find Hven's modules as Python does, and load them by `SourceLoader`."""

    def __init__(self, numbers: dict[str, int], caches: str) -> None:
        self.numbers, self.caches = numbers, caches

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        number = self.numbers.get(spec.origin) if spec is not None and spec.origin else None
        if spec is not None and number is not None:
            loader = SourceLoader(name, str(spec.origin))
            loader.number, loader.caches = number, self.caches
            spec.loader = loader
        return spec


def start_recording() -> None:
    """Record this process from now on if the environment asks for it; Hven must not be imported yet."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    if hasattr(builtins, HITS_NAME) or not (folder / FILES_NAME).is_file():
        return
    root, files = read_files(folder)
    try:
        hits = open_map(
            folder, os.environ.get(MODULE_VARIABLE) or f"other-{os.getpid()}", sum(count for _, count in files.values())
        )
    except OSError:
        return  # another user's process, or a full disk: it runs unrecorded
    setattr(builtins, HITS_NAME, hits)
    finder = SourceFinder({f"{root}/{path}": first for path, (first, _) in files.items()}, str(folder / "pycache"))
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
