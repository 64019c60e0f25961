"""``hven mirror``: reproduce public collections of another Hven, and follow their changes."""

from __future__ import annotations

import glob
import hashlib
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote

import orjson
import typer

from hven.app.api import SITE_FILE, IngestProgressBar, open_site, print_json
from hven.ingest import sync
from hven.model.errors import ConflictError, SourceError, UsageError, UserError
from hven.model.settings import create_site_directory
from hven.plugins.mirroring import mirror_descriptors
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.settings import Settings

MAX_LIST_BYTES = 32 * 1024**2  # limits of the answers of the other site
MAX_DESCRIPTOR_BYTES = 8 * 1024**2
MAX_FILE_LIST_BYTES = 64 * 1024**2
REWRITTEN_TEXT = "written anew"


def mirror(
    context: typer.Context,
    *,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help=("Address of the other site: https://host, followed by the site's path, if it has one.")
        ),
    ],
    collections: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help=("Collections to copy (default: all public collections).")),
    ] = None,
    interval: Annotated[
        str, typer.Option("--every", help=("How often `hven serve` updates the copies, for example 1 h or 10 min."))
    ] = "1 h",
    only_once: Annotated[
        bool, typer.Option("--once", help=("Copy the collections once, and do not follow their changes."))
    ] = False,
    accept_large_changes: Annotated[
        bool, typer.Option("--accept", help="Publish even if more rows are removed or changed than the guards allow.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Follow another Hven's collections: descriptors, rows and files.

    A second run fetches what has changed.
    """
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is not the address of a site", remedy="run `hven mirror https://host`")
    if context.obj is not None and not (Path(context.obj) / SITE_FILE).is_file():
        create_site_directory(Path(context.obj))
    results: list[dict[str, Any]] = []
    sync_interval = None if only_once else interval
    with open_site(context) as site, IngestProgressBar(quiet=as_json) as progress:
        for name in collections or _fetch_collection_names(base, site.settings):
            omission_notes: list[str] = []
            result: dict[str, Any] = {"collection": name, "left_out": omission_notes}
            results.append(result)
            try:
                result["descriptor"] = _mirror_descriptor_with_files(
                    base, name, site.settings, interval=sync_interval, omission_notes=omission_notes
                )
                site.refresh_published_state()
                result["report"] = sync.sync_collection(
                    site, name, accept_changes=accept_large_changes, progress=progress
                )
            except mirror_descriptors.NothingToMirrorError as error:
                if collections:
                    raise
                result["descriptor"] = f"left out: {error.message}"
            except UserError as error:  # the other collections are mirrored nevertheless
                if collections and len(collections) == 1:
                    raise
                result["error"] = str(error)
    if as_json:
        print_json([_mirror_result_to_json(result) for result in results])
    else:
        for result in results:
            _print_mirror_result(result)
    failed_results = [result for result in results if "error" in result]
    if failed_results:
        for result in failed_results:
            print(f"hven: {result['collection']}: {result['error']}", file=sys.stderr)
        raise typer.Exit(1)


def _mirror_result_to_json(result: Mapping[str, Any]) -> dict[str, Any]:
    if "report" not in result:
        return dict(result)
    return {**result, "report": result["report"].to_json()}


def _print_mirror_result(result: Mapping[str, Any]) -> None:
    print(f"{result['collection']}: {result.get('descriptor', 'not mirrored')}")
    for text in result["left_out"]:
        print(f"  left out: {text}")
    if "report" in result:
        print(result["report"].format_text())


def _fetch_collection_names(base_url: str, settings: Settings) -> list[str]:
    """List the public collections of a site.

    Raises
    ------
    SourceError
        The address is not that of a Hven, or it has no public collection.
    """
    response = http_client.send_request_once(
        "GET",
        f"{base_url}/",
        headers={"Accept": "application/json"},
        byte_limit=MAX_LIST_BYTES,
        allow_private=settings.allow_private,
    )
    try:
        entries = orjson.loads(response.body)["collections"]
        collection_names = [str(entry["name"]) for entry in entries]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise SourceError(
            f"{base_url} is not a Hven site: it has no list of collections",
            remedy="specify the address of the site's home page",
        ) from error
    if not collection_names:
        raise SourceError(f"{base_url} has no public collection")
    return collection_names


def _mirror_descriptor_with_files(
    base_url: str, collection_name: str, settings: Settings, *, interval: str | None, omission_notes: list[str]
) -> str:
    """Write the descriptor of a mirrored collection, and return what was done with it.

    What the original says and the mirror does not is added to `omission_notes`.

    Raises
    ------
    SourceError
        The site has no such collection.
    ConflictError
        This site has a collection of that name that is not a mirror of it.
    """
    address = f"{base_url}/collections/{quote(collection_name)}/descriptor"
    response = http_client.send_request_once(
        "GET", address, byte_limit=MAX_DESCRIPTOR_BYTES, allow_private=settings.allow_private
    )
    if response.status == 404:
        raise SourceError(
            f"{address} returned status 404: there is no public collection {collection_name!r}",
            remedy="check the name of the collection, and that the other site runs Hven",
        )
    if response.status != 200:
        raise SourceError(
            f"{address} returned status {response.status}", remedy="try again later, or ask the other site's operators"
        )
    collection_directory = settings.collections_directory / collection_name
    path = collection_directory / f"{collection_name}.yaml"
    old_text = None
    if path.is_file():
        old_text = path.read_text(encoding="utf-8")
        if not old_text.startswith(f"{mirror_descriptors.MIRROR_FILE_MARK}{base_url}/"):
            raise ConflictError(
                f"{path} is not a mirror of {base_url}",
                remedy="remove the file, or specify the names of the collections to mirror",
            )
    remote_text = response.body.decode("utf-8", "replace")
    files = list(_mirror_files(base_url, collection_name, collection_directory, settings, omission_notes))
    text = mirror_descriptors.write_mirror_descriptor(
        remote_text, base_url, collection_name, sync_interval=interval, files=files, omission_notes=omission_notes
    )
    if text == old_text:
        return "as it was"
    collection_directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if old_text is None:
        return "new"
    return REWRITTEN_TEXT


def _mirror_files(
    base_url: str, collection_name: str, collection_directory: Path, settings: Settings, omission_notes: list[str]
) -> Iterator[dict[str, str]]:
    """Download the files of a collection that are new or changed; yield what the descriptor says of each.

    Raises
    ------
    SourceError
        The list names a path that is not allowed, or a file differs from its checksum.
    """
    address = f"{base_url}/collections/{quote(collection_name)}/files"
    response = http_client.send_request_once(
        "GET", address, byte_limit=MAX_FILE_LIST_BYTES, allow_private=settings.allow_private
    )
    if response.status != 200:
        return
    for line in response.body.decode().splitlines():
        checksum, url, _, title = line.split("  ", 3)
        _, separator, quoted_path = url.rpartition(f"/collections/{quote(collection_name)}/files/")
        if checksum == "-" or not separator:  # a file that cannot be verified is not copied
            omission_notes.append(f"file {unquote(quoted_path)!r} has no checksum, or is on another server")
            continue
        path = PurePosixPath(unquote(quoted_path))
        if not _is_safe_mirror_path(path, collection_name):
            raise SourceError(f"the file list {address} contains a path that is not allowed: {str(path)!r}")
        target = collection_directory / path
        if not target.is_file() or _compute_checksum(target) != checksum:
            target.parent.mkdir(parents=True, exist_ok=True)
            file_address = f"{address}/{quote(str(path))}"
            downloaded_file = http_client.download_file(
                file_address, target.parent, allow_private=settings.allow_private
            )
            if _compute_checksum(downloaded_file) != checksum:
                downloaded_file.unlink()
                raise SourceError(
                    f"the checksum of {url} differs from the checksum in the list", remedy="run the command again"
                )
            downloaded_file.replace(target)
        file_entry = {"files": glob.escape(str(path))}
        if title.strip():
            file_entry["title"] = title
        yield file_entry


def _is_safe_mirror_path(path: PurePosixPath, collection: str) -> bool:
    """Return whether a file of the other site may be written: inside the directory, not hidden, not the descriptor."""
    if path.is_absolute() or not path.parts:
        return False
    is_hidden = any(part.startswith(".") for part in path.parts)
    return not is_hidden and path.name != f"{collection}.yaml"


def _compute_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
