"""HiPS that are built here from a collection's images or layers: build, store and find them.

A HiPS is visible to readers who may access all of its images.

Common
------
settings, context
    Settings; the site.
principal
    The reader, with whose rights images are read.
collection, name
    Collection and name of the HiPS.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from hven.formats.media import detect_product_file_format
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, NotFoundError, ParamError, SourceError, UserError, format_message
from hven.plugins.hips.cube_surveys import write_hips3d_survey
from hven.plugins.hips.image_surveys import open_sky_image, write_hips_survey
from hven.plugins.previews.pictures import PictureStyle
from hven.services import collection_files, remote_files
from hven.services.api.files import list_abandoned_files

if TYPE_CHECKING:
    from collections.abc import Iterator

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
VISIBILITY_CACHE_SECONDS = 10.0  # seconds for which it is cached who sees a HiPS
MIN_HIPSGEN_BYTES = 2_000_000_000  # bytes of images from which on Hipsgen is used, where it is installed
# properties, paths of the used images, path -> reason of the omitted ones, and number of tiles
BuildResult = tuple[Mapping[str, str], Sequence[str], Mapping[str, str], int]
_PROGRESS_PATTERN = re.compile(rb"\((\d{1,3}(?:\.\d+)?)%\)")
_OWN_PROPERTY_PATTERN = re.compile(r"hipsgen_|hips_service_url|hips_status|creator_did")


@dataclass(frozen=True, slots=True, kw_only=True)
class HipsSurvey:
    """A HiPS that was built here.

    Attributes
    ----------
    collection, name
        Collection and name by which it is requested.
    place
        Directory of its files.
    files
        Paths of its images.
    left_out
        Paths of images that are not in it -> reason.
    properties
        Its properties.
    tiles
        Number of tiles of all orders.
    file_states
        Path -> size and time of the rasters from which it was made; it is not visible if these have changed.
    """

    collection: str
    name: str
    place: Path
    files: tuple[str, ...]
    left_out: Mapping[str, str]
    properties: Mapping[str, str]
    tiles: int
    file_states: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def body(self) -> str:
        """Name of the body that it shows; empty: the sky."""
        return self.properties.get("hips_body", "")


def list_hips_surveys(settings: Settings, collection: str | None = None) -> Iterator[HipsSurvey]:
    """Yield the HiPS of a site.

    Parameters
    ----------
    collection
        Name of a collection whose surveys are yielded; None for all collections.
    """
    for link in sorted((settings.var_directory / "hips").glob(f"{collection or '*'}/*")):
        if not link.is_symlink():
            continue
        stored_survey = find_hips_survey(settings, link.parent.name, link.name)
        if stored_survey is not None:
            yield stored_survey


def find_hips_survey(settings: Settings, collection: str, survey_name: str) -> HipsSurvey | None:
    """Find a HiPS of a collection by its name.

    Parameters
    ----------
    survey_name
        Name of the HiPS within its collection.

    Returns
    -------
    survey
        None if there is no survey of that name.
    """
    if not SURVEY_NAME_PATTERN.fullmatch(survey_name) or "/" in collection or collection in {".", ".."}:
        return None
    try:
        directory = (settings.var_directory / "hips" / collection / survey_name).resolve(strict=True)
        survey_record = orjson.loads((directory / RECORD_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    facts = {**survey_record, "files": tuple(survey_record["files"])}
    return HipsSurvey(collection=collection, name=survey_name, place=directory, **facts)


class _SurveyVisibilityCache(dict[Any, Any]):
    """Cache of who sees which HiPS."""


def is_visible(context: ServiceContext, principal: Principal, survey: HipsSurvey) -> bool:
    """Return whether a reader may access all images of a HiPS."""
    visibility_cache: _SurveyVisibilityCache = context.site.get_or_create(_SurveyVisibilityCache)
    published_state = context.site.get_published_state()
    key = survey.place, principal, published_state.version
    is_accessible, valid_until = visibility_cache.get(key, (False, 0.0))
    if valid_until < time.monotonic():
        if len(visibility_cache) > 1000:
            visibility_cache.clear()
        try:
            found_files = collection_files.find_files(context, principal, survey.collection, survey.files)
            is_accessible = len(found_files.rows) == len(survey.files) and all(
                list(state) == read_file_state(found_files.get_row(path)) for path, state in survey.file_states.items()
            )
        except HvenError:
            is_accessible = False
        visibility_cache[key] = is_accessible, time.monotonic() + VISIBILITY_CACHE_SECONDS
    return bool(is_accessible)


def build_survey_url(base_url: str, survey: HipsSurvey) -> str:
    """Return the address of a HiPS.

    Parameters
    ----------
    base_url
        Address of the site.
    """
    return f"{base_url}/collections/{quote(survey.collection)}/hips/{survey.name}"


def build_hips_survey(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    survey_name: str,
    *,
    patterns: Sequence[str] = (),
    title: str = "",
    order: int | None = None,
    look: PictureStyle | None = None,
    program: str | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> HipsSurvey:
    """Build a HiPS from a collection's images; an earlier one is replaced only when the new one is complete.

    Parameters
    ----------
    survey_name
        Name; an earlier HiPS of that name is replaced.
    patterns
        Patterns of the paths of images; empty: all.
    title
        Title; empty: that of the collection.
    order
        Order of the finest tiles; None for the one that matches the finest image.
    look
        Colours of the pictures.
    program
        ``hven`` or ``hipsgen``; None to use Hipsgen for many bytes, where it is installed.
    progress
        Gets the progress.

    Returns
    -------
    survey
        The HiPS, with the images that are not in it.

    Raises
    ------
    ParamError
        The name is invalid, or no image matches.
    SourceError
        No image can be used.
    UserError
        Hipsgen is not installed, or it failed.
    OperationCancelledError, UpstreamError
        It was cancelled; a server with images cannot be reached.
    """
    check_survey_name(survey_name)
    if program == "hipsgen" and not HIPSGEN_JAR.exists():
        raise UserError(
            format_message("Hipsgen is not installed"),
            remedy=format_message("install Hipsgen; on Debian, run `apt-get install aladin`"),
        )
    settings = context.site.settings
    files, inaccessible_files = _find_accessible_images(context, principal, collection, patterns)
    properties = build_properties(context, collection, title)
    collection_directory = settings.var_directory / "hips" / collection
    _remove_abandoned_directories(collection_directory)
    work_directory = _create_work_directory(collection_directory, survey_name)
    try:
        if program == "hipsgen" or (program is None and _is_hipsgen_preferred(files)):
            result = _run_hipsgen(files, work_directory, properties, order, progress)
        else:
            built_survey = None
            if len(files) == 1:
                built_survey = write_hips3d_survey(
                    files[0], work_directory, properties, order=order, look=look, progress=progress
                )
            if not built_survey:
                built_survey = write_hips_survey(
                    files, work_directory, properties, order=order, look=look, progress=progress
                )
            result = (
                built_survey.properties,
                built_survey.used_images,
                built_survey.omitted_images,
                built_survey.tiles,
            )
        write_survey_description_files(work_directory, result, inaccessible_files)
        publish_survey_directory(collection_directory, survey_name, work_directory)
    except BaseException:
        shutil.rmtree(work_directory, ignore_errors=True)
        raise
    survey = find_hips_survey(settings, collection, survey_name)
    assert survey is not None  # noqa: S101  (it was written just now)
    return survey


def read_file_state(file_row: Mapping[str, Any]) -> list[float]:
    """Read the size and the time of a file from its row."""
    return [float(file_row["bytes"]), float(file_row["modified"])]


def check_survey_name(survey_name: str) -> None:
    """Refuse a name that cannot be one of a directory.

    Raises
    ------
    ParamError
        The name has other characters than letters, digits, - and _.
    """
    if not SURVEY_NAME_PATTERN.fullmatch(survey_name):
        raise ParamError(
            format_message("{name!r} is not a valid name for a HiPS", survey_name[:80]),
            name="NAME",
            remedy=format_message("use letters, digits, - and _"),
        )


def _find_accessible_images(
    context: ServiceContext, principal: Principal, collection: str, patterns: Sequence[str]
) -> tuple[list[tuple[Place, str]], dict[str, str]]:
    """Open the images of a collection.

    Returns
    -------
    files, inaccessible_files
        The images with their paths; and path -> error of those that cannot be opened.
    """

    def is_selected(path: str) -> bool:
        return not patterns or any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)

    paths = [row["path"] for row in collection_files.list_files(context, principal, collection)]
    image_paths = [path for path in paths if _has_product_format(path) and is_selected(path)]
    if not image_paths:
        raise ParamError(
            format_message("the collection {name} has no matching images", collection),
            name="FILES",
            remedy=format_message("see the list at collections/{name}/files", collection),
        )
    found_files = collection_files.find_files(context, principal, collection, image_paths)

    def open_image(path: str) -> Place | HvenError:
        try:
            return collection_files.open_file_place(context, principal, collection, found_files.get_row(path))
        except HvenError as error:
            return error

    files: list[tuple[Place, str]] = []
    inaccessible_files: dict[str, str] = {}
    places = remote_files.call_concurrently(open_image, image_paths)
    for path, place in zip(image_paths, places, strict=True):
        if not isinstance(place, HvenError):
            files.append((place, path))
        elif remote_files.is_temporary_failure(place):
            raise place
        else:
            inaccessible_files[path] = str(place)
    return files, inaccessible_files


def build_properties(context: ServiceContext, collection: str, title: str) -> dict[str, str]:
    """Build the properties of a HiPS that come from the descriptor of its collection."""
    resource = context.site.get_published_state().resources.get(collection)
    if resource is None:
        return {"obs_title": title or collection}
    properties = {"obs_title": title or resource.title or collection}
    texts = {
        "obs_description": resource.description,
        "obs_copyright": resource.licence,
        "obs_ack": resource.citation,
    }
    return properties | {key: " ".join(str(text).split()) for key, text in texts.items() if text}


def _is_hipsgen_preferred(files: Sequence[tuple[Place, str]]) -> bool:
    """Return whether Hipsgen is installed and can read these images, and they are large."""
    byte_count = sum(place.stat().st_size for place, _ in files)
    are_all_local = all(isinstance(place, Path) for place, _ in files)
    return are_all_local and byte_count > MIN_HIPSGEN_BYTES and HIPSGEN_JAR.exists()


def write_survey_description_files(
    work_directory: Path,
    result: BuildResult,
    inaccessible_files: Mapping[str, str],
    file_states: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write what was built into the directory: the properties of the HiPS, and which files it was made from."""
    properties, used_images, omitted_images, tile_count = result
    lines = [f"{key:<20} = {value}\n" for key, value in properties.items()]
    (work_directory / "properties").write_text("".join(lines), encoding="utf-8")
    survey_record = {
        "files": used_images,
        "left_out": {**inaccessible_files, **omitted_images},
        "properties": properties,
        "tiles": tile_count,
        "file_states": file_states or {},
    }
    (work_directory / RECORD_FILE).write_bytes(orjson.dumps(survey_record))


