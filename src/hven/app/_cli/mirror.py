"""``hven mirror``: reproduce another Hven's public collections, and follow them."""

from __future__ import annotations

import glob
import hashlib
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote

import orjson
import typer

from hven.app._cli.context import SITE_FILE, open_site, show_json
from hven.app._cli.progress import ProgressBar
from hven.descriptor import mirroring
from hven.ingest import sync
from hven.model.errors import ConflictError, SourceError, UsageError, UserError
from hven.model.settings import create_site
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.settings import Settings

MAX_LIST_BYTES, MAX_DESCRIPTOR_BYTES, MAX_FILE_LIST_BYTES = (
    32 * 1024**2,
    8 * 1024**2,
    64 * 1024**2,
)  # bytes of an answer at most
REWRITTEN_TEXT = "written anew"


def mirror(
    context: typer.Context,
    *,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The other site: https://host, or with the path below which it is.")
    ],
    collections: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Collections (default: all that are public).")
    ] = None,
    interval: Annotated[str, typer.Option("--every", help="How often hven serve follows them: 1 h, 10 min.")] = "1 h",
    only_once: Annotated[bool, typer.Option("--once", help="Take them once; do not follow.")] = False,
    accept_large_changes: Annotated[
        bool, typer.Option("--accept", help="Publish even if more rows go or change than the guards allow.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Follow another Hven's collections: descriptors, rows and files.

    A second run takes what changed.
    """
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no address of a site", remedy="hven mirror https://host")
    if context.obj is not None and not (Path(context.obj) / SITE_FILE).is_file():
        create_site(Path(context.obj))
    results: list[dict[str, Any]] = []
    with open_site(context) as site, ProgressBar(quiet=as_json) as progress:
        for name in collections or _list_collections(base, site.settings):
            result: dict[str, Any] = {"collection": name, "left_out": []}
            results.append(result)
            try:
                result["descriptor"] = _mirror_descriptor(
                    base, name, site.settings, interval=None if only_once else interval, left_out=result["left_out"]
                )
                site.refresh_published_state()
                result["report"] = sync.sync_collection(
                    site, name, accept_changes=accept_large_changes, progress=progress
                )
            except mirroring.NothingToMirrorError as error:
                if collections:
                    raise
                result["descriptor"] = f"left out: {error.message}"
            except UserError as error:  # the others shall come all the same
                if collections and len(collections) == 1:
                    raise
                result["error"] = str(error)
    if as_json:
        show_json([_result_to_json(result) for result in results])
    else:
        for result in results:
            _print_result(result)
    failed_results = [result for result in results if "error" in result]
    if failed_results:
        for result in failed_results:
            print(f"hven: {result['collection']}: {result['error']}", file=sys.stderr)
        raise typer.Exit(1)


def _result_to_json(result: Mapping[str, Any]) -> dict[str, Any]:
    if "report" not in result:
        return dict(result)
    return {**result, "report": result["report"].to_json()}


def _print_result(result: Mapping[str, Any]) -> None:
    print(f"{result['collection']}: {result.get('descriptor', 'not mirrored')}")
    for text in result["left_out"]:
        print(f"  left out: {text}")
    if "report" in result:
        print(result["report"].format_text())


def _list_collections(base: str, settings: Settings) -> list[str]:
    """List the public collections of a site.

    Raises
    ------
    SourceError
        It is no Hven, or has none.
    """
    response = http_client.send_request_once(
        "GET",
        f"{base}/",
        headers={"Accept": "application/json"},
        byte_limit=MAX_LIST_BYTES,
        allow_private=settings.allow_private,
    )
    try:
        collection_names = [
            str(collection_entry["name"]) for collection_entry in orjson.loads(response.body)["collections"]
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise SourceError(
            f"{base} does not list collections as a Hven does", remedy="give the address of its first page"
        ) from error
    if not collection_names:
        raise SourceError(f"{base} has no public collection")
    return collection_names


def _mirror_descriptor(base: str, name: str, settings: Settings, *, interval: str | None, left_out: list[str]) -> str:
    """Write our descriptor of a collection; say what became of it, and in `left_out` what it says there and not here.

    Raises
    ------
    SourceError
        The site has no such collection.
    ConflictError
        We have a collection of that name that is no mirror of it.
    """
    address = f"{base}/collections/{quote(name)}/descriptor"
    response = http_client.send_request_once(
        "GET", address, byte_limit=MAX_DESCRIPTOR_BYTES, allow_private=settings.allow_private
    )
    if response.status != 200:
        raise SourceError(
            f"{address} answers {response.status}: there is no public collection {name!r}",
            remedy="or that site is older",
        )
    collection_directory = settings.collections_directory / name
    path = collection_directory / f"{name}.yaml"
    if path.is_file():
        old_text = path.read_text(encoding="utf-8")
    else:
        old_text = None
    if old_text is not None and not old_text.startswith(f"{mirroring.MIRROR_FILE_MARK}{base}/"):
        raise ConflictError(
            f"{path} is no mirror of {base}", remedy="remove it first, or name the collections that you want"
        )
    remote_text = response.body.decode("utf-8", "replace")
    files = list(_mirror_files(base, name, collection_directory, settings, left_out))
    text = mirroring.write_mirror_descriptor(
        remote_text,
        base,
        name,
        sync_interval=interval,
        files=files,
        omission_notes=left_out,
    )
    if text == old_text:
        return "as it was"
    collection_directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return "new" if old_text is None else REWRITTEN_TEXT


def _mirror_files(
    base: str, name: str, collection_directory: Path, settings: Settings, left_out: list[str]
) -> Iterator[dict[str, str]]:
    """Fetch a collection's files that we have not; return what the descriptor says of each."""
    address = f"{base}/collections/{quote(name)}/files"
    response = http_client.send_request_once(
        "GET", address, byte_limit=MAX_FILE_LIST_BYTES, allow_private=settings.allow_private
    )
    for line in response.body.decode().splitlines() if response.status == 200 else ():
        checksum, url, _, title = line.split("  ", 3)
        _, file_path, quoted_path = url.rpartition(f"/collections/{quote(name)}/files/")
        if checksum == "-" or not file_path:  # what could not be checked stays there
            left_out.append(f"file {unquote(quoted_path)!r} has no checksum, or is on another server")
            continue
        path = PurePosixPath(unquote(quoted_path))
        if (
            path.is_absolute()
            or any(part.startswith(".") for part in path.parts)
            or not path.parts
            or path.name == f"{name}.yaml"
        ):
            raise SourceError(f"{address} names a file {str(path)!r} that cannot be written")
        target = collection_directory / path
        if not target.is_file() or _compute_checksum(target) != checksum:
            target.parent.mkdir(parents=True, exist_ok=True)
            downloaded = http_client.download_file(
                f"{address}/{quote(str(path))}", target.parent, allow_private=settings.allow_private
            )
            if _compute_checksum(downloaded) != checksum:
                downloaded.unlink()
                raise SourceError(f"{url} has another checksum than the list says", remedy="try it again")
            downloaded.replace(target)
        yield {"files": glob.escape(str(path)), **({"title": title} if title.strip() else {})}


def _compute_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
