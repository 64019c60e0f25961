"""Find Python functions beside a descriptor without running them; annotations or the descriptor give their types."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor.written_yaml import LocatedYamlScalar, YamlFileText, decode_yaml_file
from hven.model.errors import TextPlace, suggest_spelling
from hven.model.resource import ExpressionFunction
from hven.model.types import ColumnType, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hven.descriptor._merging import DescriptorReadResult
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues

TYPES_BY_ANNOTATION = {
    "float": "float64",
    "int": "int64",
    "str": "string",
    "bool": "bool",
    "datetime": "timestamp",
    "datetime.datetime": "timestamp",
}
_ANNOTATION_PATTERN = re.compile(r"\s*(?P<type>[^\s{]+)\s*(?:\{(?P<unit>[^}]*)\})?\s*")


def read_python_functions(
    entries: Iterable[LocatedKeyValues], directory: Path, sources: DescriptorReadResult, faults: FaultCollector
) -> tuple[ExpressionFunction, ...]:
    """Read the ``functions`` of a collection; the files are parsed, and do not run here."""
    functions_by_name: dict[str, ExpressionFunction] = {}
    for entry in entries:
        if "file" not in entry:
            continue
        for function in _read_function_file(entry, directory, sources, faults):
            name = function.name
            if MAPPING_FUNCTIONS.find_function(name) is not None or name.upper() in RESERVED_WORDS:
                message = f"functions: {name} is already a function or a reserved word"
                faults.add_error(message, function.place, "give the function another name")
            if name.lower() in functions_by_name:
                faults.add_error(f"functions: {name} is defined in two files", function.place)
            functions_by_name[name.lower()] = function
    return tuple(functions_by_name.values())


def _read_function_file(
    entry: LocatedKeyValues, directory: Path, sources: DescriptorReadResult, faults: FaultCollector
) -> list[ExpressionFunction]:
    file: LocatedYamlScalar = entry["file"]
    path = directory / str(file)
    if not sources.contents.is_file(path):
        python_files = [sibling.name for sibling in directory.iterdir() if sibling.suffix == ".py"]
        message = f"functions: there is no file {file} beside the descriptor"
        faults.add_error(message, file.place, suggest_spelling(file, python_files))
        return []
    data = sources.contents.read_bytes(path)
    sources.hashes[str(file)] = sources.contents.compute_sha256(path)
    page = decode_yaml_file(data, str(file), faults.faults)
    if page is None:
        return []
    try:
        module = ast.parse(page.text)
    except SyntaxError as error:
        faults.add_error(f"functions: {error.msg}", TextPlace(file=str(file), line=error.lineno, column=error.offset))
        return []
    nodes = [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    nodes_by_name = {node.name: node for node in nodes}
    declared_names = entry.get("names")
    if declared_names is not None:
        return _read_declared_functions(declared_names, nodes_by_name, path, file, faults)
    functions = []
    for node in nodes_by_name.values():
        if node.returns is not None:
            function = _read_annotated_function(node, node.returns, path, page, faults)
            if function is not None:
                functions.append(function)
    if not functions:
        faults.add_error(
            f"functions: {file} has no function with a result type",
            file.place,
            'annotate a function with -> "float64", or write `names: {function: float64}`',
        )
    return functions


def _read_declared_functions(
    declared_names: Mapping[LocatedYamlScalar, LocatedKeyValues],
    nodes_by_name: Mapping[str, ast.FunctionDef],
    path: Path,
    file: LocatedYamlScalar,
    faults: FaultCollector,
) -> list[ExpressionFunction]:
    """Read the functions whose types ``names`` gives."""
    functions = []
    for name, fields in declared_names.items():
        if str(name) not in nodes_by_name:
            message = f"functions: {file} has no function {str(name)!r}"
            faults.add_error(message, name.place, suggest_spelling(name, nodes_by_name))
            continue
        if "type" not in fields:
            faults.add_error(
                f"functions.{name} lacks the type of its result", name.place, "write its type: float64, string ..."
            )
            continue
        try:
            result_type = parse_type(fields["type"])
        except ValueError as error:
            faults.add_error(f"functions.{name}: {error}", fields["type"].place)
            continue
        texts = {key: str(fields[key]) for key in ("unit", "ucd") if key in fields}
        function = ExpressionFunction(
            name=str(name),
            path=path,
            type=result_type,
            unit=texts.get("unit"),
            ucd=texts.get("ucd"),
            argument_count=_count_arguments(nodes_by_name[str(name)]),
            place=name.place,
        )
        functions.append(function)
    return functions


def _read_annotated_function(
    node: ast.FunctionDef, returns: ast.expr, path: Path, page: YamlFileText, faults: FaultCollector
) -> ExpressionFunction | None:
    """Read a function with the type of its result: a Python type, or a text such as ``"float64 {deg}"``."""
    annotation_text = ast.unparse(returns)
    if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
        annotation_text = returns.value
    place = TextPlace(file=page.name, line=node.lineno, column=node.col_offset + 1)
    match = _ANNOTATION_PATTERN.fullmatch(TYPES_BY_ANNOTATION.get(annotation_text, annotation_text))
    result_type: ColumnType | None = None
    if match is not None:
        with suppress(ValueError):
            result_type = parse_type(match["type"])
    if match is None or result_type is None:
        faults.add_error(
            f"the result of {node.name} has a type that Hven does not know: {annotation_text}",
            place,
            'write -> "float64", "string", "timestamp" or "float64 {deg}"',
        )
        return None
    return ExpressionFunction(
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
