"""Read the parameters of a Python function from its annotations, without running its file."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.params import Param
from hven.model.types import parse_type
from hven.plugins.declared_jobs import function_program
from hven.plugins.declared_jobs.program_runner import ProgramOutputFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FILE_ANNOTATION = "Path"
# annotation -> the type of a parameter in a declaration
_TYPES_BY_ANNOTATION = {
    "float": "float64",
    "int": "int64",
    "str": "string",
    "bool": "bool",
    "datetime": "timestamp",
    FILE_ANNOTATION: "string",
}


# results of a function: what it returns, and the packages that it has used
FUNCTION_OUTPUTS = {
    "table": ProgramOutputFile(
        file=function_program.TABLE_FILE, media_type="application/vnd.apache.parquet", required=False
    ),
    "json": ProgramOutputFile(file=function_program.JSON_FILE, media_type="application/json", required=False),
    "text": ProgramOutputFile(file=function_program.TEXT_FILE, media_type="text/plain; charset=utf-8", required=False),
    "versions": ProgramOutputFile(file=function_program.VERSIONS_FILE, media_type="application/json"),
}


class SignatureError(ValueError):
    """A file has no such function, or a parameter cannot be the parameter of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedSignature:
    """The parameters of a function.

    Attributes
    ----------
    params
        Its parameters, with names in capitals.
    files
        Names of those that are files.
    type_words
        The types of the parameters, as a declaration would name them.
    description
        First paragraph of its docstring; empty if it has none.
    """

    params: Sequence[Param]
    files: Sequence[str]
    type_words: Mapping[str, str]
    description: str


def read_function_signature(text: str, function_name: str) -> AnnotatedSignature:
    """Read the signature of a function.

    A parameter has an annotation: float, int, str, bool, datetime or Path (a file), a list of these, or a Literal of
    texts; ``| None`` makes it optional, and so does a default.

    Parameters
    ----------
    text
        Text of the Python file.
    function_name
        Name of the function.

    Raises
    ------
    SignatureError
        The file cannot be parsed, it has no such function, or a parameter has another annotation.
    """
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise SignatureError(f"line {error.lineno} is not valid Python: {error.msg}") from error
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == function_name]
    if not functions:
        raise SignatureError(f"the file has no function {function_name}")
    function = functions[-1]
    if function.args.vararg or function.args.kwarg or function.args.posonlyargs:
        raise SignatureError(f"the function {function_name} must not have *, ** or positional-only parameters")
    params = []
    files = []
    type_words = {}
    for argument, default in _iterate_arguments(function.args):
        param, annotation = _build_param(argument, default)
        params.append(param)
        type_words[param.name] = _TYPES_BY_ANNOTATION[annotation]
        if annotation == FILE_ANNOTATION:
            files.append(param.name)
    docstring = ast.get_docstring(function) or ""
    description = " ".join(docstring.partition("\n\n")[0].split())
    return AnnotatedSignature(params=params, files=files, type_words=type_words, description=description)


def _iterate_arguments(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    missing_count = len(arguments.args) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*[None] * missing_count, *arguments.defaults]
    yield from zip(arguments.args, defaults, strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _build_param(argument: ast.arg, default: ast.expr | None) -> tuple[Param, str]:
    place = f"line {argument.lineno}: the parameter {argument.arg}"
    annotation = argument.annotation
    if annotation is None:
        raise SignatureError(f"{place} has no annotation, such as `{argument.arg}: float`")
    is_optional = default is not None
    if isinstance(annotation, ast.BinOp) and ast.unparse(annotation.right) == "None":
        annotation, is_optional = annotation.left, True
    many = False
    allowed: tuple[str, ...] = ()
    if isinstance(annotation, ast.Subscript):
        container = ast.unparse(annotation.value).rpartition(".")[2]
        many = container == "list"
        if container == "Literal":
            words = ast.literal_eval(annotation.slice)
            if isinstance(words, tuple):
                allowed = words
            else:
                allowed = (words,)
            annotation = ast.Name("str")
        elif many:
            annotation = annotation.slice
    type_name = ast.unparse(annotation).rpartition(".")[2]
    are_words = all(isinstance(word, str) for word in allowed)
    if type_name not in _TYPES_BY_ANNOTATION or not are_words or (many and type_name == FILE_ANNOTATION):
        names = ", ".join(_TYPES_BY_ANNOTATION)
        raise SignatureError(
            f"{place} must have one of these annotations: {names}, a list of these, or a Literal of strings"
        )
    param = Param(
        name=argument.arg.upper(),
        type=parse_type(_TYPES_BY_ANNOTATION[type_name]),
        required=not is_optional,
        many=many,
        allowed=allowed,
        default=_write_default(default, place),
    )
    return param, type_name


def _write_default(default: ast.expr | None, place: str) -> str | None:
    """Write a default as the value of a parameter; lists and None have none, so the function applies them itself."""
    if default is None:
        return None
    try:
        value = ast.literal_eval(default)
    except ValueError as error:
        raise SignatureError(f"{place} has a default that is not a literal") from error
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str) and value != "":
        return str(value)
    return None


def build_function_arguments(script_path: Path, function_name: str, params: Sequence[Param]) -> tuple[str, ...]:
    """Build the arguments of the program that runs a function, with placeholders for its parameters.

    Parameters
    ----------
    script_path
        Path of the Python file.
    function_name
        Name of the function.
    params
        Parameters of the function.
    """
    pairs = [f"{param.name}={{{param.name}}}" for param in params]
    return (sys.executable, "-B", function_program.__file__, str(script_path), function_name, *pairs)