def delete_hips_survey(settings: Settings, collection: str, survey_name: str) -> None:
    """Delete a HiPS.

    Parameters
    ----------
    survey_name
        Name of the HiPS within its collection.

    Raises
    ------
    NotFoundError
        There is no such HiPS.
    """
    stored_survey = find_hips_survey(settings, collection, survey_name)
    if SURVEY_NAME_PATTERN.fullmatch(survey_name):
        for path in (settings.var_directory / "hips" / collection).glob(f"{survey_name}.*.unfinished"):
            shutil.rmtree(path, ignore_errors=True)
    if stored_survey is None:
        raise NotFoundError(
            format_message("the collection {collection} has no HiPS {name}", collection, survey_name[:80])
        )
    (settings.var_directory / "hips" / collection / survey_name).unlink()
    shutil.rmtree(stored_survey.place, ignore_errors=True)


def _has_product_format(path: str) -> bool:
    medium = detect_product_file_format(path)
    return medium is not None and not medium.is_label


def _remove_abandoned_directories(directory: Path) -> None:
    """Remove the work directories of processes that died."""
    for leftover in list_abandoned_files(directory):
        shutil.rmtree(leftover, ignore_errors=True)


def _create_work_directory(directory: Path, name: str) -> Path:
    """Create a directory for building that tells the number of this process."""
    directory.mkdir(parents=True, exist_ok=True)
    work_directory = directory / f".{os.getpid()}-{name}.{secrets.token_hex(6)}"
    work_directory.mkdir()
    return work_directory


