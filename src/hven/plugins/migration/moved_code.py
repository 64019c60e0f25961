"""Move Python code of resource descriptors into files beside the descriptor. The code is parsed, and never run."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.plugins.migration.python_macros import PROPERTY_PREFIX, VARIABLE_PREFIX, prepare_python

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_CODE_BYTES = 1 << 20
# modules that code in resource descriptors uses without an import, because DaCHS has imported them
PROVIDED_MODULES = {"datetime", "functools", "glob", "itertools", "json", "math", "os", "random", "re", "sys", "time"}
MODULE_ALIASES = {"urllib": "import urllib.parse", "urlparse": "from urllib import parse as urlparse"}
ROW_FUNCTION_TEXT = '''
def _compute_values(compute, name, columns):
    """Call code that changes the variables of one row, for all rows, and return one variable as an array."""
    values = []
    for row in zip(*(column.to_pylist() for column in columns.values())):
        variables = dict(zip(columns, row))
        compute(variables)
        values.append(variables.get(name))
    return pa.array(values)
'''
CUSTOM_GRAMMAR_TEXT = '''
class CustomRowIterator:
    """What the code expects of DaCHS: an iterator over the rows of one file."""

    def __init__(self, grammar, sourceToken, sourceRow=None):
        self.grammar, self.sourceToken, self.sourceRow = grammar, sourceToken, sourceRow

    def __iter__(self):
        return self._iterRows()

    def getParameters(self):
        return {}
'''


@dataclass(slots=True)
class CodeFacts:
    """What a piece of code needs.

    Attributes
    ----------
    is_valid
        Whether it is Python 3.
    fault
        Why it is not.
    variables
        Variables of a row that it reads.
    assigned_variables
        Variables of a row that it sets.
    imports
        Lines that import the modules that it uses without an import.
    unknown_names
        Names that belong to DaCHS.
    properties
        Facts of the file of a row that it reads: ``file.path``.
    """

    is_valid: bool = True
    fault: str = ""
    variables: list[str] = field(default_factory=list)
    assigned_variables: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    unknown_names: list[str] = field(default_factory=list)
    properties: list[str] = field(default_factory=list)


def find_code_facts(code: str, provided_names: Sequence[str] = ()) -> CodeFacts:
    """Parse code and list what it needs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        return CodeFacts(is_valid=False, fault=f"it is not Python 3{f' (its line {line})' if line else ''}")
    facts = CodeFacts()
    defined_names = {*dir(builtins), *provided_names, "__file__", "__name__"}
    used_names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                used_names.append(node.id)
            else:
                defined_names.add(node.id)
            _note_variable(node, facts)
        else:
            defined_names |= _list_defined_names(node)
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "gavo":
                facts.unknown_names.append(str(node.module))
    for name in dict.fromkeys(used_names):
        if name in defined_names or name.startswith((VARIABLE_PREFIX, PROPERTY_PREFIX)):
            continue
        if name in PROVIDED_MODULES:
            facts.imports.append(f"import {name}")
        elif name in MODULE_ALIASES:
            facts.imports.append(MODULE_ALIASES[name])
        else:
            facts.unknown_names.append(name)
    return facts


def _list_defined_names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return set()


def _note_variable(node: ast.Name, facts: CodeFacts) -> None:
    if node.id.startswith(VARIABLE_PREFIX):
        name = node.id.removeprefix(VARIABLE_PREFIX)
        names = facts.variables if isinstance(node.ctx, ast.Load) else facts.assigned_variables
        if name not in names:
            names.append(name)
    elif node.id.startswith(PROPERTY_PREFIX):
        name = node.id.removeprefix(PROPERTY_PREFIX)
        if name not in facts.properties:
            facts.properties.append(name)


# `hven check` imports the file and calls functions of expressions; `hven ingest` calls all functions
READING_ADVICE = "read it first, because `hven check` and `hven ingest` run it"


