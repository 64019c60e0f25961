"""Reads spectra from .npy files, for Hven: a line of JSON on standard input, an Arrow IPC stream on standard output."""

import json
import os
import sys

import numpy as np
import pyarrow as pa

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # libraries that print must not write into the answers


def read(path):
    found = np.load(path)
    flux = pa.FixedSizeListArray.from_arrays(pa.array(found["flux"].ravel()), found["flux"].shape[1])
    bins = {"name": "frequency", "unit": "MHz", "centers": np.linspace(10, 80, found["flux"].shape[1]).tolist()}
    said = {"unit": "Jy", "description": "Flux density", "bins": json.dumps(bins)}
    fields = [pa.field("time", pa.timestamp("us")), pa.field("flux", flux.type, metadata=said)]
    return pa.table([pa.array(np.array(found["time"])), flux], schema=pa.schema(fields))


last = table = None
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if last != (asked["path"], asked["stamp"]):
            table, last = read(asked["path"]), (asked["path"], asked["stamp"])
        some = table if asked["columns"] is None else table.select(asked["columns"])
        some = some.slice(asked["first"], asked["rows"]).replace_schema_metadata({"rows": str(len(table))})
    except Exception as fault:  # noqa: BLE001 - Hven reports whatever is wrong with a file
        some = pa.table({}).replace_schema_metadata({"error": f"{type(fault).__name__}: {fault}"})
    with pa.ipc.new_stream(out, some.schema) as stream:
        stream.write_table(some)
    out.flush()
