"""The kind of source `product` keeps the contract of sources with files of named arrays."""

from __future__ import annotations

import numpy as np

from hven.testing.source import SourceContract


def _sample_cdf(place, number, title):
    from cdflib import cdfwrite

    file = cdfwrite.CDF(place, cdf_spec={"Compressed": 0}, delete=True)
    file.write_globalattrs({"TITLE": {0: title}, "Version": {0: [number, "CDF_INT4"]}})
    spec = {"Variable": "Epoch", "Data_Type": 31, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": []}
    file.write_var(spec, var_attrs={"UNITS": "ms"}, var_data=np.array([729_166.0, 729_167.0]) * 86_400e3)
    spec = {"Variable": "B", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": []}
    file.write_var(spec, var_attrs={"UNITS": "nT", "DEPEND_0": "Epoch"}, var_data=np.array([1.5, 2.5], "f4") * number)
    file.close()


class TestProductHeader(SourceContract):
    kind = "product"
    rows = [{"TITLE": "field of 1", "Version": "1"}, {"TITLE": "field of 2", "Version": "2"}]

    def write_source_files(self, directory):
        for number in (1, 2):
            _sample_cdf(directory / f"{number}.cdf", number, f"field of {number}")
        return {"files": "*.cdf"}

    def test_input_versions_name_what_was_read(self, tmp_path):
        """Only headers are read, so there is no checksum, and the pin says so."""
        source = self.open_source(tmp_path)
        self.read_source_table(source)
        files = source.list_files().num_rows
        assert [pin.detail for pin in source.list_input_versions()] == ["header only"] * files
        assert (source.estimate_progress_total(), source.count_progress_units()) == (files, files)


class TestProductVariables(TestProductHeader):
    rows = [
        {"name": name, "type": kind, "sizes": "2", "UNITS": unit, "DEPEND_0": epoch}
        for _ in (1, 2)
        for name, kind, unit, epoch in (("Epoch", "CDF_EPOCH", "ms", None), ("B", "CDF_FLOAT", "nT", "Epoch"))
    ]

    def write_source_files(self, directory):
        return super().write_source_files(directory) | {"mode": "variables"}


class TestProductTable(TestProductHeader):
    rows = [
        {"Epoch": when - 678_941.0, "B": field} for number in (1, 2) for when, field in ((729_166.0, 1.5 * number), (729_167.0, 2.5 * number))
    ]  # fmt: skip
    test_input_versions_name_what_was_read = SourceContract.test_input_versions_name_what_was_read

    def write_source_files(self, directory):
        return super().write_source_files(directory) | {"part": "Epoch"}
