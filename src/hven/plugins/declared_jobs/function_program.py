"""The program that runs a Python function as a job: ``function_program.py FILE FUNCTION NAME=VALUE ...``.

It runs in a process of its own, with the limits of the job, and imports nothing of Hven. It writes what the function
returns: a table, or anything that JSON can have; and the versions of the packages that the function has imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import runpy
import sys
import types
import typing
from datetime import datetime
from pathlib import Path
from typing import Any

TABLE_FILE, JSON_FILE, TEXT_FILE, VERSIONS_FILE = "table.parquet", "result.json", "result.txt", "versions.json"


def strip_none(annotation: Any) -> Any:
    """Return what an annotation allows besides None.

    Parameters
    ----------
    annotation
        An annotation, as `typing.get_type_hints` returns it.
    """
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        return next(item for item in typing.get_args(annotation) if item is not type(None))
    return annotation


def convert_value(text: str, annotation: Any) -> Any:
    """Convert the text of a parameter to what its annotation says.

    Parameters
    ----------
    text
        The value as it was sent.
    annotation
        The annotation without None.
    """
    if typing.get_origin(annotation) is list:
        annotation = typing.get_args(annotation)[0]
    if annotation is bool:
        return text.lower() in {"true", "1"}
    if annotation is datetime:
        return datetime.fromisoformat(text)
    if annotation in {int, float, Path}:
        return annotation(text)
    return text


def call_function(path: str, function_name: str, pairs: list[str]) -> Any:
    """Call the function of a file with named values.

    Parameters
    ----------
    path
        Path of the file.
    function_name
        Name of the function.
    pairs
        ``NAME=VALUE``, several of a name for a list.
    """
    sys.path.insert(0, str(Path(path).parent))
    function = runpy.run_path(path)[function_name]
    hints = {name: strip_none(annotation) for name, annotation in typing.get_type_hints(function).items()}
    values: dict[str, Any] = {}
    for pair in pairs:
        upper_name, _, text = pair.partition("=")
        name = next(name for name in hints if name.upper() == upper_name)
        value = convert_value(text, hints[name])
        if typing.get_origin(hints[name]) is list:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return function(**values)


def write_result(value: Any) -> None:
    """Write what the function returned to the present directory.

    Parameters
    ----------
    value
        None, a table of pyarrow, pandas or astropy, a text, or what JSON can have.
    """
    if value is None:
        return
    if isinstance(value, str):
        Path(TEXT_FILE).write_text(value, encoding="utf-8")
    elif type(value).__module__.startswith("pyarrow"):
        from pyarrow import parquet  # noqa: PLC0415  (only where the function uses it)

        parquet.write_table(value, TABLE_FILE)
    elif type(value).__module__.startswith("pandas"):
        value.to_parquet(TABLE_FILE)
    elif type(value).__module__.startswith("astropy.table"):
        value.write(TABLE_FILE, format="parquet")
    else:
        Path(JSON_FILE).write_text(json.dumps(value), encoding="utf-8")


def write_versions() -> None:
    """Write the versions of Python and of the packages that are loaded."""
    packages = importlib.metadata.packages_distributions()
    modules = {name.partition(".")[0] for name in sys.modules}
    names = {name for module in modules for name in packages.get(module, ())}
    versions = {name: importlib.metadata.version(name) for name in sorted(names)}
    document = {"python": platform.python_version(), "packages": versions}
    Path(VERSIONS_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    result = call_function(sys.argv[1], sys.argv[2], sys.argv[3:])
    write_result(result)
    write_versions()
