"""What this package adds: three media of product files, and the files of them that sources recognise."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="array_files",
    title="Open files of named arrays: CDF, netCDF, HDF5 and IDL SAVE",
    media={
        "cdf": "hven.plugins.array_files.cdf",
        "netcdf": "hven.plugins.array_files.netcdf",
        "sav": "hven.plugins.array_files.sav",
    },
    files=(
        FileSignature(
            kind="product",
            extensions=("cdf", "nc", "nc4", "h5", "hdf5", "sav", "idlsav"),
            leading_pattern=(
                rb"\xcd\xf3\x00\x01|\xcd\xf2\x60\x02|\x00\x00\xff\xff\x00\x00\xff\xff"
                rb"|\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]"
                rb"|SR\x00[\x04\x06]"
            ),
        ),
    ),
)
