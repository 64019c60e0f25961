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

from hven.app._cli.context import MARK, show_json
from hven.app._cli.context import site as open_site
from hven.app._cli.progress import Progress
from hven.descriptor import mirroring
from hven.ingest import sync
from hven.model.errors import Conflict, SourceError, UsageError, UserError
from hven.model.settings import init
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings

LIST, DESCRIPTOR, NAMES = 32 * 1024**2, 8 * 1024**2, 64 * 1024**2  # bytes of an answer at most
RENEWED = "written anew"


def mirror(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The other site: https://host, or with the path below which it is.")
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Collections (default: all that are public).")
    ] = None,
    every: Annotated[str, typer.Option("--every", help="How often hven serve follows them: 1 h, 10 min.")] = "1 h",
    once: Annotated[bool, typer.Option("--once", help="Take them once; do not follow.")] = False,
    accept: Annotated[
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
    if context.obj is not None and not (Path(context.obj) / MARK).is_file():
        init(Path(context.obj))
    done: list[dict[str, Any]] = []
    with open_site(context) as site, Progress(quiet=as_json) as progress:
        for name in names or _listed(base, site.settings):
            one: dict[str, Any] = {"collection": name}
            done.append(one)
            try:
                one["left_out"] = []
                one["descriptor"] = _descriptor(
                    base, name, site.settings, every=None if once else every, left=one["left_out"]
                )
                site.refresh()
                one["report"] = sync.sync(site, name, accept=accept, progress=progress)
            except mirroring.Nothing as error:
                if names:
                    raise
                one["descriptor"] = f"left out: {error.message}"
            except UserError as error:  # the others shall come all the same
                if names and len(names) == 1:
                    raise
                one["error"] = str(error)
    if as_json:
        show_json([{**one, **({"report": one["report"].to_json()} if "report" in one else {})} for one in done])
    for one in () if as_json else done:
        print(
            f"{one['collection']}: {one['descriptor']}" if "descriptor" in one else f"{one['collection']}: not mirrored"
        )
        for text in one.get("left_out", ()):
            print(f"  left out: {text}")
        if "report" in one:
            print(one["report"].text())
    if failed := [one for one in done if "error" in one]:
        for one in failed:
            print(f"hven: {one['collection']}: {one['error']}", file=sys.stderr)
        raise typer.Exit(1)


def _listed(base: str, settings: Settings) -> list[str]:
    """List the public collections of a site.

    Raises
    ------
    SourceError
        It is no Hven, or has none.
    """
    answer = remote.exchange(
        "GET", f"{base}/", headers={"Accept": "application/json"}, limit=LIST, allow_private=settings.allow_private
    )
    try:
        found = [str(one["name"]) for one in orjson.loads(answer.body)["collections"]]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise SourceError(
            f"{base} does not list collections as a Hven does", remedy="give the address of its first page"
        ) from error
    if not found:
        raise SourceError(f"{base} has no public collection")
    return found


def _descriptor(base: str, name: str, settings: Settings, *, every: str | None, left: list[str]) -> str:
    """Write our descriptor of a collection; say what became of it, and in `left` what it says there and not here.

    Raises
    ------
    SourceError
        The site has no such collection.
    Conflict
        We have a collection of that name that is no mirror of it.
    """
    address = f"{base}/collections/{quote(name)}/descriptor"
    answer = remote.exchange("GET", address, limit=DESCRIPTOR, allow_private=settings.allow_private)
    if answer.status != 200:
        raise SourceError(
            f"{address} answers {answer.status}: there is no public collection {name!r}", remedy="or that site is older"
        )
    place = settings.collections / name
    path = place / f"{name}.yaml"
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if before is not None and not before.startswith(f"{mirroring.MARK}{base}/"):
        raise Conflict(
            f"{path} is no mirror of {base}", remedy="remove it first, or name the collections that you want"
        )
    given = answer.body.decode("utf-8", "replace")
    text = mirroring.mirrored(
        given, base, name, every=every, files=list(_files(base, name, place, settings, left)), left=left
    )
    if text == before:
        return "as it was"
    place.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return "new" if before is None else RENEWED


def _files(base: str, name: str, place: Path, settings: Settings, left: list[str]) -> Iterator[dict[str, str]]:
    """Fetch a collection's files that we have not; return what the descriptor says of each."""
    address = f"{base}/collections/{quote(name)}/files"
    answer = remote.exchange("GET", address, limit=NAMES, allow_private=settings.allow_private)
    for line in answer.body.decode().splitlines() if answer.status == 200 else ():
        checksum, url, _, title = line.split("  ", 3)
        _, here, said = url.rpartition(f"/collections/{quote(name)}/files/")
        if checksum == "-" or not here:  # what could not be checked stays there
            left.append(f"file {unquote(said)!r} has no checksum, or is on another server")
            continue
        path = PurePosixPath(unquote(said))
        if (
            path.is_absolute()
            or any(part.startswith(".") for part in path.parts)
            or not path.parts
            or path.name == f"{name}.yaml"
        ):
            raise SourceError(f"{address} names a file {str(path)!r} that cannot be written")
        target = place / path
        if not target.is_file() or _sum(target) != checksum:
            target.parent.mkdir(parents=True, exist_ok=True)
            fetched = remote.download(
                f"{address}/{quote(str(path))}", target.parent, allow_private=settings.allow_private
            )
            if _sum(fetched) != checksum:
                fetched.unlink()
                raise SourceError(f"{url} has another checksum than the list says", remedy="try it again")
            fetched.replace(target)
        yield {"files": glob.escape(str(path)), **({"title": title} if title.strip() else {})}


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
