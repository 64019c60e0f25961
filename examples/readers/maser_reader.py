"""Reads what maser-data knows (NDA, NenuFAR, Wind, Cassini, Juno, STEREO, e-Callisto, ExPRES ..) for Hven: run by a Python of its own, which has it."""

import json
import os
import re
import sys
import warnings

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what libraries print is no answer
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from maser.data import Data  # noqa: E402


def read(path):
    """Make a table of a file: the time of each spectrum, and its channels under each name."""
    with Data(path) as data:
        found = data.as_xarray().load()
    fields = [pa.field("time", pa.timestamp("us"))]
    columns = [pa.array(found["time"].values.astype("datetime64[us]"))]
    frequency = found.coords.get("frequency")
    changing = frequency is not None and "time" in frequency.dims  # each spectrum has channels of its own
    parts = dict(found.data_vars, **({"frequency": frequency} if changing else {}))
    for name, part in parts.items():
        if "time" not in part.dims or part.ndim > 2 or part.dtype.kind not in "iuf":
            continue
        values = np.ascontiguousarray(part.transpose("time", ...).values)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        column = pa.array(values.ravel())
        said = {"unit": part.attrs.get("units"), "description": part.attrs.get("title")}
        if part.ndim == 2:
            column = pa.FixedSizeListArray.from_arrays(column, values.shape[1])
            if name != "frequency" and frequency is not None:
                centers = "frequency" if changing else np.asarray(frequency.values, float).tolist()
                unit = str(frequency.attrs.get("units") or "MHz")
                said["bins"] = json.dumps({"name": "frequency", "unit": unit, "centers": centers})
        metadata = {key: str(value) for key, value in said.items() if value is not None}
        fields.append(pa.field(re.sub(r"\W+", "_", str(name)), column.type, metadata=metadata))
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields))


last = table = None
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if last != (asked["path"], asked["stamp"]):
            last, table = None, read(asked["path"])
            last = (asked["path"], asked["stamp"])
        some = table if asked["columns"] is None else table.select(asked["columns"])
        some = some.slice(asked["first"], asked["rows"]).replace_schema_metadata({"rows": str(len(table))})
    except Exception as fault:  # noqa: BLE001  (whatever it raises is told)
        some = pa.table({}).replace_schema_metadata({"error": f"{type(fault).__name__}: {fault}"})
    with pa.ipc.new_stream(out, some.schema) as stream:
        stream.write_table(some)
    out.flush()