class MovedCodeFile:
    """A Python file beside the descriptor, with the code of one resource descriptor.

    Parameters
    ----------
    file_name
        Name of the file.
    origin
        Name of the resource descriptor, for the docstring.
    """

    def __init__(self, file_name: str, origin: str) -> None:
        self.file_name = file_name
        self._origin = origin
        self._imports: list[str] = []
        self._parts: list[str] = []
        self._function_names: set[str] = set()
        self.result_types: dict[str, str] = {}
        self._has_row_functions = False

    def __bool__(self) -> bool:
        return bool(self._parts)

    def _reserve_function_name(self, base: str) -> str:
        name = stem = re.sub(r"\W+", "_", base.lower(), flags=re.ASCII).strip("_") or "moved"
        if name[0].isdigit():
            name = stem = f"f_{name}"
        number = 2
        while name in self._function_names:
            name = f"{stem}_{number}"
            number += 1
        self._function_names.add(name)
        return name

    def _add_imports(self, lines: Sequence[str]) -> None:
        self._imports += [line for line in lines if line not in self._imports]

    def add_row_code(self, base_name: str, code: str, line: int, setup: str = "") -> tuple[str, CodeFacts]:
        """Add code that sets variables of a row.

        Returns
        -------
        name, facts
            Name of the function that changes the variables of a row.
        """
        python = prepare_python(normalize_indentation(code))
        facts = find_code_facts(f"{setup}\n{python}" if setup else python)
        name = self._reserve_function_name(f"_{base_name}")
        if not facts.is_valid:
            self._parts.append(f"\n# line {line}: {facts.fault}\n" + textwrap.indent(code, "# "))
            return name, facts
        self._has_row_functions = True
        self._add_imports(facts.imports)
        python = re.sub(rf"\b{PROPERTY_PREFIX}(\w+)", r'vars["\1"]', python)
        python = re.sub(rf"\b{VARIABLE_PREFIX}(\w+)", r'vars["\1"]', python)
        if setup:
            self._parts.append("\n" + setup)
        body = textwrap.indent(python, "    ")
        self._parts.append(f'\ndef {name}(vars):\n    """Change the variables of a row (line {line})."""\n{body}\n')
        return name, facts

    def add_value_function(self, code_name: str, variable: str, parameters: Sequence[str], result_type: str) -> str:
        """Add the function by which an expression of the descriptor gets one variable.

        Returns
        -------
        name
            Name of the function.
        """
        name = self._reserve_function_name(f"{code_name.lstrip('_')}_{variable}")
        arguments = [re.sub(r"\W", "_", parameter) for parameter in parameters]
        columns = ", ".join(
            f'"{parameter}": {argument}' for parameter, argument in zip(parameters, arguments, strict=True)
        )
        self._parts.append(
            f'\ndef {name}({", ".join(arguments)}) -> "{result_type}":\n'
            f'    """Compute {variable}."""\n'
            f'    return _compute_values({code_name}, "{variable}", {{{columns}}})\n'
        )
        self.result_types[name] = result_type
        return name

    def add_row_source(self, base_name: str, code: str, line: int) -> tuple[str, CodeFacts]:
        """Add the code of an embedded grammar as a function that yields the rows of files."""
        python = prepare_python(normalize_indentation(code))
        facts = find_code_facts(python, ("self", "grammar"))
        name = self._reserve_function_name(base_name)
        if not facts.is_valid:
            self._add_unported_source(name, f"line {line}: {facts.fault}", code)
            return name, facts
        self._add_imports([*facts.imports, "import glob as file_patterns", "import os.path"])
        body = textwrap.indent(python, "        ")
        self._parts.append(
            f"\nclass _Iterator_{name}(CustomRowIterator):\n    def _iterRows(self):\n{body}\n"
            + _write_row_function(name)
        )
        return name, facts

    def add_grammar_module(self, base_name: str, path: Path) -> tuple[str, CodeFacts]:
        """Add the module of a custom grammar; if it cannot be used, a function that says so."""
        name = self._reserve_function_name(base_name)
        data = read_code(path)
        code = data.decode("utf-8", "replace")
        fault = ""
        if len(data) > MAX_CODE_BYTES:
            code, fault = "", f"{path.name} is larger than {MAX_CODE_BYTES >> 20} MiB"
        elif not data or "\N{REPLACEMENT CHARACTER}" in code:
            code, fault = "", f"{path.name} is not there, or is no text"
        facts = find_code_facts(code)
        if not fault and not (facts.is_valid and "RowIterator" in code):
            fault = f"{path.name}: {facts.fault or 'it has no class RowIterator'}"
        if fault:
            self._add_unported_source(name, fault, code)
            return name, CodeFacts(is_valid=False, fault=fault)
        code = re.sub(r"(?m)^(\s*)(from gavo\.grammars\.customgrammar import .*)$", r"\1pass  # \2", code)
        facts.unknown_names = [item for item in facts.unknown_names if item != "gavo.grammars.customgrammar"]
        code = code.partition('if __name__ == "__main__"')[0].partition("if __name__ == '__main__'")[0]
        self._add_imports([*facts.imports, "import glob as file_patterns", "import os.path"])
        self._parts.append(
            f"\n# the code of {path.name}\n{code}\n\n_Iterator_{name} = RowIterator\n" + _write_row_function(name)
        )
        return name, facts

    def _add_unported_source(self, name: str, fault: str, code: str) -> None:
        commented = textwrap.indent(code, "# ", lambda _line: True)
        message = f"write this function anew: {fault}".replace('"', "'").replace("\\", "/")
        self._parts.append(
            f'\ndef {name}(pattern=""):\n    """Yield the rows of the files: to be written anew."""\n'
            f'    raise NotImplementedError("{message}")\n\n{commented}\n'
        )

    def write_text(self) -> str:
        """Write the file."""
        has_iterators = any("_Iterator_" in part for part in self._parts)
        imports = sorted({*self._imports, *(["import pyarrow as pa"] if self._has_row_functions else [])})
        return "\n".join(
            [
                f'"""Code of {self._origin}, not run yet: {READING_ADVICE}."""',
                "",
                *imports,
                *([CUSTOM_GRAMMAR_TEXT] if has_iterators else []),
                *([ROW_FUNCTION_TEXT] if self._has_row_functions else []),
                *self._parts,
            ]
        )


