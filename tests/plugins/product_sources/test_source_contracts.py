"""FITS tables and FITS headers keep the contract of sources."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from hven.testing.source import SourceContract
from number_writers import write_numbers

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "Deneb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]


class TestFitsTable(SourceContract):
    kind = "fits"
    rows = ROWS

    def write_source_files(self, directory):
        columns = [
            fits.Column("name", "6A", array=["Vega", "Deneb", ""]),
            fits.Column("ra", "D", unit="deg", array=[279.23, 310.36, np.nan]),
            fits.Column("n", "J", array=[1, 2, 3]),
        ]
        fits.BinTableHDU.from_columns(columns).writeto(directory / "stars.fits", overwrite=True)
        return {"files": "stars.fits"}

    def write_number_files(self, directory, values):
        return write_numbers("fits", directory, values)


class TestFitsHeader(SourceContract):
    kind = "fits"
    rows = [
        {"OBJECT": "Sun", "EXPTIME": 1.5, "NAXIS": 0},
        {"OBJECT": "Moon", "EXPTIME": 2.0, "NAXIS": 0},
        {"OBJECT": None, "EXPTIME": None, "NAXIS": 0},
    ]

    def write_source_files(self, directory):
        for number, row in enumerate(self.rows):
            header = fits.Header({key: value for key, value in row.items() if value is not None and key != "NAXIS"})
            fits.PrimaryHDU(header=header).writeto(directory / f"{number}.fits", overwrite=True)
        return {"files": "*.fits", "mode": "header", "cards": ["OBJECT", "EXPTIME", "NAXIS"]}

    def test_input_versions_name_what_was_read(self, tmp_path):
        """Only headers are read, so there is no checksum, and the pin says so."""
        source = self.open_source(tmp_path)
        self.read_source_table(source)
        files = source.list_files().num_rows
        assert [pin.detail for pin in source.list_input_versions()] == ["header only"] * files
        assert (source.estimate_progress_total(), source.count_progress_units()) == (files, files)
