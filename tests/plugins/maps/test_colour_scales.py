"""Colours of values: the files of ``gdaldem color-relief``, and opacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hven.model.errors import SourceError
from hven.plugins.maps.colour_scales import (
    MAX_COLOUR_ERROR,
    MAX_PALETTE_COLOURS,
    NAMED_SCALES,
    ColourScale,
    read_colour_scale,
)

RELIEF = """\
# heights of Mars
nv 0 0 0 0
-8000, 0, 0, 128
0\t0 255 0 128
25% : yellow
100% #ff000080
"""


def test_a_colour_relief_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "relief.txt").write_text(RELIEF)
    scale = read_colour_scale(["relief.txt"], tmp_path, None, (-8000.0, 20000.0))
    assert scale.values == (-8000.0, -1000.0, 0.0, 20000.0)
    assert scale.colours == ((0, 0, 128, 255), (255, 255, 0, 255), (0, 255, 0, 128), (255, 0, 0, 128))
    names = [name for name, _ in scale.list_colour_stops()]
    assert names == ["#000080", "#ffff00", "#00ff0080", "#ff000080"], "what is shown keeps its opacity"
    colours = scale.find_colours(np.array([[-9000.0, 10000.0, 0.0]]), np.array([[True, True, False]]))
    assert colours[0, 0].tolist() == [0, 0, 128, 255], "lower values have the first colour"
    assert np.abs(colours[0, 1].astype(int) - [128, 128, 0, 128]).max() <= MAX_COLOUR_ERROR
    assert colours[0, 2].tolist() == [0, 0, 0, 0], "pixels without data are transparent"


@pytest.mark.parametrize("colour", ["#ff000080", "#f008", "255 0 0 128"])
def test_stops_keep_their_opacity(tmp_path: Path, colour: str) -> None:
    scale = read_colour_scale([f"0 {colour}", "1 white"], tmp_path, None, (0.0, 1.0))
    assert scale.colours[0][:3] == (255, 0, 0)
    assert scale.colours[0][3] in {128, 0x88}
    assert scale.colours[1] == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["0 red", "1 256 0 0"], "line 2 of the colour scale cannot be read"),
        (["0 red", "1 0 0"], "line 2 of the colour scale cannot be read"),
        (["0 red", "x red"], "line 2 of the colour scale cannot be read"),
        (["0 red", "0 blue"], "at least two values"),
        (["../relief.txt"], "there is no colour scale"),
    ],
)
def test_wrong_scales_are_refused_with_a_reason(tmp_path: Path, texts: list[str], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_colour_scale(texts, tmp_path, None, (0.0, 1.0))


def find_colour_error(scale: ColourScale) -> float:
    """Find how far colours are from those between the stops, 0 to 255."""
    values = np.linspace(scale.values[0], scale.values[-1], 3001)
    found = scale.find_colours(values, np.ones(values.shape, dtype=bool))
    expected = [np.interp(values, scale.values, channel) for channel in zip(*scale.colours, strict=True)]
    return float(np.abs(found - np.stack(expected, axis=1)).max())


@pytest.mark.parametrize(
    "texts", [*([name] for name in NAMED_SCALES), ["-8000 blue", "0 #00f8", "0.5 white", "9000 red"]]
)
def test_few_colours_are_enough_for_scales(tmp_path: Path, texts: list[str]) -> None:
    scale = read_colour_scale(texts, tmp_path, None, (-8000.0, 9000.0))
    assert len(scale.build_palette()) <= MAX_PALETTE_COLOURS
    if len(texts) == 1:
        assert find_colour_error(scale) <= MAX_COLOUR_ERROR + 0.6
    colours = scale.find_colours(np.array([-8000.0, 9000.0]), np.array([True, True]))
    assert colours.tolist() == [list(scale.colours[0]), list(scale.colours[-1])]


def test_scales_with_many_colours_keep_them(tmp_path: Path) -> None:
    scale = read_colour_scale(
        [f"{value} {'red' if value % 2 else 'blue'}" for value in range(30)], tmp_path, None, (0, 1)
    )
    assert len(scale.build_palette()) > MAX_PALETTE_COLOURS
    assert find_colour_error(scale) <= 2.5


def test_codes_have_exactly_their_colours(tmp_path: Path) -> None:
    colours = tuple((value, 255 - value, 7, 255) for value in range(256))
    scale = ColourScale(tuple(map(float, range(256))), colours, are_codes=True)
    found = scale.find_colours(np.arange(256), np.arange(256) > 0)
    assert found[1:].tolist() == [list(colour) for colour in colours[1:]]
    assert found[0].tolist() == [0, 0, 0, 0]
