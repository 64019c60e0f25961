"""Figures of the house: weight, rooms, arrows between them, doors, names, hidden imports, probes. `python tests/package_figures.py` prints them.

A room is a package or module directly under src/hven; an arrow is a pair of rooms with at least one import, those for types included.
Weight is counted in tokens: formatting, comments and the length of texts change nothing. A module is public if no part of its path below
its room begins with an underscore. Folders of plug-ins are left out where what lies in them is named alike on purpose.
"""

import ast
import io
import json
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hven"
PLUGIN_PACKAGES = {"engines", "sources", "formats", "lint", "services", "jobs"}
IGNORED_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass
class PackageFigures:
    """What was counted; lists have a line for each thing, so that a test can say which one is too many."""

    tokens: Counter[str] = field(default_factory=Counter)
    package_imports: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    public: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    private_imports: list[str] = field(default_factory=list)
    plugin_internal_imports: list[str] = field(default_factory=list)
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    function_imports: list[str] = field(default_factory=list)
    attribute_probes: list[str] = field(default_factory=list)

    @property
    def reused(self) -> dict[str, list[str]]:
        """File names that stand in two rooms."""
        return {word: sorted(rooms) for word, rooms in self.names.items() if len(rooms) > 1}


def find_package(module: str) -> str:
    """Give the room of a module; "" for the house itself, whose window for notebooks is `hven.sky`: names of the model, no code; a private module mends the interpreter."""
    return module.split(".")[1] if "." in module and module != "hven.sky" and not module.startswith("hven._") else ""


def is_private(module: str) -> bool:
    """Say whether a module is its room's own."""
    return any(part.startswith("_") for part in module.split(".")[2:])


def name_module(path: Path) -> str:
    """Give the dotted name of a file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _iterate_nodes(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Give each node, and whether it stands in a function."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, inside = todo.pop()
        yield node, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        todo.extend((child, inside) for child in ast.iter_child_nodes(node))


def list_imports(node: ast.AST, modules: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [one if one in modules else node.module for one in whole]
    return []


def _count_tokens(text: str) -> int:
    return sum(token.type not in IGNORED_TOKENS for token in tokenize.generate_tokens(io.StringIO(text).readline))


@cache
def measure_source() -> PackageFigures:
    """Count."""
    paths = {name_module(path): path for path in sorted(SOURCE.rglob("*.py"))}
    modules = set(paths)
    found = PackageFigures()
    for module, path in paths.items():
        own = find_package(module)
        text = path.read_text(encoding="utf-8")
        found.tokens[own] += _count_tokens(text)
        if module.count(".") > 1 and not is_private(module):
            found.public[own].append(module)
        if path.name != "__init__.py" and own not in PLUGIN_PACKAGES:
            found.names[path.name.lstrip("_")].add(own)
        for node, inside in _iterate_nodes(ast.parse(text)):
            where = f"{module}:{getattr(node, 'lineno', 0)}"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"getattr", "hasattr"}
            ):
                found.attribute_probes += [where] * (len(node.args) > 1 and isinstance(node.args[1], ast.Constant))
            targets = [one for one in list_imports(node, modules) if one.startswith("hven")]
            if inside and targets:
                found.function_imports.append(where)
            for one in targets:
                other = find_package(one)
                if not other or not own or other == own:
                    continue
                found.package_imports[own, other].append(where)
                found.private_imports += [f"{where} {one}"] * is_private(one)
                found.plugin_internal_imports += [f"{where} {one}"] * (other in PLUGIN_PACKAGES and one.count(".") > 2)
    return found


def write_package_table() -> str:
    """Give the table of the packages, from the contract (`.importlinter`) and the first line of its docstring."""
    contract = (SOURCE.parent.parent / ".importlinter").read_text(encoding="utf-8")
    layers = contract.partition("layers =\n")[2].partition("\n\n")[0].split()
    lines = ["| package | for | public modules |", "|---|---|---|"]
    for one in [word for word in layers if word.isalpha()]:
        door = ast.get_docstring(ast.parse((SOURCE / one / "__init__.py").read_text(encoding="utf-8"))) or ""
        names = (
            sorted(module.split(".", 2)[2] for module in measure_source().public[one])
            if one not in PLUGIN_PACKAGES
            else ["a file for each, found by its name"]
        )
        lines.append(f"| `{one}` | {door.splitlines()[0]} | {', '.join(names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    it = measure_source()
    told = {
        "tokens": sum(it.tokens.values()),
        "rooms": len([one for one in it.tokens if one]),
        "package_imports": len(it.package_imports),
        "private_imports": len(it.private_imports),
        "plugin_internal_imports": len(it.plugin_internal_imports),
        "most_public_modules": max(len(those) for one, those in it.public.items() if one not in PLUGIN_PACKAGES),
        "names_reused": it.reused,
        "function_imports": len(it.function_imports),
        "attribute_probes": len(it.attribute_probes),
        "public": {one: len(those) for one, those in it.public.items()},
        "tokens_by_room": dict(it.tokens.most_common()),
    }
    if len(sys.argv) > 1:  # each thing of one kind
        told = getattr(it, sys.argv[1])
    json.dump(told, sys.stdout, indent=1, default=str)
    print()
