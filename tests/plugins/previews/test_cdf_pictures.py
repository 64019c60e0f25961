"""Pictures of CDF files show their data variables, not the variables that support these."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hven.formats.media import open_product
from hven.plugins.previews.pictures import PictureStyle, curves
from hven.plugins.previews.pictures.file_pictures import draw_product
from product_files import write_istp_cdf


@pytest.mark.parametrize("support", ["support_data", "metadata"])
def test_data_variables_are_drawn(tmp_path: Path, support: str) -> None:
    times = 694_224_069_184_000_000 + np.arange(50) * 4_000_000_000
    over = {"DEPEND_0": "Epoch", "DEPEND_1": "channels"}
    channels = np.broadcast_to(np.arange(1.0, 9.0), (50, 8)).copy()
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {
            "Epoch_hk": (times, "support_data", {}),
            "rate_hk": (np.arange(50.0), support, {"DEPEND_0": "Epoch_hk"}),
            "Epoch": (times, "support_data", {}),
            "rate_position": (np.arange(50.0), support, {"DEPEND_0": "Epoch", "UNITS": "km"}),
            "channels": (channels, "support_data", {"DEPEND_0": "Epoch", "UNITS": "eV"}),
            "mode_rates": (channels + 1.0, support, over),
            "b": (np.arange(50.0) ** 2, "data", {"DEPEND_0": "Epoch", "UNITS": "nT"}),
            "spectra": (channels**2, "data", over),
        },
    )
    with open_product(path) as product:
        assert curves.create_table_curve(product.find_part("Epoch")).axis_labels[1] == "b (nT)"
        drawn = draw_product(dataclasses.replace(product, parts=product.arrays), PictureStyle(), "a.cdf")
        assert "spectra" in drawn.description
        with pytest.MonkeyPatch.context() as patch:  # what is drawn of tables alone
            patch.setattr(product, "parts", tuple(part for part in product.parts if part not in product.arrays))
            assert "part 1 Epoch" in draw_product(product, PictureStyle(), "a.cdf").description
