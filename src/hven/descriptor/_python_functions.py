"""Python functions beside a descriptor: found without running them, typed by their annotations or by the descriptor."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor.written_yaml import WrittenScalar, YamlPage, decode_page
from hven.model.errors import Place, suggest_spelling
from hven.model.resource import PythonFunction
from hven.model.types import Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hven.descriptor._merging import DescriptorSources
    from hven.descriptor.value_schema import FaultCollector, KeyValues

TYPES_BY_ANNOTATION = {
    "float": "float64",
    "int": "int64",
    "str": "string",
    "bool": "bool",
    "datetime": "timestamp",
    "datetime.datetime": "timestamp",
}
_ANNOTATION_PATTERN = re.compile(r"\s*(?P<type>[^\s{]+)\s*(?:\{(?P<unit>[^}]*)\})?\s*")


def read_functions(
    entries: Iterable[KeyValues], directory: Path, sources: DescriptorSources, faults: FaultCollector
) -> tuple[PythonFunction, ...]:
    """Read the ``functions`` of a collection; the files are parsed, never run here."""
    functions_by_name: dict[str, PythonFunction] = {}
    for entry in entries:
        if "file" not in entry:
            continue
        for function in _read_function_file(entry, directory, sources, faults):
            if MAPPING_FUNCTIONS.find_function(function.name) is not None or function.name.upper() in RESERVED_WORDS:
                faults.add_error(
                    f"functions: {function.name} is a word of ADQL already",
                    function.place,
                    "give the function another name",
                )
            if function.name.lower() in functions_by_name:
                faults.add_error(f"functions: {function.name} stands in two files", function.place)
            functions_by_name[function.name.lower()] = function
    return tuple(functions_by_name.values())


def _read_function_file(
    entry: KeyValues, directory: Path, sources: DescriptorSources, faults: FaultCollector
) -> list[PythonFunction]:
    file: WrittenScalar = entry["file"]
    path = directory / str(file)
    if not sources.contents.is_file(path):
        python_files = [item.name for item in directory.iterdir() if item.suffix == ".py"]
        faults.add_error(
            f"functions: there is no file {file} beside the descriptor",
            file.place,
            suggest_spelling(file, python_files),
        )
        return []
    data = sources.contents.read_bytes(path)
    sources.hashes[str(file)] = sources.contents.compute_sha256(path)
    page = decode_page(data, str(file), faults.faults)
    if page is None:
        return []
    try:
        module = ast.parse(page.text)
    except SyntaxError as error:
        faults.add_error(f"functions: {error.msg}", Place(file=str(file), line=error.lineno, column=error.offset))
        return []
    defined = {
        node.name: node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    declared_names = entry.get("names")
    if declared_names is None:
        annotated_functions = [
            _read_annotated_function(node, path, page, faults) for node in defined.values() if node.returns is not None
        ]
        typed_functions = [function for function in annotated_functions if function is not None]
        if not typed_functions:
            faults.add_error(
                f"functions: {file} has no function with a type for its result",
                file.place,
                'annotate it, -> "float64", or say names: {function: float64}',
            )
        return typed_functions
    declared_functions = []
    for name, fields in declared_names.items():
        if str(name) not in defined:
            faults.add_error(
                f"functions: {file} has no function {str(name)!r}", name.place, suggest_spelling(name, defined)
            )
        elif "type" not in fields:
            faults.add_error(f"functions.{name} lacks the type of its result", name.place, "float64, string ...")
        else:
            try:
                result_type = parse_type(fields["type"])
            except ValueError as error:
                faults.add_error(f"functions.{name}: {error}", fields["type"].place)
                continue
            if "unit" in fields:
                unit = str(fields["unit"])
            else:
                unit = None
            if "ucd" in fields:
                ucd = str(fields["ucd"])
            else:
                ucd = None
            declared_functions.append(
                PythonFunction(
                    name=str(name),
                    path=path,
                    type=result_type,
                    unit=unit,
                    ucd=ucd,
                    argument_count=_count_arguments(defined[str(name)]),
                    place=name.place,
                )
            )
    return declared_functions


def _read_annotated_function(
    node: ast.FunctionDef, path: Path, page: YamlPage, faults: FaultCollector
) -> PythonFunction | None:
    returns = node.returns
    if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
        annotation_text = returns.value
    elif returns is not None:
        annotation_text = ast.unparse(returns)
    else:
        annotation_text = ""
    place = Place(file=page.name, line=node.lineno, column=node.col_offset + 1)
    match = _ANNOTATION_PATTERN.fullmatch(TYPES_BY_ANNOTATION.get(annotation_text, annotation_text))
    result_type: Type | None = None
    if match is not None:
        try:
            result_type = parse_type(match["type"])
        except ValueError:
            result_type = None
    if match is None or result_type is None:
        faults.add_error(
            f"the result of {node.name} has no type known here: {annotation_text}",
            place,
            'write -> "float64", "string", "timestamp" or "float64 {deg}"',
        )
        return None
    return PythonFunction(
        name=node.name,
        path=path,
        type=result_type,
        unit=match["unit"],
        argument_count=_count_arguments(node),
        place=place,
    )


def _count_arguments(node: ast.FunctionDef) -> int | None:
    if node.args.vararg is not None or node.args.defaults:
        return None
    return len(node.args.posonlyargs) + len(node.args.args)
