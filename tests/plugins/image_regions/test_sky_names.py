"""What this package adds to `hven.sky`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hven import sky
from hven.plugins.image_regions.plugin import PLUGIN

SHORT = {  # what people write who have one of something
    "sky.chain_codes('44660022', 500, 500, DISC).regions": 1,
    "sky.boxes(0, 0, 1, 1, DISC).regions": 1,
    "sky.masks([[0, 7], [7, 7]], 7, sky.Disc(0.5, 0.5, 2.0, 2.0, 944.0, 0, 0)).regions": 1,
    "sky.sun.compute_solar_ephemeris(['2009-01-01', '2009-01-02T12:00:00']).l0": 2,
}
NAMES = {"sky": sky, "DISC": sky.Disc(512, 512, 2.63, 2.63, 944.0, 0, 0)}


@pytest.mark.parametrize("text", SHORT)
def test_one_of_something_need_not_be_a_column(text: str) -> None:
    found = eval(text, NAMES)
    assert len(found) == SHORT[text]
    assert not hasattr(found, "is_valid") or found.is_valid().all()


def test_its_names_are_public() -> None:
    assert set(PLUGIN.sky_names) <= set(sky.__all__)
    assert set(sky.__all__) == set(dir(sky))


def test_without_the_package_a_name_tells_where_it_is() -> None:
    code = "from hven import sky; print(sky.Regions); sky.Disc"
    environment = {**os.environ, "HVEN_PLUGINS": "hats"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "'Disc' belongs to the plug-in package image_regions" in done.stderr
    assert "Regions" in done.stdout