def publish_survey_directory(directory: Path, name: str, work_directory: Path) -> None:
    """Replace the HiPS of a name atomically, and remove the earlier one."""
    final_directory = work_directory.rename(directory / f"{name}.{secrets.token_hex(6)}")
    earlier_directory = None
    if (directory / name).is_symlink():
        earlier_directory = (directory / name).resolve()
    link = directory / f".{final_directory.name}"
    link.symlink_to(final_directory.name)
    link.replace(directory / name)
    if earlier_directory is not None:
        shutil.rmtree(earlier_directory, ignore_errors=True)


def _run_hipsgen(
    files: Sequence[tuple[Place, str]],
    work_directory: Path,
    extra_properties: Mapping[str, str],
    order: int | None,
    progress: ProgressMonitor,
) -> BuildResult:
    """Let Hipsgen build a HiPS from links to the images that can be read; drop its properties about this machine."""
    image_directory = work_directory / "images"
    result_directory = work_directory / "result"
    log_file = work_directory / "log"
    used_images, omitted_images = _link_images(files, image_directory)
    command = [
        "java",
        "-Xmx2g",
        "-Djava.awt.headless=true",
        f"-Duser.home={work_directory}",
        "-jar",
        str(HIPSGEN_JAR),
        "-hipsgen",
        f"in={image_directory}",
        f"out={result_directory}",
        "creator_did=hven/P/made",
        "mode=AVERAGE",
    ]
    if order is not None:
        command.append(f"hips_order={order}")
    exit_code = _run_hipsgen_process([*command, "INDEX", "TILES", "PNG"], work_directory, log_file, progress)
    properties_file = result_directory / "properties"
    if exit_code or not properties_file.is_file() or not any(result_directory.glob("Norder*/*/*.png")):
        log_text = re.sub(r"\x1b\[\d+m", "", log_file.read_text(errors="replace"))
        log_lines = log_text.replace(str(work_directory), "").strip().splitlines()
        raise UserError(format_message("Hipsgen failed: {reason}", " / ".join(log_lines[-3:])[:400]))
    properties = {"hips_release_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")}
    for line in properties_file.read_text(errors="replace").splitlines():
        key, separator, value = line.partition("=")
        if separator and not key.startswith("#") and not _OWN_PROPERTY_PATTERN.match(key):
            properties[key.strip()] = value.strip()
    properties |= extra_properties
    for path in result_directory.iterdir():
        if _is_survey_part(path):
            path.rename(work_directory / path.name)
    for path in list(work_directory.iterdir()):
        if _is_survey_part(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=path not in {image_directory, result_directory})
        else:
            path.unlink()
    tile_count = sum(1 for _ in work_directory.rglob("Npix*.fits"))
    return properties, used_images, omitted_images, tile_count


