"""``hven prepare``: make pictures and rotated copies of a collection's files now, or stop the job that does."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from hven.app._cli.context import show_json
from hven.app._cli.context import site as open_site
from hven.jobs.desk import ACTIVE, Asker, Desk
from hven.model.clock import Task
from hven.model.errors import UsageError
from hven.model.params import collect
from hven.services import preparing
from hven.services.face import Surroundings
from hven.site.auth import OWNER


def prepare(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Whose files.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", help="Patterns of their paths: 'cubes/*.fits'.")
    ] = None,
    previews: Annotated[bool, typer.Option("--previews", help="Thumbnails and quicklooks.")] = False,
    spectra: Annotated[
        bool, typer.Option("--spectra", help="Copies of cubes from which spectra are read at once: as much disk again.")
    ] = False,
    part: Annotated[str | None, typer.Option("--part", help="Of files with cubes: index or name.")] = None,
    through: Annotated[
        int | None, typer.Option("--through", min=1, help="Axis along which spectra are read, as FITS counts.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="What was prepared before, or could not be, too.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the jobs that prepare it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make pictures and copies of a collection's new files."""
    with open_site(context) as site:
        if stop:
            desk, asker = Desk(site, "prepare"), Asker(reader=OWNER, address="")
            for ref in desk.listed(collect([("PHASE", phase) for phase in ACTIVE]), asker):
                job = desk.one(ref.id, asker)
                if ("COLLECTION", collection) in job.parameters:
                    desk.move(job, "ABORT")
            return
        around = Surroundings.of(site, OWNER)
        resource = site.current().resources.get(collection)
        asked = [one for one, said in zip(preparing.WHAT, (previews, spectra), strict=True) if said]
        what = asked or (resource.prepare if resource is not None else ())
        if resource is not None and not what:
            raise UsageError(
                "nothing says what is to be prepared", remedy="--previews, --spectra, or prepare: in its descriptor"
            )
        made = preparing.prepare(
            around,
            OWNER,
            collection,
            what,
            patterns=files or (),
            part=part,
            through=through,
            again=again,
            task=Task(_told),
        )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if as_json:
        show_json({"collection": collection, **asdict(made)})
        return
    print(
        f"{made.files:,} files were new: {made.pictures:,} pictures, {made.copies:,} copies of cubes, {made.bytes / 1e6:,.1f} MB"
    )
    if made.left:
        print(f"{made.left:,} more have no pictures: files.pictures of hven.toml has no more room")
    for path, why in made.failed.items():
        print(f"failed: {path}: {why}")


def _told(share: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{share:4.0%}", end="", file=sys.stderr, flush=True)
