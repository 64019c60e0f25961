"""Figures of the source: size, packages, their imports, private imports, file names. Run it to print them.

`python tests/package_figures.py [FIGURE]`. A package is a package or module directly under src/hven. A package import
is a pair of packages with at least one import, also for types. Size is counted in tokens, so formatting, comments and
docstrings do not matter. A module is public if no part of its path below its package begins with an underscore.
Folders of plug-ins are left out where their modules have equal names on purpose.
"""

import ast
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hven.model import plugins
from source_trees import SourceFile, read_source

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hven"
PLUGIN_PACKAGES = {"engines", "sources", "formats", "plugins", "services", "jobs"}
CHARACTERS_PER_TOKEN = 4
DOCUMENTED_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class PackageFigures:
    """The figures; lists have an entry for each occurrence, so that a failing test can name it."""

    tokens: Counter[str] = field(default_factory=Counter)
    plugin_tokens: Counter[str] = field(default_factory=Counter)
    package_imports: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    public: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    private_imports: list[str] = field(default_factory=list)
    plugin_internal_imports: list[str] = field(default_factory=list)
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    function_imports: list[str] = field(default_factory=list)
    attribute_probes: list[str] = field(default_factory=list)

    @property
    def reused(self) -> dict[str, list[str]]:
        """File names that occur in two packages."""
        return {word: sorted(rooms) for word, rooms in self.names.items() if len(rooms) > 1}


def find_package(module: str) -> str:
    """Return the package of a module; "" for the top level.

    `hven.sky` belongs to the top level, because it only re-exports names of the model; so do private modules there.
    """
    return module.split(".")[1] if "." in module and module != "hven.sky" and not module.startswith("hven._") else ""


def is_private(module: str) -> bool:
    """Return whether a module is private to its package."""
    return any(part.startswith("_") for part in module.split(".")[2:])


def name_module(path: Path) -> str:
    """Return the dotted name of a file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_function_lines(source: SourceFile) -> set[int]:
    """Find the lines of functions: no import outside of a function shares a line with one."""
    functions = source.find_nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    return {line for node in functions for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def list_imports(node: ast.AST, modules: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [one if one in modules else node.module for one in whole]
    return []


def count_tokens(source: SourceFile) -> int:
    """Count the tokens of a module. Of a long text that is no docstring, each `CHARACTERS_PER_TOKEN` count as one."""
    docstring_places = {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in source.find_nodes(*DOCUMENTED_NODES)
        if ast.get_docstring(node, clean=False) is not None
    }
    long_texts = [count for place, count in source.long_texts.items() if place not in docstring_places]
    return source.tokens_by_line.total() + sum(count // CHARACTERS_PER_TOKEN - 1 for count in long_texts)


@cache
def measure_source() -> PackageFigures:
    """Count the figures."""
    paths = {name_module(path): path for path in sorted(SOURCE.rglob("*.py"))}
    modules = set(paths)
    found = PackageFigures()
    for module, path in paths.items():
        own = find_package(module)
        source = read_source(path)
        token_count = count_tokens(source)
        found.tokens[own] += token_count
        if own == "plugins" and module.count(".") > 1:
            found.plugin_tokens[module.split(".")[2]] += token_count
        if module.count(".") > 1 and not is_private(module):
            found.public[own].append(module)
        if path.name not in {"__init__.py", "api.py"} and own not in PLUGIN_PACKAGES:
            found.names[path.name.lstrip("_")].add(own)
        for call in source.find_nodes(ast.Call):
            if isinstance(call.func, ast.Name) and call.func.id in {"getattr", "hasattr"}:
                is_probe = len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
                found.attribute_probes += [f"{module}:{call.lineno}"] * is_probe
        function_lines = find_function_lines(source)
        for node in source.find_nodes(ast.Import, ast.ImportFrom):
            where = f"{module}:{node.lineno}"
            targets = [one for one in list_imports(node, modules) if one.startswith("hven")]
            if node.lineno in function_lines and targets:
                found.function_imports.append(where)
            for one in targets:
                other = find_package(one)
                if not other or not own or other == own:
                    continue
                found.package_imports[own, other].append(where)
                found.private_imports += [f"{where} {one}"] * is_private(one)
                is_internal = other in PLUGIN_PACKAGES and one.count(".") > 2 and ".api" not in one
                found.plugin_internal_imports += [f"{where} {one}"] * is_internal
    return found


def write_package_table() -> str:
    """Write the table of the packages from `.importlinter` and the first lines of their docstrings."""
    lines = ["| package | purpose | public modules |", "|---|---|---|"]
    for one in ["plugins", *(word for floor in list_floors() for word in floor)]:
        door = ast.get_docstring(read_source(SOURCE / one / "__init__.py").tree) or ""
        names = sorted(module.split(".", 2)[2] for module in measure_source().public[one])
        if one == "plugins":
            names = ["one package for each plug-in, found by its record"]
        elif one in PLUGIN_PACKAGES:
            names = ["one module for each plug-in, found by its name"]
        lines.append(f"| `{one}` | {door.splitlines()[0]} | {', '.join(names)} |")
    return "\n".join(lines)


def list_floors() -> list[list[str]]:
    """List the floors of the core from the top, each with its packages: `.importlinter` names them."""
    contract = (SOURCE.parent.parent / ".importlinter").read_text(encoding="utf-8")
    lines = contract.partition("layers =\n")[2].partition("\n\n")[0].splitlines()
    floors = [[word for word in line.split() if word.isalpha()] for line in lines]
    return [floor for floor in floors if floor and floor != ["plugins"]]


def write_import_picture() -> str:
    """Draw the floors of the core, and beside them the plug-in packages with the floors that each imports."""
    floors = list_floors()
    lines = ["```mermaid", "flowchart LR", '  subgraph slices["plug-in packages"]', "    direction TB"]
    packages = plugins.list_installed_packages()
    own_packages = sorted(package.name for package in packages if (SOURCE / "plugins" / package.name).is_dir())
    lines += [f"    {name}" for name in own_packages]
    lines += [f"    {package.name} --> {used}" for package in packages for used in package.uses]
    lines += ["  end", '  subgraph core["core"]', "    direction TB"]
    names = [" | ".join(floor) for floor in floors]
    lines += [f'    f{number}["{name}"]' for number, name in enumerate(names)]
    lines += [
        f"    {' --> '.join(f'f{number}' for number in range(len(floors)))}",
        "  end",
        "  slices --> core",
        "```",
    ]
    lines += ["", "| plug-in package | packages of the core that it imports |", "|---|---|"]
    modules = {name_module(path) for path in SOURCE.rglob("*.py")}
    for name in own_packages:
        paths = sorted((SOURCE / "plugins" / name).rglob("*.py"))
        nodes = [node for path in paths for node in read_source(path).find_nodes(ast.Import, ast.ImportFrom)]
        used = {find_package(one) for node in nodes for one in list_imports(node, modules)}
        in_order = [f"`{one}`" for floor in floors for one in floor if one in used]
        lines.append(f"| `{name}` | {', '.join(in_order)} |")
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
        "core_tokens": sum(it.tokens.values()) - it.tokens["plugins"],
        "tokens_by_room": dict(it.tokens.most_common()),
        "tokens_by_plugin": dict(it.plugin_tokens.most_common()),
    }
    if len(sys.argv) > 1:  # each thing of one kind
        told = getattr(it, sys.argv[1])
    json.dump(told, sys.stdout, indent=1, default=str)
    print()
