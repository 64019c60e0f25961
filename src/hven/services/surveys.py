"""HiPS that are made here of a collection's images: how, where they lie, and who sees them.

Whoever may take all of these images.

Common
------
settings, context
    The site's.
principal
    The reader, by whose rights images are taken.
collection, name
    Under which it is published.
survey
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

from hven.formats.media import detect_medium
from hven.formats.pictures import Look, open_sky_image, write_cube_survey, write_survey
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, NotFoundError, ParamError, SourceError, UserError, format_message
from hven.services import collection_files, remote_files
from hven.services._work_files import list_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.formats.media import Place
    from hven.model.settings import Settings
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

SURVEY_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SURVEY_FILE_PATTERN = re.compile(
    r"properties|Moc\.fits|Norder3/Allsky\.(png|fits)|Norder\d{1,2}/Dir\d{1,12}/Npix\d{1,14}\.(png|fits)"
    r"|Norder\d{1,2}_\d{1,2}/Dir\d{1,12}_\d{1,17}/Npix\d{1,14}_\d{1,17}\.fits"
)
HIPSGEN_JAR = Path("/usr/share/java/aladin.jar")  # of Debian's package `aladin`
RECORD_FILE = "made.json"
VISIBILITY_CACHE_SECONDS = 10.0  # seconds for which it is known who sees one
MIN_HIPSGEN_BYTES = 2_000_000_000  # bytes of images from which on Hipsgen makes it, where it is installed
_PROGRESS_PATTERN = re.compile(rb"\((\d{1,3}(?:\.\d+)?)%\)")
_OWN_PROPERTY_PATTERN = re.compile(r"hipsgen_|hips_service_url|hips_status|creator_did")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSurvey:
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


def list_surveys(settings: Settings, collection: str | None = None) -> Iterator[PublishedSurvey]:
    """Yield the HiPS that are there.

    Parameters
    ----------
    collection
        Of this one alone; None: of all.
    """
    for link in sorted((settings.var_directory / "hips").glob(f"{collection or '*'}/*")):
        if link.is_symlink():
            stored_survey = find_survey(settings, link.parent.name, link.name)
        else:
            stored_survey = None
        if stored_survey is not None:
            yield stored_survey


def find_survey(settings: Settings, collection: str, name: str) -> PublishedSurvey | None:
    """Return one; None: there is none of that name."""
    if not SURVEY_NAME_PATTERN.fullmatch(name) or "/" in collection or collection in {".", ".."}:
        return None
    try:
        place = (settings.var_directory / "hips" / collection / name).resolve(strict=True)
        survey_record = orjson.loads((place / RECORD_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return PublishedSurvey(
        collection=collection, name=name, place=place, **{**survey_record, "files": tuple(survey_record["files"])}
    )


class _VisibilityCache(dict[Any, Any]):
    """Who saw which HiPS a moment ago."""


def is_visible(context: ServiceContext, principal: Principal, survey: PublishedSurvey) -> bool:
    """Return whether a reader may take all images that a HiPS is made of."""
    visibility_cache: _VisibilityCache = context.site.get_or_create(_VisibilityCache)
    published_state = context.site.get_published_state()
    key = survey.place, principal, published_state.version
    answer, until = visibility_cache.get(key, (False, 0.0))
    if until < time.monotonic():
        if len(visibility_cache) > 1000:
            visibility_cache.clear()
        try:
            found_files = collection_files.find_files(context, principal, survey.collection, survey.files)
            answer = len(found_files.rows) == len(survey.files)
        except HvenError:
            answer = False
        visibility_cache[key] = answer, time.monotonic() + VISIBILITY_CACHE_SECONDS
    return bool(answer)


def build_survey_url(base_url: str, survey: PublishedSurvey) -> str:
    """Return where a HiPS is had.

    Parameters
    ----------
    base_url
        Of the site.
    """
    return f"{base_url}/collections/{quote(survey.collection)}/hips/{survey.name}"


def create_survey(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    name: str,
    *,
    patterns: Sequence[str] = (),
    title: str = "",
    order: int | None = None,
    look: Look | None = None,
    program: str | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> PublishedSurvey:
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
    progress
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
    OperationCancelledError, UpstreamError
        It was stopped; a server with images is away.
    """
    if not SURVEY_NAME_PATTERN.fullmatch(name):
        raise ParamError(
            format_message("{name!r} cannot be the name of a HiPS", name[:80]),
            name="NAME",
            remedy=format_message("letters, digits, - and _"),
        )
    if program == "hipsgen" and not HIPSGEN_JAR.exists():
        raise UserError(
            format_message("Hipsgen is not installed"), remedy=format_message("on Debian: apt-get install aladin")
        )
    settings = context.site.settings
    paths = [row["path"] for row in collection_files.list_files(context, principal, collection)]
    image_paths = [
        path
        for path in paths
        if _is_image(path) and (not patterns or any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns))
    ]
    if not image_paths:
        raise ParamError(
            format_message("the collection {name} has no images that are called so", collection),
            name="FILES",
            remedy=format_message("collections/{name}/files lists them", collection),
        )
    found_files = collection_files.find_files(context, principal, collection, image_paths)
    files: list[tuple[Place, str]] = []
    left_out: dict[str, str] = {}

    def open_image(path: str) -> Place | HvenError:
        try:
            return collection_files.open_file_place(context, principal, collection, found_files.get_row(path))
        except HvenError as fault:
            return fault

    for path, place_ in zip(image_paths, remote_files.call_concurrently(open_image, image_paths), strict=True):
        if isinstance(place_, HvenError):
            if remote_files.is_temporary_failure(place_):
                raise place_
            left_out[path] = str(place_)
        else:
            files.append((place_, path))
    resource = context.site.get_published_state().resources.get(collection)
    properties_given = {"obs_title": title or (resource and resource.title) or collection}
    if resource is None:
        told_of = {}
    else:
        told_of = {
            "obs_description": resource.description,
            "obs_copyright": resource.licence,
            "obs_ack": resource.citation,
        }
    properties_given |= {key: " ".join(str(value).split()) for key, value in told_of.items() if value}
    home = settings.var_directory / "hips" / collection
    place = _create_work_directory(home, name)
    try:
        size = sum(path.stat().st_size for path, _ in files)
        all_local = all(isinstance(path, Path) for path, _ in files)
        if program == "hipsgen" or (
            program is None and all_local and size > MIN_HIPSGEN_BYTES and HIPSGEN_JAR.exists()
        ):
            survey_result = _run_hipsgen(files, place, properties_given, order, progress)
        else:
            if len(files) == 1:
                cube = write_cube_survey(files[0], place, properties_given, order=order, look=look, progress=progress)
            else:
                cube = None
            built_survey = cube or write_survey(
                files, place, properties_given, order=order, look=look, progress=progress
            )
            survey_result = (
                built_survey.properties,
                built_survey.used_images,
                built_survey.omitted_images,
                built_survey.tiles,
            )
        properties, used, unused_files, tiles = survey_result
        lines = "".join(f"{key:<20} = {value}\n" for key, value in properties.items())
        (place / "properties").write_text(lines, encoding="utf-8")
        facts = {"files": used, "left_out": left_out | unused_files, "properties": properties, "tiles": tiles}
        (place / RECORD_FILE).write_bytes(orjson.dumps(facts))
        _publish_directory(home, name, place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    published = find_survey(settings, collection, name)
    assert published is not None  # noqa: S101  (it was written just now)
    return published


def delete_survey(settings: Settings, collection: str, name: str) -> None:
    """Remove a HiPS.

    Raises
    ------
    NotFoundError
        There is none.
    """
    stored_survey = find_survey(settings, collection, name)
    if stored_survey is None:
        raise NotFoundError(format_message("the collection {collection} has no HiPS {name}", collection, name[:80]))
    (settings.var_directory / "hips" / collection / name).unlink()
    shutil.rmtree(stored_survey.place, ignore_errors=True)


def _is_image(path: str) -> bool:
    medium = detect_medium(path)
    return medium is not None and not medium.is_label


def _create_work_directory(directory: Path, name: str) -> Path:
    """Make a directory to work in; those of processes that died go."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in list_leftovers(directory):
        shutil.rmtree(old, ignore_errors=True)
    place = directory / f".{os.getpid()}-{name}.{secrets.token_hex(6)}"
    place.mkdir()
    return place


def _publish_directory(directory: Path, name: str, work_directory: Path) -> None:
    """Let a name lead to what was made, at once, and remove what it led to before."""
    final_directory = work_directory.rename(directory / f"{name}.{secrets.token_hex(6)}")
    if (directory / name).is_symlink():
        old = (directory / name).resolve()
    else:
        old = None
    link = directory / f".{final_directory.name}"
    link.symlink_to(final_directory.name)
    link.replace(directory / name)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _run_hipsgen(
    files: Sequence[tuple[Place, str]],
    work_directory: Path,
    extra_properties: Mapping[str, str],
    order: int | None,
    progress: ProgressMonitor,
) -> tuple[dict[str, str], list[str], dict[str, str], int]:
    """Let Hipsgen make it, of links to those images that we can read; what it says of this machine is left out."""
    images = work_directory / "images"
    result = work_directory / "result"
    log = work_directory / "log"
    images.mkdir()
    used = []
    left_out = {}
    for at, (path, name) in enumerate(files):
        try:
            open_sky_image(path, name).close()
            medium = detect_medium(name)
            if medium is None or "fits" not in medium.name or not isinstance(path, Path):
                left_out[name] = str(format_message("Hipsgen reads FITS of this machine alone"))
                continue
        except SourceError as fault:
            left_out[name] = str(fault)
            continue
        (images / f"{at:07}.{'fits.gz' if name.endswith('.gz') else 'fits'}").symlink_to(path)
        used.append(name)
    if not used:
        raise SourceError(
            format_message(
                "none of {count} images can be in a HiPS: {reason}", len(files), "; ".join(list(left_out.values())[:3])
            )
        )
    hipsgen_arguments = [f"in={images}", f"out={result}", "creator_did=hven/P/made", "mode=AVERAGE"]
    hipsgen_arguments += [f"hips_order={order}"] if order is not None else []
    command = [
        "java",
        "-Xmx2g",
        "-Djava.awt.headless=true",
        f"-Duser.home={work_directory}",
        "-jar",
        str(HIPSGEN_JAR),
        "-hipsgen",
    ]
    with log.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603  (no shell; our own words, and paths of ours)
            [*command, *hipsgen_arguments, "INDEX", "TILES", "PNG"],
            stdout=words,
            stderr=words,
            stdin=subprocess.DEVNULL,
            cwd=work_directory,
            start_new_session=True,
        )
    try:
        while True:
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                pass
            text = log.read_bytes()
            part = 0.6 if b" PNG  " in text else 0.1
            shares = _PROGRESS_PATTERN.findall(text)
            progress.report_progress(min(0.99, part + 0.4 * float(shares[-1]) / 100 if shares else part))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    properties_file = result / "properties"
    if code or not properties_file.is_file() or not any(result.glob("Norder*/*/*.png")):
        last = re.sub(r"\x1b\[\d+m", "", log.read_text(errors="replace")).replace(str(work_directory), "").strip()
        raise UserError(format_message("Hipsgen failed: {reason}", " / ".join(last.splitlines()[-3:])[:400]))
    lines = (line.partition("=") for line in properties_file.read_text(errors="replace").splitlines() if "=" in line)
    properties = {
        key.strip(): value.strip()
        for key, _, value in lines
        if not key.startswith("#") and not _OWN_PROPERTY_PATTERN.match(key)
    }
    for part_ in result.iterdir():
        if part_.name.startswith("Norder") or part_.name == "Moc.fits":
            part_.rename(work_directory / part_.name)
    for leftover in (images, result):
        shutil.rmtree(leftover)
    for leftover in work_directory.iterdir():
        if not leftover.name.startswith("Norder") and leftover.name != "Moc.fits":
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return (
        {"hips_release_date": now} | properties | dict(extra_properties),
        used,
        left_out,
        sum(1 for _ in work_directory.rglob("Npix*.fits")),
    )
