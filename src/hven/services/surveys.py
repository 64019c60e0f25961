"""HiPS that are made here of a collection's images: how, where they lie, and who sees them: whoever may take all of these images.

Common
------
settings, around
    The site's.
who
    The reader, by whose rights images are taken.
collection, name
    Under which it is published.
found
    The HiPS.
"""

from __future__ import annotations

import fnmatch
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from hven.formats.media import medium_of
from hven.formats.pictures import Look, cube_survey, on_sky, survey
from hven.model.clock import Task
from hven.model.errors import HvenError, NotFound, ParamError, SourceError, UserError, say
from hven.services import elsewhere, filed
from hven.services._unfinished import left

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.formats.media import Place
    from hven.model.settings import Settings
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
FILE = re.compile(
    r"properties|Moc\.fits|Norder3/Allsky\.(png|fits)|Norder\d{1,2}/Dir\d{1,12}/Npix\d{1,14}\.(png|fits)"
    r"|Norder\d{1,2}_\d{1,2}/Dir\d{1,12}_\d{1,17}/Npix\d{1,14}_\d{1,17}\.fits"
)
ALADIN = Path("/usr/share/java/aladin.jar")  # of Debian's package `aladin`
MADE = "made.json"
ASKED = 10.0  # seconds for which it is known who sees one
LARGE = 2_000_000_000  # bytes of images from which on Hipsgen makes it, where it is installed
_TIME = re.compile(rb"\((\d{1,3}(?:\.\d+)?)%\)")
_OWN = re.compile(r"hipsgen_|hips_service_url|hips_status|creator_did")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A HiPS that was made.

    Attributes
    ----------
    collection, name
        By which it is asked for.
    place
        Where its files are.
    files
        Paths of the images that it is made of.
    left_out
        Why others are not in it, by path.
    properties
        What it says of itself.
    tiles
        How many of all orders.
    """

    collection: str
    name: str
    place: Path
    files: tuple[str, ...]
    left_out: Mapping[str, str]
    properties: Mapping[str, str]
    tiles: int


def made(settings: Settings, collection: str | None = None) -> Iterator[Made]:
    """Yield the HiPS that are there.

    Parameters
    ----------
    collection
        Of this one alone; None: of all.
    """
    for link in sorted((settings.var / "hips").glob(f"{collection or '*'}/*")):
        found = one(settings, link.parent.name, link.name) if link.is_symlink() else None
        if found is not None:
            yield found


def one(settings: Settings, collection: str, name: str) -> Made | None:
    """Return one; None: there is none of that name."""
    if not NAME.fullmatch(name) or "/" in collection or collection in {".", ".."}:
        return None
    try:
        place = (settings.var / "hips" / collection / name).resolve(strict=True)
        said = orjson.loads((place / MADE).read_bytes())
    except (OSError, ValueError):
        return None
    return Made(collection=collection, name=name, place=place, **{**said, "files": tuple(said["files"])})


class _Known(dict[Any, Any]):
    """Who saw which HiPS a moment ago."""


def visible(around: Surroundings, who: Reader, found: Made) -> bool:
    """Return whether a reader may take all images that a HiPS is made of."""
    known: _Known = around.site.kept(_Known)
    key = found.place, who, around.site.current().version
    answer, until = known.get(key, (False, 0.0))
    if until < time.monotonic():
        if len(known) > 1000:
            known.clear()
        try:
            taken = filed.asked(around, who, found.collection, found.files)
            answer = len(taken.rows) == len(found.files)
        except HvenError:
            answer = False
        known[key] = answer, time.monotonic() + ASKED
    return bool(answer)


def address(base: str, found: Made) -> str:
    """Return where a HiPS is had.

    Parameters
    ----------
    base
        Of the site.
    """
    return f"{base}/collections/{quote(found.collection)}/hips/{found.name}"


def make(
    around: Surroundings,
    who: Reader,
    collection: str,
    name: str,
    *,
    patterns: Sequence[str] = (),
    title: str = "",
    order: int | None = None,
    look: Look | None = None,
    program: str | None = None,
    task: Task = Task(),  # noqa: B008  (it is frozen)
) -> Made:
    """Make a HiPS of a collection's images; it is there, whole, when this returns, or as it was before.

    Parameters
    ----------
    name
        Another one that is called so goes.
    patterns
        Of paths of images; empty: all.
    title
        For people; empty: that of the collection.
    order
        Of the finest tiles; None: as fine as the finest image.
    look
        Colours of the pictures.
    program
        ``hven`` or ``hipsgen``; None: Hipsgen for much, where it is installed.
    task
        What it is told to.

    Returns
    -------
    made
        What it is, and what is not in it.

    Raises
    ------
    ParamError
        The name is none, or no image is called so.
    SourceError
        No image can be used.
    UserError
        Hipsgen is not installed, or it failed.
    Cancelled, FarFault
        It was stopped; a server with images is away.
    """
    if not NAME.fullmatch(name):
        raise ParamError(say("{name!r} cannot be the name of a HiPS", name[:80]), name="NAME", remedy=say("letters, digits, - and _"))  # fmt: skip
    if program == "hipsgen" and not ALADIN.exists():
        raise UserError(say("Hipsgen is not installed"), remedy=say("on Debian: apt-get install aladin"))
    settings = around.site.settings
    paths = [row["path"] for row in filed.listed(around, who, collection)]
    wanted = [path for path in paths if _image(path) and (not patterns or any(fnmatch.fnmatchcase(path, one) for one in patterns))]  # fmt: skip
    if not wanted:
        raise ParamError(say("the collection {name} has no images that are called so", collection), name="FILES", remedy=say("collections/{name}/files lists them", collection))  # fmt: skip
    taken = filed.asked(around, who, collection, wanted)
    files: list[tuple[Place, str]] = []
    left_out: dict[str, str] = {}

    def opened(path: str) -> Place | HvenError:
        try:
            return filed.opened_at(around, who, collection, taken.one(path))
        except HvenError as fault:
            return fault

    for path, place_ in zip(wanted, elsewhere.together(opened, wanted), strict=True):
        if isinstance(place_, HvenError):
            if elsewhere.away(place_):
                raise place_
            left_out[path] = str(place_)
        else:
            files.append((place_, path))
    resource = around.site.current().resources.get(collection)
    said = {"obs_title": title or (resource and resource.title) or collection}
    told_of = {} if resource is None else {"obs_description": resource.description, "obs_copyright": resource.licence, "obs_ack": resource.citation}  # fmt: skip
    said |= {key: " ".join(str(value).split()) for key, value in told_of.items() if value}
    home = settings.var / "hips" / collection
    place = _begun(home, name)
    try:
        size = sum(path.stat().st_size for path, _ in files)
        here = all(isinstance(path, Path) for path, _ in files)
        if program == "hipsgen" or (program is None and here and size > LARGE and ALADIN.exists()):
            done = _hipsgen(files, place, said, order, task)
        else:
            cube = cube_survey(files[0], place, said, order=order, look=look, task=task) if len(files) == 1 else None
            found = cube or survey(files, place, said, order=order, look=look, task=task)
            done = found.properties, found.used, found.left_out, found.tiles
        properties, used, others, tiles = done
        lines = "".join(f"{key:<20} = {value}\n" for key, value in properties.items())
        (place / "properties").write_text(lines, encoding="utf-8")
        facts = {"files": used, "left_out": left_out | others, "properties": properties, "tiles": tiles}
        (place / MADE).write_bytes(orjson.dumps(facts))
        _published(home, name, place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    made = one(settings, collection, name)
    assert made is not None  # noqa: S101  (it was written just now)
    return made


def drop(settings: Settings, collection: str, name: str) -> None:
    """Remove a HiPS.

    Raises
    ------
    NotFound
        There is none.
    """
    found = one(settings, collection, name)
    if found is None:
        raise NotFound(say("the collection {collection} has no HiPS {name}", collection, name[:80]))
    (settings.var / "hips" / collection / name).unlink()
    shutil.rmtree(found.place, ignore_errors=True)


def _image(path: str) -> bool:
    medium = medium_of(path)
    return medium is not None and not medium.beside


def _begun(home: Path, name: str) -> Path:
    """Make a directory to work in; those of processes that died go."""
    home.mkdir(parents=True, exist_ok=True)
    for old in left(home):
        shutil.rmtree(old, ignore_errors=True)
    place = home / f".{os.getpid()}-{name}.{secrets.token_hex(6)}"
    place.mkdir()
    return place


def _published(home: Path, name: str, place: Path) -> None:
    """Let a name lead to what was made, at once, and remove what it led to before."""
    whole = place.rename(home / f"{name}.{secrets.token_hex(6)}")
    old = (home / name).resolve() if (home / name).is_symlink() else None
    link = home / f".{whole.name}"
    link.symlink_to(whole.name)
    link.replace(home / name)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _hipsgen(
    files: Sequence[tuple[Place, str]],
    place: Path,
    said: Mapping[str, str],
    order: int | None,
    task: Task,
) -> tuple[dict[str, str], list[str], dict[str, str], int]:
    """Let Hipsgen make it, of links to those images that we can read; what it says of this machine is left out."""
    images, result, log = place / "images", place / "result", place / "log"
    images.mkdir()
    used, left_out = [], {}
    for at, (path, name) in enumerate(files):
        try:
            on_sky(path, name).close()
            medium = medium_of(name)
            if medium is None or "fits" not in medium.name or not isinstance(path, Path):
                left_out[name] = str(say("Hipsgen reads FITS of this machine alone"))
                continue
        except SourceError as fault:
            left_out[name] = str(fault)
            continue
        (images / f"{at:07}.{'fits.gz' if name.endswith('.gz') else 'fits'}").symlink_to(path)
        used.append(name)
    if not used:
        raise SourceError(say("none of {count} images can be in a HiPS: {reason}", len(files), "; ".join(list(left_out.values())[:3])))  # fmt: skip
    asked = [f"in={images}", f"out={result}", "creator_did=hven/P/made", "mode=AVERAGE"]
    asked += [f"hips_order={order}"] if order is not None else []
    command = ["java", "-Xmx2g", "-Djava.awt.headless=true", f"-Duser.home={place}", "-jar", str(ALADIN), "-hipsgen"]
    with log.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603  (no shell; our own words, and paths of ours)
            [*command, *asked, "INDEX", "TILES", "PNG"], stdout=words, stderr=words, stdin=subprocess.DEVNULL, cwd=place, start_new_session=True,
        )  # fmt: skip
    try:
        while True:
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                pass
            text = log.read_bytes()
            part = 0.6 if b" PNG  " in text else 0.1
            shares = _TIME.findall(text)
            task.go(min(0.99, part + 0.4 * float(shares[-1]) / 100 if shares else part))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found = result / "properties"
    if code or not found.is_file() or not any(result.glob("Norder*/*/*.png")):
        last = re.sub(r"\x1b\[\d+m", "", log.read_text(errors="replace")).replace(str(place), "").strip()
        raise UserError(say("Hipsgen failed: {reason}", " / ".join(last.splitlines()[-3:])[:400]))
    lines = (line.partition("=") for line in found.read_text(errors="replace").splitlines() if "=" in line)
    properties = {key.strip(): value.strip() for key, _, value in lines if not key.startswith("#") and not _OWN.match(key)}  # fmt: skip
    for part_ in result.iterdir():
        if part_.name.startswith("Norder") or part_.name == "Moc.fits":
            part_.rename(place / part_.name)
    for rest in (images, result):
        shutil.rmtree(rest)
    for rest in place.iterdir():
        if not rest.name.startswith("Norder") and rest.name != "Moc.fits":
            shutil.rmtree(rest, ignore_errors=True) if rest.is_dir() else rest.unlink()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return {"hips_release_date": now} | properties | dict(said), used, left_out, sum(1 for _ in place.rglob("Npix*.fits"))  # fmt: skip
