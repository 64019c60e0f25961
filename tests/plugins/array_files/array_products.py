"""Small files of named arrays with a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from product_files import SEED


def write_array_product(medium: str, folder: Path) -> Path:
    """Write a product of a medium (a key of `ARRAY_PRODUCT_WRITERS`) into a folder; return the file to open."""
    return ARRAY_PRODUCT_WRITERS[medium](folder, np.random.default_rng(SEED))


def _write_cdf(folder: Path, rng: np.random.Generator) -> Path:
    """Write a compressed series of TT2000 with a vector and a spectrogram."""
    from cdflib import cdfwrite

    path = folder / "made.cdf"
    made = cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"})
    made.write_globalattrs({"TITLE": {0: "A field and its fluxes"}})

    def variable(name: str, kind: int, values: np.ndarray, **attributes: object) -> None:
        spec = {"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": attributes.pop("varies", True), "Dim_Sizes": list(values.shape[1:]), "Compress": 6}  # fmt: skip
        made.write_var(spec, var_attrs=attributes, var_data=values)

    times = 694_224_069_184_000_000 + np.arange(200) * 4_000_000_000  # nanoseconds of TT since J2000: in 2022
    variable("Epoch", 33, times, FIELDNAM="time", VAR_TYPE="support_data")
    variable("B", 44, rng.normal(0.0, 5.0, (200, 3)).astype("f4"), UNITS="nT", DEPEND_0="Epoch", FILLVAL=np.float32(-1e31), VAR_TYPE="data")  # fmt: skip
    variable("flux", 44, rng.gamma(2.0, 3.0, (200, 16)).astype("f4"), UNITS="1/(cm2 s sr keV)", DEPEND_0="Epoch", FILLVAL=np.float32(-1e31), VAR_TYPE="data")  # fmt: skip
    made.close()
    return path


def _write_netcdf(folder: Path, rng: np.random.Generator) -> Path:
    """Write a field over time, latitude and longitude, as scaled integers."""
    import h5netcdf

    path = folder / "made.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 6, "lat": 10, "lon": 12}
        file.create_variable("time", ("time",), "f8", data=np.arange(6.0)).attrs["units"] = "hours since 2001-02-03"
        for name, unit, values in (("lat", "degrees_north", np.linspace(-90, 90, 10)), ("lon", "degrees_east", np.arange(12) * 30.0)):  # fmt: skip
            file.create_variable(name, (name,), "f8", data=values).attrs["units"] = unit
        field = file.create_variable("t", ("time", "lat", "lon"), "i2", data=rng.integers(-99, 99, (6, 10, 12)).astype("i2"), fillvalue=np.int16(-100))  # fmt: skip
        field.attrs.update(scale_factor=np.float32(0.5), units="K")
    return path


ARRAY_PRODUCT_WRITERS: dict[str, Callable[[Path, np.random.Generator], Path]] = {
    "cdf": _write_cdf,
    "netcdf": _write_netcdf,
}