def _write_row_function(name: str) -> str:
    return (
        f'\ndef {name}(pattern=""):\n    """Yield the rows of the files that match the pattern."""\n'
        "    full_pattern = os.path.join(os.path.dirname(__file__), pattern)\n"
        "    for path in sorted(file_patterns.glob(full_pattern, recursive=True)):\n"
        f"        yield from _Iterator_{name}(None, path)\n"
    )


def read_code(path: Path) -> bytes:
    """Read a file of code, but not more than one byte above `MAX_CODE_BYTES`; empty: there is no such file.

    Parameters
    ----------
    path
        Path of the file.
    """
    try:
        if not path.is_file():  # a pipe would wait
            return b""
        with path.open("rb") as file:
            return file.read(MAX_CODE_BYTES + 1)
    except OSError:
        return b""


def normalize_indentation(code: str) -> str:
    """Remove the indentation that all lines have, also if the first line has none."""
    lines = code.expandtabs(8).strip("\n").rstrip().split("\n")
    if len(lines) > 1 and lines[0].strip() and not lines[0].startswith(" "):
        others = textwrap.dedent("\n".join(lines[1:]))
        if lines[0].rstrip().endswith(":") and not others.lstrip("\n").startswith(" "):
            others = textwrap.indent(others, "    ")  # all lines are in the block that the first one begins
        return lines[0] + "\n" + others
    return textwrap.dedent("\n".join(lines))
