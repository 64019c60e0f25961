"""Pictures survive their encoding as PNG, with and without a palette."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hven.formats.api.png_pictures import encode_png


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_survive(channels: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (17, 31, 4)).astype("uint8")
    if channels == 3:
        pixels[..., 3] = 255
    picture = Image.open(io.BytesIO(encode_png(pixels)))
    assert len(picture.getbands()) == channels
    assert (np.asarray(picture.convert("RGBA")) == pixels).all()


@pytest.mark.parametrize(("colour_count", "is_opaque"), [(1, True), (5, False), (256, True), (256, False)])
def test_colours_of_a_palette_survive(colour_count: int, is_opaque: bool) -> None:
    random = np.random.default_rng(3)
    palette = random.integers(0, 255, (colour_count, 4)).astype("uint8")
    if is_opaque:
        palette[:, 3] = 255
    numbers = random.integers(0, colour_count, (17, 31)).astype("uint8")
    picture = Image.open(io.BytesIO(encode_png(numbers, palette)))
    assert picture.mode == "P"
    assert ("transparency" in picture.info) is not is_opaque
    assert (np.asarray(picture.convert("RGBA")) == palette[numbers]).all()
