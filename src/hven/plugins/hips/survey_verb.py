"""``hven hips``: make a HiPS of a collection's images or of a layer, list the HiPS of the site, or remove one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import open_site, print_json, print_percentage, print_table
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import UsageError, format_message
from hven.plugins.hips import layer_surveys, surveys
from hven.plugins.previews.pictures import PictureStyle
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from hven.plugins.hips.surveys import HipsSurvey


def hips(
    context: typer.Context,
    *,
    collection: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="The collection with the images, or with the layer.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help=("Patterns of the paths of the images, such as 'images/*.fits'.")),
    ] = None,
    layer: Annotated[
        str, typer.Option("--layer", help="Make the HiPS from this layer of a planet or moon, not from images.")
    ] = "",
    name: Annotated[
        str,
        typer.Option("--name", help="Name under which the HiPS is published (default: the layer's name, or images)."),
    ] = "",
    title: Annotated[
        str, typer.Option("--title", help="Title (default: the title of the collection, or that of the layer).")
    ] = "",
    order: Annotated[
        int | None,
        typer.Option(
            "--order", min=3, max=20, help="Order of the finest tiles (default: the resolution of the images)."
        ),
    ] = None,
    stretch: Annotated[str, typer.Option("--stretch", help="Stretch of the tiles: linear, sqrt, log or asinh.")] = "",
    colours: Annotated[str, typer.Option("--colours", help="Colours of the tiles: gray, viridis ...")] = "",
    program: Annotated[
        str | None,
        typer.Option("--with", help=("Program that makes the tiles: hven, or hipsgen from the Debian package aladin.")),
    ] = None,
    remove_survey: Annotated[bool, typer.Option("--drop", help="Remove the HiPS with this name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Make a HiPS of images or of a layer, or list HiPS."""
    name = name or layer or "images"
    if layer and collection is None:
        raise UsageError(
            format_message("the collection of the layer {layer} is missing", layer),
            remedy=format_message("write it before --layer, for example `hven hips psup --layer {layer}`", layer),
        )
    if layer and (files or stretch or colours or program):
        raise UsageError(
            format_message("a HiPS of a layer has the raster and the colours of the layer"),
            remedy=format_message("omit FILES, --stretch, --colours and --with"),
        )
    with open_site(context) as site:
        if collection is not None and remove_survey:
            surveys.delete_hips_survey(site.settings, collection, name)
            return
        if collection is not None:
            service_context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
            progress = ProgressMonitor(print_percentage)
            if layer:
                created_survey = layer_surveys.build_layer_survey(
                    service_context,
                    OWNER_PRINCIPAL,
                    collection,
                    layer,
                    name,
                    title=title,
                    order=order,
                    progress=progress,
                )
            else:
                created_survey = surveys.build_hips_survey(
                    service_context,
                    OWNER_PRINCIPAL,
                    collection,
                    name,
                    patterns=files or (),
                    title=title,
                    order=order,
                    look=PictureStyle(stretch=stretch, colours=colours),
                    program=program,
                    progress=progress,
                )
            listed_surveys = [created_survey]
            print(file=sys.stderr)
        else:
            listed_surveys = list(surveys.list_hips_surveys(site.settings))
    if as_json:
        print_json([_survey_to_json(survey) for survey in listed_surveys])
        return
    rows = [
        (survey.collection, survey.name, len(survey.files), len(survey.left_out), survey.tiles)
        for survey in listed_surveys
    ]
    print_table(("collection", "HiPS", "images", "left out", "tiles"), rows, title="HiPS")
    if collection:
        for survey in listed_surveys:
            for path, reason in survey.left_out.items():
                print(f"{path} was left out: {reason}")


def _survey_to_json(survey: HipsSurvey) -> dict[str, Any]:
    return {
        "collection": survey.collection,
        "name": survey.name,
        "images": len(survey.files),
        "tiles": survey.tiles,
        "left_out": survey.left_out,
        "properties": survey.properties,
    }
