"""Python functions beside a descriptor: found without running them, typed by their annotations or by the descriptor."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING
from hven.adql.reserved import RESERVED
from hven.descriptor.written import Page, Written, page_of
from hven.model.errors import Place, nearest
from hven.model.resource import PythonFunction
from hven.model.types import Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hven.descriptor._merging import Gathered
    from hven.descriptor.value_schema import Faults, Fields

PLAIN = {
    "float": "float64",
    "int": "int64",
    "str": "string",
    "bool": "bool",
    "datetime": "timestamp",
    "datetime.datetime": "timestamp",
}
_WITH_UNIT = re.compile(r"\s*(?P<type>[^\s{]+)\s*(?:\{(?P<unit>[^}]*)\})?\s*")


def functions(
    entries: Iterable[Fields], directory: Path, result: Gathered, faults: Faults
) -> tuple[PythonFunction, ...]:
    """Read the ``functions`` of a collection; the files are parsed, never run here."""
    made: dict[str, PythonFunction] = {}
    for entry in entries:
        if "file" not in entry:
            continue
        for function in _of_file(entry, directory, result, faults):
            if MAPPING.get(function.name) is not None or function.name.upper() in RESERVED:
                faults.error(
                    f"functions: {function.name} is a word of ADQL already",
                    function.place,
                    "give the function another name",
                )
            if function.name.lower() in made:
                faults.error(f"functions: {function.name} stands in two files", function.place)
            made[function.name.lower()] = function
    return tuple(made.values())


def _of_file(entry: Fields, directory: Path, result: Gathered, faults: Faults) -> list[PythonFunction]:
    file: Written = entry["file"]
    path = directory / str(file)
    if not result.contents.is_file(path):
        there = [item.name for item in directory.iterdir() if item.suffix == ".py"]
        faults.error(f"functions: there is no file {file} beside the descriptor", file.place, nearest(file, there))
        return []
    data = result.contents.read_bytes(path)
    result.hashes[str(file)] = result.contents.compute_sha256(path)
    page = page_of(data, str(file), faults.found)
    if page is None:
        return []
    try:
        module = ast.parse(page.text)
    except SyntaxError as error:
        faults.error(f"functions: {error.msg}", Place(file=str(file), line=error.lineno, column=error.offset))
        return []
    defined = {
        node.name: node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    named = entry.get("names")
    if named is None:
        found = [_annotated(node, path, page, faults) for node in defined.values() if node.returns is not None]
        typed = [function for function in found if function is not None]
        if not typed:
            faults.error(
                f"functions: {file} has no function with a type for its result",
                file.place,
                'annotate it, -> "float64", or say names: {function: float64}',
            )
        return typed
    made = []
    for name, fields in named.items():
        if str(name) not in defined:
            faults.error(f"functions: {file} has no function {str(name)!r}", name.place, nearest(name, defined))
        elif "type" not in fields:
            faults.error(f"functions.{name} lacks the type of its result", name.place, "float64, string ...")
        else:
            try:
                kind = parse_type(fields["type"])
            except ValueError as error:
                faults.error(f"functions.{name}: {error}", fields["type"].place)
                continue
            unit = str(fields["unit"]) if "unit" in fields else None
            ucd = str(fields["ucd"]) if "ucd" in fields else None
            made.append(
                PythonFunction(
                    name=str(name),
                    path=path,
                    type=kind,
                    unit=unit,
                    ucd=ucd,
                    arguments=_count(defined[str(name)]),
                    place=name.place,
                )
            )
    return made


def _annotated(node: ast.FunctionDef, path: Path, page: Page, faults: Faults) -> PythonFunction | None:
    returns = node.returns
    word = (
        returns.value
        if isinstance(returns, ast.Constant) and isinstance(returns.value, str)
        else ast.unparse(returns)
        if returns is not None
        else ""
    )
    place = Place(file=page.name, line=node.lineno, column=node.col_offset + 1)
    match = _WITH_UNIT.fullmatch(PLAIN.get(word, word))
    kind: Type | None = None
    if match is not None:
        try:
            kind = parse_type(match["type"])
        except ValueError:
            kind = None
    if match is None or kind is None:
        faults.error(
            f"the result of {node.name} has no type known here: {word}",
            place,
            'write -> "float64", "string", "timestamp" or "float64 {deg}"',
        )
        return None
    return PythonFunction(name=node.name, path=path, type=kind, unit=match["unit"], arguments=_count(node), place=place)


def _count(node: ast.FunctionDef) -> int | None:
    if node.args.vararg is not None or node.args.defaults:
        return None
    return len(node.args.posonlyargs) + len(node.args.args)
