"""Measure which docstrings of public modules are incomplete: `python tests/docstrings.py [MODULE ...]`.

The check covers modules that other packages or plug-ins import, those of `testing`, and what public modules re-export.
A function describes each parameter, its result and the errors that it raises; a float has a unit, an array a shape; a
class describes its fields. One line is enough for properties, for functions without parameters that only return, for
"Return ..", and for methods that a base class or protocol describes. The section `Common` of a class or module
describes shared parameters once, and shared results as ``returns : types``. Subclasses inherit it.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from package_figures import SOURCE, find_package, is_private, list_imports, name_module
from source_trees import read_source

FILES = {name_module(path): path for path in sorted(SOURCE.rglob("*.py"))}
NAMES = set(FILES)
PLUGIN_EXAMPLES = sorted((SOURCE.parents[1] / "examples" / "plugins").rglob("*.py"))
UNIT = r"degree|radian|second|minute|day|hour|Julian|year|byte|pixel|share|times|magnitude|number of|factor|unit|dimensionless|[0-9.]+ to [0-9.]+"
UNIT_PATTERNS = {
    "float": UNIT,
    "(Array|ArrayLike|Flags|Indexes|NDArray|Numbers|Whole|ndarray)": r"\((\w+|\.\.\.),|shape|broadcast",
}
# of nodes of the tree: the first line of each class writes what stands where
OPERANDS = {"op", "left", "right", "operand", "args"}
SECTION = re.compile(r"^(\w+)\n-{3,}\n(.*?)(?=^\w+\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = tuple[str, str, Function | ast.ClassDef]


def parse_module(module: str) -> ast.Module:
    return read_source(FILES[module]).tree


@cache
def list_public_modules() -> list[str]:
    """List the public modules that other packages or plug-ins import."""
    files = [(find_package(module), path) for module, path in FILES.items()]
    files += [("", path) for path in PLUGIN_EXAMPLES]
    used = {
        one
        for own, path in files
        for node in read_source(path).find_nodes(ast.Import, ast.ImportFrom)
        for one in list_imports(node, NAMES)
        if find_package(one) not in {own, ""}
    }
    return sorted(one for one in FILES if not is_private(one) and (one in used or find_package(one) == "testing"))


def iterate_definitions(module: str) -> Iterator[Definition]:
    """Yield module, name and node of all that a module defines or re-exports."""
    whole = parse_module(module)
    passed = {
        name
        for node in whole.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }
    for node in whole.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield module, node.name, node
            methods = node.body if isinstance(node, ast.ClassDef) else []
            yield from (
                (module, f"{node.name}.{one.name}", one)
                for one in methods
                if isinstance(one, Function) and not one.name.startswith("_")
            )
        elif isinstance(node, ast.ImportFrom) and is_private(str(node.module)) | any(
            is_private(f"{node.module}.{alias.name}") for alias in node.names
        ):
            for alias in node.names:
                if (alias.asname or alias.name) in passed:
                    whole_module = f"{node.module}.{alias.name}" in FILES
                    inner = iterate_definitions(f"{node.module}.{alias.name}" if whole_module else str(node.module))
                    yield from (one for one in inner if whole_module or one[1].partition(".")[0] == alias.name)


def parse_section(text: str) -> dict[str, str]:
    """Parse a section of a docstring into a description for each name."""
    found = re.findall(r"^(\S.*)\n?((?:^(?: +.*)?\n?)*)", text, re.MULTILINE)
    return {name.strip(" *"): f"{head} {said}" for head, said in found for name in head.partition(" : ")[0].split(",")}


@cache
def find_common_section(at: str, name: str = "") -> dict[str, str]:
    """Collect the sections `Common` of a class and its bases, or of a module if there is no name."""
    if not name:
        return _parse_common_section(parse_module(at))
    for node in parse_module(at).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
            found = [find_common_section(at, base) for base in bases if base != name]
            return {
                one: said for those in [*reversed(found), _parse_common_section(node)] for one, said in those.items()
            }
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find_common_section(str(node.module), alias.name)
    return {}


def _parse_common_section(node: ast.Module | ast.ClassDef) -> dict[str, str]:
    return next(
        (parse_section(said) for name, said in SECTION.findall(ast.get_docstring(node) or "") if name == "Common"), {}
    )


def iterate_raised_errors(node: ast.AST) -> Iterator[str]:
    """Yield the errors that a function raises itself; "" stands for an error that another function built."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.Raise) and isinstance(one.exc, ast.Call):
            name = ast.unparse(one.exc.func).rpartition(".")[2]
            if name[0].isupper() and name not in {"NotImplementedError", "AssertionError"}:
                yield name
            elif isinstance(one.exc.func, ast.Name) and name[0].islower():
                yield ""
        if not isinstance(one, Function | ast.ClassDef | ast.Lambda):
            yield from iterate_raised_errors(one)


