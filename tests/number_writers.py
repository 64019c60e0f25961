"""Write a column ``v`` of numbers in each file format that can hold it; `CARRIERS` lists what a format cannot hold."""

from __future__ import annotations

import io
import json
import math
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table as AstropyTable

from hven.formats import ResultStatus, TableMetadata, load_format
from hven.model.table import Column
from hven.model.types import parse_type
from plugin_needs import require_plugins


def name_type(values):
    """Return the type of numbers: int64, uint64, object (larger integers) or float64."""
    some = [value for value in values if value is not None]
    if any(isinstance(value, float) for value in some):
        return "float64"
    if all(-(2**63) <= value < 2**63 for value in some):
        return "int64"
    return "uint64" if all(0 <= value < 2**64 for value in some) else "object"


def format_texts(values):
    return ["" if value is None else repr(value) for value in values]


def write_delimited(directory, values, mark=","):
    (directory / "v.csv").write_text(f"i{mark}v\n" + "".join(f"x{mark}{text}\n" for text in format_texts(values)))
    return {"files": "v.csv", "delimiter": mark}


def write_fixed(directory, values):
    (directory / "v.dat").write_text("".join(f"x{text:>30}\n" for text in format_texts(values)))
    return {"files": "v.dat", "fields": {"i": 1, "v": "2-31"}}


def write_json_lines(directory, values):
    (directory / "v.jsonl").write_text("".join(json.dumps({"v": value}) + "\n" for value in values))
    return {"files": "v.jsonl"}


def build_array(values):
    return pa.array(values, getattr(pa, name_type(values))())


def write_parquet(directory, values):
    pq.write_table(pa.table({"v": build_array(values)}), directory / "v.parquet")
    return {"files": "v.parquet"}


def write_votable(directory, values, serialization="TABLEDATA"):
    column = Column(name="v", type=parse_type(name_type(values)))
    batch = pa.RecordBatch.from_arrays([build_array(values)], names=["v"])
    written = load_format("votable").write(
        TableMetadata(columns=[column]),
        iter([batch]),
        lambda: ResultStatus(row_count=len(values)),
        {"serialization": serialization},
    )
    (directory / "v.vot").write_bytes(b"".join(written))
    return {"files": "v.vot"}


def write_fits_binary(directory, values):
    kind = name_type(values)
    if kind == "float64":
        columns = [fits.Column("v", "D", array=np.array([math.nan if value is None else value for value in values]))]
        fits.BinTableHDU.from_columns(columns).writeto(directory / "v.fits", overwrite=True)
        return {"files": "v.fits"}
    null = next(at for at in range(11, 10**6) if at not in values)
    whole = np.array([null if value is None else value for value in values], kind)
    if kind == "uint64":
        AstropyTable({"v": whole}).write(directory / "v.fits", overwrite=True)
        shift = 2**63
    else:
        fits.BinTableHDU.from_columns([fits.Column("v", "K", array=whole)]).writeto(
            directory / "v.fits", overwrite=True
        )
        shift = 0
    with fits.open(directory / "v.fits", mode="update", do_not_scale_image_data=True, uint=False) as hdus:
        hdus[1].header["TNULL1"] = null - shift
    return {"files": "v.fits"}


