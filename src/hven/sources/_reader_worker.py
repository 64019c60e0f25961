"""Run a function beside a descriptor that reads files: requests are lines of JSON, answers are Arrow.

Run by `hven.sources.file_readers` alone.
"""

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
    """Answer requests until the parent closes the connection."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    sys.dont_write_bytecode = True
    path, name = sys.argv[1:]
    read: Callable[[str], Any] | None = None
    cached_file: tuple[str, str] | None = None
    table = pa.table({})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            read = read or load_reader_function(path, name)
            if cached_file != (request["path"], request["stamp"]):
                # one file at a time
                cached_file = None
                table = pa.table({})
                table = to_arrow_table(read(request["path"]))
                cached_file = (request["path"], request["stamp"])
            if request["columns"] is None:
                reply = table
            else:
                reply = table.select(request["columns"])
            reply = reply.slice(request["first"], request["rows"])
            reply = reply.replace_schema_metadata({**(table.schema.metadata or {}), "rows": str(table.num_rows)})
        except Exception as error:  # noqa: BLE001  (whatever it raises is told)
            reply = pa.table({}).replace_schema_metadata({"error": describe_error(error, path)})
        with pa.ipc.new_stream(out, reply.schema) as stream:
            stream.write_table(reply)
        out.flush()


def load_reader_function(path: str, name: str) -> Callable[[str], Any]:
    """Import the file, which may import its neighbours, and find its function."""
    place, file = os.path.split(path)
    spec = importlib.util.spec_from_file_location("hven_reader", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, place)
    spec.loader.exec_module(module)
    function: Callable[[str], Any] = vars(module)[name]
    return function


def to_arrow_table(result: Any) -> pa.Table:
    """Build a table from the result of a function.

    A table, a batch, or arrays by name, those of two dimensions as spectra.
    """
    if isinstance(result, pa.RecordBatch):
        return pa.Table.from_batches([result])
    if isinstance(result, pa.Table):
        return result
    return pa.table(to_arrow_arrays(result))


def to_arrow_arrays(arrays_by_name: Mapping[str, Any]) -> dict[str, pa.Array]:
    """Convert numpy arrays to Arrow."""
    arrow_arrays = {}
    for name, values in arrays_by_name.items():
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = pa.array(values.astype(values.dtype.newbyteorder("=")).ravel())
            arrow_arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            arrow_arrays[name] = pa.array(values)
    return arrow_arrays


def describe_error(error: BaseException, path: str) -> str:
    """Describe an error with the deepest line of the curator's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    # starts quicker without pathlib
    location = f"{os.path.basename(path)}, line {lines[-1]}: " if lines else ""  # noqa: PTH119
    return f"{location}{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
