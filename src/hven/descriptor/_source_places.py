"""Find what ``hven new --from`` names: a file, files of a folder, a download, a service, a catalogue of partitions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor._choosing import gathered
from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.sources import Context, filekinds, remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings


def find_catalogue(settings: Settings, source: str, directory: Path, *, sure: bool) -> str | None:
    """Recognise a catalogue of partitions, on this machine or behind an address, and write its place as a descriptor names it."""
    far = source.startswith(("http://", "https://"))
    if not sure and "://" in source and (not far or "?" in source or filekinds.named(source) is not None):
        return None
    given = source if far else str(Path.cwd() / Path(source).expanduser())
    context = Context(directory=directory, allow_private=settings.allow_private)
    try:
        place: str | None = plugins.load("sources", "hats").recognised(given, context)
    except UserError:
        if sure or not far:
            raise
        place = None  # a server may refuse what it does not have: what it says of the address itself is told
    if place is None and sure:
        place = given  # what is lacking is said when it is opened
    return place if place is None or far else show_path(settings, directory, Path(place))


def find_service(source: str, kind: str | None) -> tuple[str, dict[str, Any]] | None:
    """Recognise the address of a service: a part of what it has is looked at, nothing is downloaded."""
    if not source.startswith(("http://", "https://")):
        return None
    told = filekinds.addressed(source)
    if told is not None and kind in {None, told[0]}:
        return told
    return (kind, {"url": source}) if kind is not None and filekinds.service(kind) else None


def find_file(settings: Settings, source: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Find or fetch the file; give one to look at, and the options that name all of them."""
    if source.startswith(("http://", "https://")):
        path = remote.download(source, directory / "data", allow_private=settings.allow_private)
        return path, {"files": path.relative_to(directory).as_posix()}
    here = Path.cwd() / Path(source).expanduser()
    folder = here.is_dir()
    first = here = gathered(here, source) if folder else here
    if folder or any(sign in source for sign in "*?["):
        first = next(
            (item for item in sorted(Path(here.anchor).glob(str(here.relative_to(here.anchor)))) if item.is_file()),
            here,
        )
        if first == here:
            raise SourceError(
                f"no file matches {source}", remedy="patterns start at the current directory; put them in quotes"
            )
    elif not here.is_file():
        raise SourceError(f"no file {source}", remedy=f"it is looked for in {Path.cwd()}")
    return first, {"files": show_path(settings, directory, here)}


def show_path(settings: Settings, directory: Path, path: Path) -> str:
    """Write a path as a descriptor names it: from its directory, if it is in the site."""
    whole = Path(_normalise(path))
    try:
        return whole.relative_to(directory.resolve()).as_posix()
    except ValueError:
        inside = settings.directory.resolve() in whole.parents
        return Path("../..", whole.relative_to(settings.directory.resolve())).as_posix() if inside else str(whole)


def warn_of_far_files(options: Mapping[str, Any]) -> list[str]:
    """Warn of data outside the site: they stay where they are."""
    if not any(Path(str(options.get(key, ""))).is_absolute() for key in ("files", "file")):
        return []
    return [
        "the data stand outside the site, at an absolute path: no backup holds them, and a site that moves does not find them; copy them into data/ here, and say files: data/..."
    ]


def _normalise(path: Path) -> str:
    return os.path.normpath(path)  # resolve() would follow links that the curator made on purpose


def find_readme(file: Path, directory: Path, table: str | None) -> dict[str, Any] | None:
    """Find a CDS ReadMe beside the file that describes it."""
    fixed = plugins.load("sources", "fixed")
    for candidate in sorted(file.parent.glob("*[Rr][Ee][Aa][Dd][Mm][Ee]*")):
        if candidate == file or not candidate.is_file() or candidate.stat().st_size > 4 << 20:
            continue
        options = {"files": str(file), "readme": str(candidate), **({"table": table} if table else {})}
        try:
            fixed.open(fixed.Options.model_validate(options), Context(directory=directory)).columns()
        except SourceError:
            continue
        return {"readme": str(candidate)}
    return None
