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

TIMES = 694_224_069_184_000_000 + np.arange(50) * 4_000_000_000


@pytest.mark.parametrize("support", ["support_data", "metadata"])
def test_data_variables_are_drawn(tmp_path: Path, support: str) -> None:
    over = {"DEPEND_0": "Epoch", "DEPEND_1": "channels"}
    channels = np.broadcast_to(np.arange(1.0, 9.0), (50, 8)).copy()
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {
            "Epoch_hk": (TIMES, "support_data", {}),
            "rate_hk": (np.arange(50.0), support, {"DEPEND_0": "Epoch_hk"}),
            "Epoch": (TIMES, "support_data", {}),
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


@pytest.mark.parametrize(
    ("stated", "first", "kind", "words"),
    [
        ("log", 1.0, "log", ""),
        ("log", 0.0, "log", ", without 1 values that are not above 0"),
        ("log", -1e6, "", ""),
        ("linear", 1.0, "", ""),
    ],
)
def test_lines_have_the_scale_that_the_file_states(
    tmp_path: Path, stated: str, first: float, kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = first + np.arange(50.0) ** 3
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {"Epoch": (TIMES, "support_data", {}), "flux": (values, "data", {"DEPEND_0": "Epoch", "SCALETYP": stated})},
    )
    frames = []
    create = curves.create_curve_canvas

    def watch(look: PictureStyle, x: tuple[float, float], y: tuple[float, float], kinds: tuple[str, str]) -> object:
        frames.append((y, kinds[1]))
        return create(look, x, y, kinds)

    monkeypatch.setattr(curves, "create_curve_canvas", watch)
    with open_product(path) as product:
        curve = curves.create_table_curve(product.find_part("Epoch"))
        _, description = curves.draw_curve(curve, PictureStyle(), "a.cdf")
    ((low, high), drawn_kind) = frames[0]
    assert drawn_kind == kind
    assert description == f"part 0 Epoch{words}"
    if kind:
        assert low < 0 < high < 6


@pytest.mark.parametrize(
    ("stated", "axis", "normalization"),
    [("log", "log", "logarithms"), ("linear", "linear", "each channel less its median")],
)
def test_spectrograms_have_the_scales_that_the_file_states(
    tmp_path: Path, stated: str, axis: str, normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For both, the guess would be the opposite: narrow and wide ranges."""
    rng = np.random.default_rng(3)
    wide = stated == "linear"
    channels = np.geomspace(1.0, 1000.0, 8) if wide else np.arange(10.0, 18.0)
    values = 10.0 ** rng.uniform(0, 5 if wide else 0.1, (50, 8))
    over = {"DEPEND_0": "Epoch", "DEPEND_1": "energy", "SCALETYP": stated}
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {
            "Epoch": (TIMES, "support_data", {}),
            "energy": (
                np.tile(channels, (50, 1)),
                "support_data",
                {"DEPEND_0": "Epoch", "UNITS": "keV", "SCALETYP": axis},
            ),
            "flux": (values, "data", over),
        },
    )
    kinds = []
    create = curves.create_curve_canvas
    monkeypatch.setattr(curves, "create_curve_canvas", lambda *given: kinds.append(given[3]) or create(*given))
    with open_product(path) as product:
        (array,) = (part for part in product.arrays if part.name == "flux")
        axes = curves.find_dynamic_spectrum_axes(array)
        _, description = curves.draw_dynamic_spectrum(array, axes, PictureStyle(), "a.cdf")
    assert normalization in description
    assert kinds[0][1] == ("log" if axis == "log" else "")