def write_fits_ascii(directory, values):
    cells = "".join(f"{'NULL' if value is None else repr(value):>30}" for value in values).encode()
    header = fits.Header()
    header["XTENSION"], header["BITPIX"], header["NAXIS"] = "TABLE", 8, 2
    header["NAXIS1"], header["NAXIS2"], header["PCOUNT"], header["GCOUNT"], header["TFIELDS"] = 30, len(values), 0, 1, 1
    header["TFORM1"], header["TTYPE1"] = "E30.0" if name_type(values) == "float64" else "I30", "v"
    header["TBCOL1"], header["TNULL1"] = 1, "NULL"
    data = fits.PrimaryHDU().header.tostring() + header.tostring()
    (directory / "v.fits").write_bytes(data.encode() + cells.ljust(-(-len(cells) // 2880) * 2880))
    return {"files": "v.fits"}


def write_sqlite(directory, values):
    (directory / "v.db").unlink(missing_ok=True)
    kind = "REAL" if name_type(values) == "float64" else "INTEGER"
    with sqlite3.connect(directory / "v.db") as connection:
        connection.execute(f"CREATE TABLE t (i INTEGER PRIMARY KEY, v {kind})")
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(values, 1)))
    connection.close()
    return {"file": "v.db", "table": "t"}


def write_hdf5(directory, values):
    require_plugins("media", "netcdf")
    import h5py

    kind = name_type(values)
    made = np.zeros(len(values), [("i", "i4"), ("v", kind)])
    made["v"] = [math.nan if value is None else value for value in values]
    with h5py.File(directory / "v.h5", "w") as file:
        file["t"] = made
    return {"files": "v.h5", "part": "t"}


def write_netcdf(directory, values):
    require_plugins("media", "netcdf")
    import h5netcdf

    kind = name_type(values)
    gone = [value is None for value in values]
    fill = math.nan if kind == "float64" else next(at for at in range(11, 10**6) if at not in values)
    with h5netcdf.File(directory / "v.nc", "w") as file:
        file.dimensions = {"t": len(values)}
        made = file.create_variable(
            "v", ("t",), kind, data=np.array([fill if value is None else value for value in values], kind)
        )
        if any(gone) and kind != "float64":
            made.attrs["_FillValue"] = np.array(fill, kind)
    return {"files": "v.nc", "part": "0"}


def write_cdf(directory, values):
    require_plugins("media", "cdf")
    import cdflib.cdfwrite

    kind = name_type(values)
    (directory / "v.cdf").unlink(missing_ok=True)
    fill = -1e31 if kind == "float64" else next(at for at in range(11, 10**6) if at not in values)
    made = np.array([fill if value is None else value for value in values], kind)
    file = cdflib.cdfwrite.CDF(str(directory / "v.cdf"))
    spec = {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": []}
    moments = np.arange(len(values)) * 1e3 + 6.3e13
    file.write_var({"Variable": "Epoch", "Data_Type": 31, **spec}, {"UNITS": "ms"}, moments)
    file.write_var({"Variable": "v", "Data_Type": 45 if kind == "float64" else 8, **spec}, {"DEPEND_0": "Epoch", "FILLVAL": [fill, "CDF_DOUBLE" if kind == "float64" else "CDF_INT8"]}, made)  # fmt: skip
    file.close()
    return {"files": "v.cdf", "part": "Epoch"}


# name -> kind of the source, writer, the types that the carrier has, what it has no word for
CARRIERS = {
    "csv": ("csv", write_delimited, {"int64", "uint64", "object", "float64"}, ()),
    "tsv": ("csv", lambda directory, values: write_delimited(directory, values, "\t"), {"int64", "uint64", "object", "float64"}, ()),
    "fixed": ("fixed", write_fixed, {"int64", "uint64", "object", "float64"}, ()),
    "json": ("json", write_json_lines, {"int64", "uint64", "object", "float64"}, ("infinite", "nan")),
    "parquet": ("parquet", write_parquet, {"int64", "uint64", "float64"}, ()),
    "votable-td": ("votable", write_votable, {"int64", "float64"}, ()),
    "votable-b": ("votable", lambda directory, values: write_votable(directory, values, "BINARY"), {"int64", "float64"}, ()),
    "votable-b2": ("votable", lambda directory, values: write_votable(directory, values, "BINARY2"), {"int64", "float64"}, ()),
    "fits": ("fits", write_fits_binary, {"int64", "uint64", "float64"}, ()),
    "fits-ascii": ("fits", write_fits_ascii, {"int64", "uint64", "object", "float64"}, ("infinite", "nan")),
    "sqlite": ("sql", write_sqlite, {"int64", "float64"}, ("nan",)),
    "hdf5": ("product", write_hdf5, {"int64", "uint64", "float64"}, ("null",)),
    "netcdf": ("product", write_netcdf, {"int64", "uint64", "float64"}, ()),
    "cdf": ("product", write_cdf, {"int64", "float64"}, ()),
}  # fmt: skip


def write_numbers(name, directory, values):
    """Write the values if the format can hold them; return the options of its source, or None."""
    _, write, kinds, lacking = CARRIERS[name]
    lacks = {
        "null": None in values and name_type(values) != "float64",
        "infinite": any(isinstance(value, float) and math.isinf(value) for value in values),
        "nan": any(isinstance(value, float) and math.isnan(value) for value in values),
    }
    if name_type(values) not in kinds or any(lacks[word] for word in lacking):
        return None
    return write(directory, values)


def write_arrow_stream(values):
    """Write an Arrow stream as another program would."""
    table = pa.table({"v": build_array(values)})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()
