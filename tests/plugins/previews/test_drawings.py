"""Pictures that are drawn once and kept."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hven.plugins.previews import drawings
from hven.plugins.previews.pictures import PictureStyle
from hven.services.api.files import DerivedFileStore

SMALL = PictureStyle(size=32, axes=False)


@pytest.fixture
def picture(tmp_path: Path) -> list[tuple[Path, str]]:
    fits.PrimaryHDU(np.arange(100.0).reshape(10, 10)).writeto(tmp_path / "made.fits")
    return [(tmp_path / "made.fits", "made.fits")]


def test_requested_pictures_are_kept(tmp_path: Path, picture: list[tuple[Path, str]]) -> None:
    shelf = DerivedFileStore(tmp_path / "shelf", 3000)
    body = drawings.get_or_draw_picture(shelf, "aa1", picture, SMALL)
    assert drawings.find_picture(shelf, "aa1") == body
    assert drawings.find_picture(shelf, "aa2") is None
    for at in range(30):
        drawings.get_or_draw_picture(shelf, f"b{at:02}", picture, SMALL)
        drawings.find_picture(shelf, "aa1")
    shelf.remove_old_files()
    assert sum(one.stat().st_size for one in (tmp_path / "shelf").rglob("*.png")) <= 3000
    assert drawings.find_picture(shelf, "aa1") == body


def test_a_picture_is_given_though_the_disk_is_full(tmp_path: Path, picture: list[tuple[Path, str]]) -> None:
    (tmp_path / "shelf").write_bytes(b"no folder can be made here")
    shelf = DerivedFileStore(tmp_path / "shelf", 3000)
    assert drawings.get_or_draw_picture(shelf, "aa1", picture, SMALL).startswith(b"\x89PNG")
    assert drawings.find_picture(shelf, "aa1") is None
