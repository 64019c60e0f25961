"""Measure how plainly the source is named. `python tests/plain_names.py [PACKAGE ...]` prints the figures and what is against the rules.

The rules are those of docs/decisions/027-names.md: a class is a noun, a function says with a verb what it does to what, a constant names a quantity or
a collection, and no name is a word that could stand for anything.
"""

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from shared import ROOT
from source_trees import read_source

SOURCE = ROOT / "src" / "hven"
WORD_LISTS = ROOT / "tests" / "words"


@cache
def read_words(name: str) -> frozenset[str]:
    """Read a list of words; what follows a # is a remark."""
    lines = (WORD_LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines for word in line.partition("#")[0].split())


VAGUE_NAMES = read_words("vague_names")
NOUNS_IN_ED = read_words("nouns_in_ed")
IRREGULAR_PARTICIPLES = read_words("irregular_participles")
PREDICATE_WORDS = frozenset({"are", "can", "has", "is", "may", "should"})
CONVERSION_WORDS = frozenset({"from", "to", "with"})
BINDING_NODES = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension, ast.withitem)


@dataclass(kw_only=True)
class NameFigures:
    """Counts of the names of a package, and those that are against the rules."""

    classes: int = 0
    functions: int = 0
    methods: int = 0
    bindings: int = 0
    parameters: int = 0
    one_word_functions: list[str] = field(default_factory=list)
    one_word_methods: list[str] = field(default_factory=list)
    participle_classes: list[str] = field(default_factory=list)
    participle_functions: list[str] = field(default_factory=list)
    other_first_words: list[str] = field(default_factory=list)
    vague_bindings: list[str] = field(default_factory=list)
    vague_parameters: list[str] = field(default_factory=list)


def split_name(name: str) -> list[str]:
    """Split a name into its words, in lower case."""
    return re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())


def is_participle(word: str) -> bool:
    """Return whether a word is a past participle."""
    return word in IRREGULAR_PARTICIPLES or (len(word) > 4 and word.endswith("ed") and word not in NOUNS_IN_ED)


def iterate_bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that an assignment, a loop or a ``with`` binds."""
    match node:
        case ast.Assign():
            targets = node.targets
        case ast.AnnAssign() | ast.NamedExpr() | ast.For() | ast.AsyncFor() | ast.comprehension():
            targets = [node.target]
        case ast.withitem() if node.optional_vars is not None:
            targets = [node.optional_vars]
        case _:
            return
    for target in targets:
        yield from (leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name) and not leaf.id.isupper())


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is read as an attribute, so that a noun names it."""
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in function.decorator_list}
    return bool(decorators & {"property", "cached_property", "setter"})


def begins_plainly(name: str, verbs: frozenset[str], field_words: frozenset[str]) -> bool:
    """Return whether a name begins with a listed verb, asks a question, or says what it converts to what."""
    words = split_name(name)
    return (
        words[0] in verbs | field_words | PREDICATE_WORDS | CONVERSION_WORDS
        or "to" in words[1:-1]  # row_to_json
        or "from" in words[1:-1]  # row_from_json
    )


def measure_file(path: Path, figures: NameFigures) -> None:
    """Add the names of one module to the figures."""
    verbs, field_words, contract_names = read_words("verbs"), read_words("field_words"), read_words("contract_names")
    source = read_source(path)
    methods = {child for node in source.find_nodes(ast.ClassDef) for child in node.body}
    place = path.relative_to(ROOT).as_posix()
    for binding in source.find_nodes(*BINDING_NODES):
        for name in iterate_bound_names(binding):
            figures.bindings += 1
            if name in VAGUE_NAMES:
                figures.vague_bindings.append(f"{place}: {name}")
    for node in source.find_nodes(ast.ClassDef):
        figures.classes += 1
        if is_participle(split_name(node.name)[-1]):
            figures.participle_classes.append(f"{place}: {node.name}")
    for function in source.find_nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        figures.parameters += len(arguments)
        figures.vague_parameters += [
            f"{place}: {function.name}({item.arg})" for item in arguments if item.arg in VAGUE_NAMES
        ]
        if function.name.startswith("__") or is_property(function) or not split_name(function.name):
            continue
        is_method = function in methods
        figures.methods += is_method
        figures.functions += not is_method
        named = f"{place}: {function.name}"
        if len(split_name(function.name)) == 1:
            (figures.one_word_methods if is_method else figures.one_word_functions).append(named)
            if is_participle(split_name(function.name)[0]):
                figures.participle_functions.append(named)
        if function.name not in contract_names and not begins_plainly(function.name, verbs, field_words):
            figures.other_first_words.append(named)


def find_package(path: Path) -> str:
    """Return the package that a module belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def list_packages() -> list[str]:
    """List the packages."""
    return sorted({find_package(path) for path in SOURCE.rglob("*.py")})


@cache
def measure_packages() -> dict[str, NameFigures]:
    """Measure each package."""
    packages: dict[str, NameFigures] = defaultdict(NameFigures)
    for path in sorted(SOURCE.rglob("*.py")):
        measure_file(path, packages[find_package(path)])
    return dict(packages)


def find_reused_class_names() -> dict[str, list[str]]:
    """Find the public classes that share a name; `Options` is the word that plug-ins of sources and functions are required to use."""
    places = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in read_source(path).find_nodes(ast.ClassDef):
            if not node.name.startswith("_") and node.name != "Options":
                places[node.name].append(path.relative_to(ROOT).as_posix())
    return {name: found for name, found in places.items() if len(found) > 1}


def main() -> None:
    """Print the figures of packages."""
    for package, figures in measure_packages().items():
        if len(sys.argv) > 1 and package not in sys.argv[1:]:
            continue
        counts = {name: len(value) if isinstance(value, list) else value for name, value in vars(figures).items()}
        print(package, counts)
        if len(sys.argv) > 1:
            for name, value in vars(figures).items():
                if isinstance(value, list) and not name.startswith("one_word"):
                    print(f"  {name}:", *value, sep="\n    ")
    if len(sys.argv) == 1:
        words = Counter(
            split_name(named.rpartition(": ")[2])[0]
            for figures in measure_packages().values()
            for named in figures.other_first_words
        )
        print("first words that no list has:", ", ".join(f"{word} {count}" for word, count in words.most_common()))


if __name__ == "__main__":
    main()
