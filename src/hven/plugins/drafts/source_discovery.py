"""Find what ``hven new --from`` names: a file, files of a folder, a download, a service, a catalogue of files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.plugins.drafts.table_selection import choose_file_pattern
from hven.sources import SourceContext, file_kinds, http_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.sources import CatalogueSignature


def recognize_catalogue(
    settings: Settings, source: str, directory: Path, kind: str | None
) -> tuple[str, dict[str, Any]] | None:
    """Recognise a catalogue of many files, here or behind an address; return its kind, and its place as an option."""
    for name, signature in file_kinds.iterate_catalogue_signatures():
        if kind in {None, name}:
            place = _find_catalogue_place(settings, source, directory, signature, is_certain=kind == name)
            if place is not None:
                return name, {signature.option: place}
    return None


def _find_catalogue_place(
    settings: Settings, source: str, directory: Path, signature: CatalogueSignature, *, is_certain: bool
) -> str | None:
    """Return the place of a catalogue as a descriptor writes it; None: the kind does not recognise one."""
    is_remote = is_web_address(source)
    if (
        not is_certain
        and "://" in source
        and (not is_remote or "?" in source or file_kinds.find_file_kind_by_name(source) is not None)
    ):
        return None
    if is_remote:
        catalogue_path = source
    else:
        catalogue_path = str(Path.cwd() / Path(source).expanduser())
    context = SourceContext(directory=directory, allow_private=settings.allow_private, is_inspection=True)
    try:
        place = signature.find_root(catalogue_path, context)
    except UserError:
        if is_certain or not is_remote:
            raise
        place = None  # a server may refuse what it does not have: what it says of the address itself is told
    if place is None and is_certain:
        place = catalogue_path  # what is lacking is said when it is opened
    if place is None or is_remote:
        return place
    return format_descriptor_path(settings, directory, Path(place))


def is_web_address(source: str) -> bool:
    """Return whether a source is an address of the web."""
    return source.startswith(("http://", "https://"))


def recognize_service_address(source: str, kind: str | None) -> tuple[str, dict[str, Any]] | None:
    """Recognise the address of a service: a part of what it has is looked at, nothing is downloaded."""
    if not is_web_address(source):
        return None
    recognized_service = file_kinds.find_service_kind_by_url(source)
    if recognized_service is not None and kind in {None, recognized_service[0]}:
        return recognized_service
    if kind is not None and file_kinds.find_service_signature(kind):
        return (kind, {"url": source})
    return None


def find_or_download_file(settings: Settings, source: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Find or fetch the file; give one to look at, and the options that name all of them."""
    if is_web_address(source):
        path = http_client.download_file(source, directory / "data", allow_private=settings.allow_private)
        return path, {"files": path.relative_to(directory).as_posix()}
    source_path = Path.cwd() / Path(source).expanduser()
    is_folder = source_path.is_dir()
    first_file = source_path = choose_file_pattern(source_path, source) if is_folder else source_path
    if is_folder or any(sign in source for sign in "*?["):
        first_file = next(
            (
                item
                for item in sorted(Path(source_path.anchor).glob(str(source_path.relative_to(source_path.anchor))))
                if item.is_file()
            ),
            source_path,
        )
        if first_file == source_path:
            raise SourceError(
                f"no file matches {source}",
                remedy="write the pattern relative to the current directory, and put it in quotes",
            )
    elif not source_path.is_file():
        raise SourceError(f"there is no file {source}", remedy=f"check the path, which is relative to {Path.cwd()}")
    return first_file, {"files": format_descriptor_path(settings, directory, source_path)}


def format_descriptor_path(settings: Settings, directory: Path, path: Path) -> str:
    """Write a path as a descriptor names it: from its directory, if it is in the site."""
    normalized_path = Path(_normalize_path(path))
    try:
        return normalized_path.relative_to(directory.resolve()).as_posix()
    except ValueError:
        is_in_site = settings.directory.resolve() in normalized_path.parents
        if is_in_site:
            return Path("../..", normalized_path.relative_to(settings.directory.resolve())).as_posix()
        return str(normalized_path)


def list_outside_file_warnings(options: Mapping[str, Any]) -> list[str]:
    """Warn of data outside the site: they stay where they are."""
    if not any(Path(str(options.get(key, ""))).is_absolute() for key in ("files", "file")):
        return []
    return [
        (
            "the data are outside the site, at an absolute path. Backups do not contain the data, and the path may be "
            "wrong after you move the site. Copy the data into data/ next to this descriptor, and write `files: "
            "data/...`"
        )
    ]


def _normalize_path(path: Path) -> str:
    return os.path.normpath(path)  # resolve() would follow links that the curator made on purpose


def find_cds_readme(file: Path, directory: Path, table: str | None) -> dict[str, Any] | None:
    """Find a CDS ReadMe beside the file that describes it."""
    fixed = plugins.load_plugin("sources", "fixed")
    for candidate in sorted(file.parent.glob("*[Rr][Ee][Aa][Dd][Mm][Ee]*")):
        if candidate == file or not candidate.is_file() or candidate.stat().st_size > 4 << 20:
            continue
        options = {"files": str(file), "readme": str(candidate), **({"table": table} if table else {})}
        try:
            fixed.open(fixed.Options.model_validate(options), SourceContext(directory=directory)).list_columns()
        except SourceError:
            continue
        return {"readme": str(candidate)}
    return None
