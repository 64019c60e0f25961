"""The process of a function that reads files, beside a descriptor: asked by lines of JSON, it answers in Arrow. Run by `hven.sources.readers` alone."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def main() -> None:
    """Answer until nobody asks any more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    sys.dont_write_bytecode = True
    path, name = sys.argv[1:]
    read: Callable[[str], Any] | None = None
    last: tuple[str, str] | None = None
    whole = pa.table({})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            read = read or load(path, name)
            if last != (asked["path"], asked["stamp"]):
                last, whole = None, pa.table({})  # one file at a time
                whole = table_of(read(asked["path"]))
                last = (asked["path"], asked["stamp"])
            some = whole if asked["columns"] is None else whole.select(asked["columns"])
            some = some.slice(asked["first"], asked["rows"])
            some = some.replace_schema_metadata({**(whole.schema.metadata or {}), "rows": str(whole.num_rows)})
        except Exception as error:  # noqa: BLE001  (whatever it raises is told)
            some = pa.table({}).replace_schema_metadata({"error": told(error, path)})
        with pa.ipc.new_stream(out, some.schema) as stream:
            stream.write_table(some)
        out.flush()


def load(path: str, name: str) -> Callable[[str], Any]:
    """Import the file, which may import its neighbours, and find its function."""
    place, file = os.path.split(path)
    spec = importlib.util.spec_from_file_location("hven_reader", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, place)
    spec.loader.exec_module(module)
    function: Callable[[str], Any] = vars(module)[name]
    return function


def table_of(found: Any) -> pa.Table:
    """Make a table of what a function gives: a table, a batch, or arrays by name, those of two dimensions as spectra."""
    if isinstance(found, pa.RecordBatch):
        return pa.Table.from_batches([found])
    return found if isinstance(found, pa.Table) else pa.table(columns(found))


def columns(found: Mapping[str, Any]) -> dict[str, pa.Array]:
    """Make Arrow of numpy's arrays."""
    made = {}
    for name, values in found.items():
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = pa.array(values.astype(values.dtype.newbyteorder("=")).ravel())
            made[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            made[name] = pa.array(values)
    return made


def told(error: BaseException, path: str) -> str:
    """Describe an error with the deepest line of the curator's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f"{os.path.basename(path)}, line {lines[-1]}: " if lines else ""  # noqa: PTH119  (starts quicker without pathlib)
    return f"{where}{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