def _is_survey_part(path: Path) -> bool:
    return path.name.startswith("Norder") or path.name == "Moc.fits"


def _link_images(files: Sequence[tuple[Place, str]], image_directory: Path) -> tuple[list[str], dict[str, str]]:
    """Create a directory of links to images that Hipsgen can read.

    Returns
    -------
    used_images, omitted_images
        Paths of the images; and path -> reason of the others.
    """
    image_directory.mkdir()
    used_images = []
    omitted_images = {}
    for number, (place, name) in enumerate(files):
        try:
            open_sky_image(place, name).close()
            medium = detect_product_file_format(name)
        except SourceError as error:
            omitted_images[name] = str(error)
            continue
        if medium is None or "fits" not in medium.name or not isinstance(place, Path):
            omitted_images[name] = str(format_message("Hipsgen reads only FITS files that are on this machine"))
            continue
        extension = "fits"
        if name.endswith(".gz"):
            extension = "fits.gz"
        (image_directory / f"{number:07}.{extension}").symlink_to(place)
        used_images.append(name)
    if not used_images:
        first_omitted = list(omitted_images.items())[:3]
        reasons = "; ".join(f"{name} ({reason})" for name, reason in first_omitted)
        raise SourceError(
            format_message("none of the {count} images can be used for a HiPS: {reason}", len(files), reasons)
        )
    return used_images, omitted_images


def _run_hipsgen_process(
    command: Sequence[str], work_directory: Path, log_file: Path, progress: ProgressMonitor
) -> int:
    """Run Hipsgen, report its progress from its log, and return its exit code."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  (no shell; fixed arguments, and paths of this program)
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=work_directory,
            start_new_session=True,
        )
    try:
        while True:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
            log_bytes = log_file.read_bytes()
            share = 0.6 if b" PNG  " in log_bytes else 0.1
            percentages = _PROGRESS_PATTERN.findall(log_bytes)
            if percentages:
                share += 0.4 * float(percentages[-1]) / 100
            progress.report_progress(min(0.99, share))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