def list_missing(node: Function | ast.ClassDef, based: str = "", once: dict[str, str] | None = None) -> list[str]:
    """List what a docstring lacks.

    `based` is the docstring of the overridden method, `once` the section `Common` of its class or module.
    """
    once = once or {}
    text = ast.get_docstring(node) or ""
    told = {name: parse_section(said) for name, said in SECTION.findall(text)}
    if not text or isinstance(node, ast.ClassDef) or node.name.startswith("test_"):
        return ["docstring"] * (not text)
    if any(
        ast.unparse(one).split(".")[-1] in {"property", "cached_property", "overload", "setter"}
        for one in node.decorator_list
    ):
        return []
    given = node.args
    parameters = [
        *given.posonlyargs,
        *given.args,
        *given.kwonlyargs,
        *(one for one in (given.vararg, given.kwarg) if one),
    ]
    parameters = [one for one in parameters if one.arg not in {"self", "cls"} and not one.arg.startswith("_")]
    errors = set(iterate_raised_errors(node))
    result = ast.unparse(node.returns) if node.returns else "None"
    body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    plain = not parameters and len(body) == 1 and isinstance(body[0], ast.Return)
    said = once | told.get("Parameters", {})
    missing = [one.arg for one in parameters if one.arg not in said] if not based else []
    for one in parameters:
        note = ast.unparse(one.annotation) if one.annotation else ""
        missing += [
            f"{one.arg}: {kind}"
            for kind, words in UNIT_PATTERNS.items()
            if re.search(rf"\b{kind}\b", note) and not re.search(words, said.get(one.arg, based), re.IGNORECASE)
        ]
    answer = {**told.get("Returns", {}), **told.get("Yields", {})} or (
        {"": text} if re.match("Return|Yield", text) else {}
    )
    types = set(re.findall(r"\w+", once.get("returns", "").partition(":")[2].partition("  ")[0]))
    if not answer and types and set(re.findall(r"\w+", result)) - {"tuple"} <= types:
        answer = {"": once["returns"]}
    if result not in {"None", "Never", "NoReturn", "Iterator[None]", "AsyncIterator[None]"} and not plain and not based:
        missing += ["Returns"] * (not answer)
        missing += [
            f"Returns: {kind}"
            for kind, words in UNIT_PATTERNS.items()
            if re.search(rf"\b{kind}\b", result) and not re.search(words, str(answer), re.IGNORECASE)
        ]
    return missing + [
        f"Raises {one}"
        for one in sorted(errors)
        if not (told.get("Raises", {}).keys() >= {one} or (not one and "Raises" in told))
    ]


@cache
def list_described_types() -> frozenset[str]:
    """List the names of annotated types that bring a description: a field of such a type needs no other."""
    texts = (read_source(path).text for path in FILES.values())
    pattern = re.compile(r"^(\w+) = Annotated\[\n(.*?)^\]", re.MULTILINE | re.DOTALL)
    return frozenset(name for text in texts for name, content in pattern.findall(text) if "description=" in content)


def list_undescribed_fields(at: str, node: ast.ClassDef) -> list[str]:
    """List the fields of a class that neither its docstring nor their own lines describe."""
    text, lines = ast.get_docstring(node) or "", read_source(FILES[at]).text.splitlines()
    those = [(one, str(getattr(one.target, "id", "_"))) for one in node.body if isinstance(one, ast.AnnAssign)]
    those = [(one, name) for one, name in those if at != "hven.adql.syntax_tree" or name not in OPERANDS]
    below = {
        id(one)
        for one, quoted in pairwise(node.body)
        if isinstance(quoted, ast.Expr) and isinstance(quoted.value, ast.Constant)
    }
    said = {
        name: id(one) in below
        or getattr(one.annotation, "id", "") in list_described_types()
        or re.search(r"#|description=|setting(_metadata)?\(|said\(", "".join(lines[one.lineno - 1 : one.end_lineno]))
        for one, name in those
    }
    return [
        name for name, found in said.items() if not (name.startswith("_") or found or re.search(rf"\b{name}\b", text))
    ]


@cache
def measure_module(module: str) -> dict[tuple[str, str], list[str]]:
    """List what each definition of a module lacks."""
    found = {(at, name): node for at, name, node in iterate_definitions(module)}
    bases = {
        key: [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in getattr(node, "bases", ())]
        for key, node in found.items()
    }
    contracts = [name for (_, name), those in bases.items() if "Protocol" in those]
    lacks = {}
    for (at, name), node in found.items():
        owner, _, method = name.partition(".")
        above = [f"{base}.{method}" for base in [*bases[at, owner], *contracts] if method and base != owner]
        once = find_common_section(at, owner) if method else find_common_section(at)
        lacks[at, name] = list_missing(
            node, next((read_method_docstrings()[one] for one in above if one in read_method_docstrings()), ""), once
        )
        lacks[at, name] += list_undescribed_fields(at, node) if isinstance(node, ast.ClassDef) else []
    taken = {"returns"} | {node.arg for node in read_source(FILES[module]).find_nodes(ast.arg)}
    telling = list(read_source(FILES[module]).find_nodes(ast.Module, ast.ClassDef))
    if astray := [name for node in telling for name in _parse_common_section(node) if name not in taken]:
        lacks[module, "Common"] = [f"{name}: nothing takes it" for name in astray]
    return lacks


@cache
def read_method_docstrings() -> dict[str, str]:
    """Read the docstrings of all methods."""
    return {
        name: ast.get_docstring(node) or ""
        for one in list_public_modules()
        for _, name, node in iterate_definitions(one)
        if "." in name
    }


def count_complete(those: list[str]) -> tuple[int, int]:
    """Count the definitions with complete docstrings, and all of them."""
    found = {name: lacks for one in those for name, lacks in measure_module(one).items()}
    return sum(not lacks for lacks in found.values()), len(found)


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(
            *(f"{at} {name}: {', '.join(lacks)}" for (at, name), lacks in measure_module(asked).items() if lacks),
            sep="\n",
        )
    if not sys.argv[1:]:
        print(
            *(f"{one}: {told} of {all_}" for one in list_public_modules() for told, all_ in [count_complete([one])]),
            sep="\n",
        )
        print("told, of", *count_complete(list_public_modules()))
