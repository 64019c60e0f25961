"""``hven hips``: make a HiPS of a collection's images, list those that were made, remove one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hven.app._cli.context import show_json, show_table
from hven.app._cli.context import site as open_site
from hven.formats.pictures import Look
from hven.model.clock import Task
from hven.services import surveys
from hven.services.face import Surroundings
from hven.site.auth import OWNER


def hips(
    context: typer.Context,
    collection: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="Whose images.")] = None,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", help="Patterns of their paths: 'images/*.fits'.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Under which it is published.")] = "images",
    title: Annotated[str, typer.Option("--title", help="For people (default: the collection's).")] = "",
    order: Annotated[
        int | None, typer.Option("--order", min=3, max=20, help="Of the finest tiles (default: as fine as the images).")
    ] = None,
    stretch: Annotated[str, typer.Option("--stretch", help="linear, sqrt, log, asinh.")] = "",
    colours: Annotated[str, typer.Option("--colours", help="gray, viridis, ...")] = "",
    program: Annotated[str | None, typer.Option("--with", help="hven, or hipsgen of Debian's package aladin.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Remove the one of this name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make a HiPS of a collection's images, or list those there are."""
    with open_site(context) as site:
        if collection is not None and drop:
            surveys.drop(site.settings, collection, name)
            return
        if collection is not None:
            around = Surroundings.of(site, OWNER)
            look = Look(stretch=stretch, colours=colours)
            every = [surveys.make(around, OWNER, collection, name, patterns=files or (), title=title, order=order, look=look, program=program, task=Task(_told))]  # fmt: skip
            print(file=sys.stderr)
        else:
            every = list(surveys.made(site.settings))
    if as_json:
        show_json(
            [
                {"collection": one.collection, "name": one.name, "images": len(one.files), "tiles": one.tiles, "left_out": one.left_out, "properties": one.properties}
                for one in every
            ]
        )  # fmt: skip
        return
    rows = [(one.collection, one.name, len(one.files), len(one.left_out), one.tiles) for one in every]
    show_table(("collection", "HiPS", "images", "left out", "tiles"), rows, title="HiPS")
    for one in every if collection else ():
        for path, why in one.left_out.items():
            print(f"left out: {path}: {why}")


def _told(share: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{share:4.0%}", end="", file=sys.stderr, flush=True)
