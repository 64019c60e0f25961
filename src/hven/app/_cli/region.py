"""``hven region``: contours and regions of a file in the forms of the Virtual Observatory."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from hven.app._cli import contour_tables
from hven.model.errors import UserError
from hven.model.sky import planetary_frames, region_files

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SHOWN_FAULTS = 20  # faults told one by one


class RegionFormat(enum.StrEnum):
    """What is written."""

    polygon = "polygon"
    moc = "moc"
    geojson = "geojson"
    stc = "stc"
    dali = "dali"
    ds9 = "ds9"
    crtf = "crtf"


class SolarLongitudes(enum.StrEnum):
    """Where longitudes on the Sun begin, if a date tells the observer."""

    carrington = "carrington"
    stonyhurst = "stonyhurst"


class VertexOrder(enum.StrEnum):
    """From where corners run anticlockwise."""

    sky = "sky"
    body = "body"


class ChainCodeDirections(enum.StrEnum):
    """Tables of chain codes."""

    helio = "helio"
    freeman = "freeman"


def region(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Table of contours or regions, label image, or file of regions.")
    ],
    *,
    output_format: Annotated[RegionFormat, typer.Option("--to", help="What to write: a line for each row, or a file.")],
    output_file: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write here instead; MOC as .fits or .json is of all rows."),
    ] = None,
    chain: Annotated[str | None, typer.Option("--chain", metavar="NAME", help="Column of chain codes (CC).")] = None,
    x: Annotated[
        str | None, typer.Option("--x", metavar="NAME", help="Their first pixel, or lists of pixels (CC_X_PIX).")
    ] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="NAME", help="The same upward (CC_Y_PIX).")] = None,
    radius: Annotated[
        str | None,
        typer.Option("--radius", metavar="R", help="Of the disc: NAME or number, pixels (R_SUN); 960arcsec."),
    ] = None,
    centre: Annotated[
        str | None, typer.Option("--centre", "--center", metavar="X,Y", help="Of the disc, pixels (CENTER_X,CENTER_Y).")
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="X,Y", help="Arcseconds per pixel (CDELT1,CDELT2).")
    ] = None,
    observation_date: Annotated[
        str | None, typer.Option("--date", metavar="T", help="NAME or moment, of an observer at the Earth (DATE_OBS).")
    ] = None,
    observer: Annotated[
        str | None, typer.Option("--observer", metavar="LON,LAT", help="Or the point of the sphere below it, degrees.")
    ] = None,
    rotation: Annotated[
        str | None,
        typer.Option("--rotation", metavar="N", help="Carrington's, which the date must not contradict (C_ROTATION)."),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="Column of regions as texts (s_region).")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Column that names the rows, for GeoJSON.")
    ] = None,
    longitudes: Annotated[
        SolarLongitudes, typer.Option("--longitudes", help="On the Sun, if --date tells the observer.")
    ] = SolarLongitudes.carrington,
    origin: Annotated[int, typer.Option("--origin", min=0, max=1, help="The number of an image's first pixel.")] = 0,
    directions: Annotated[
        ChainCodeDirections, typer.Option("--directions", help="What the digits of chain codes mean.")
    ] = ChainCodeDirections.helio,
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="WORD", help="The frame that STC-S and GeoJSON name.")
    ] = None,
    view: Annotated[
        VertexOrder | None,
        typer.Option("--view", help="Corners anticlockwise from inside (sky) or outside (default: body for contours)."),
    ] = None,
) -> None:
    """Write contours and regions of a file in other forms."""
    contour_options = contour_tables.ContourOptions(
        chain=chain,
        x=x,
        y=y,
        radius=radius,
        centre=centre,
        scale=scale,
        date=observation_date,
        observer=observer,
        rotation=rotation,
        region=column,
        name=name,
        frame=longitudes.value,
        origin=origin,
        freeman=directions is ChainCodeDirections.freeman,
    )
    data = file.read_bytes()
    if not data.strip():
        raise UserError(f"{file}: the file is empty", remedy=region_files.READABLE_FORMATS)
    try:
        region_format = region_files.detect_format(data, file.name)
        if region_format:
            read_regions = region_files.read_regions(data, file.name, make_valid=True)
            is_on_body = "IAU" in (read_regions.frame or "")
        else:
            read_regions = contour_tables.read_contours(file, contour_options)
            is_on_body = read_regions.frame is None
        if view is None:
            seen_from_outside = is_on_body
        else:
            seen_from_outside = view is VertexOrder.body
        text, faults = _write_regions(
            read_regions, output_format, output_file, frame, seen_from_outside=seen_from_outside
        )
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    if output_file is not None:
        output_file.write_bytes(text)
    else:
        sys.stdout.buffer.write(text)
    if region_format and is_on_body and (frame_problem := _describe_unknown_frame(read_regions.frame or "")):
        print(f"hven: {file}: {frame_problem}: longitudes are taken to grow to the east", file=sys.stderr)
    _print_row_messages(file, sorted(read_regions.notes.items()), faults, len(read_regions.faults))
    if faults:
        raise typer.Exit(1)


def _print_row_messages(
    file: Path, notes: Sequence[tuple[int, str]], faults: Sequence[tuple[int, str]], row_count: int
) -> None:
    """Print which rows were changed and which have no region, the first of each, and how many there are."""
    for row, message in [*notes[:MAX_SHOWN_FAULTS], *faults[:MAX_SHOWN_FAULTS]]:
        print(f"hven: {file}: row {row + 1}: {message}", file=sys.stderr)
    if len(notes) > MAX_SHOWN_FAULTS:
        hidden_count = len(notes) - MAX_SHOWN_FAULTS
        print(f"hven: {file}: {len(notes):,} rows were changed, {hidden_count:,} of them not shown", file=sys.stderr)
    if faults:
        hidden_count = max(len(faults) - MAX_SHOWN_FAULTS, 0)
        hidden_text = f", {hidden_count:,} of them not shown" if hidden_count else ""
        print(f"hven: {file}: {len(faults):,} of {row_count:,} rows have no region{hidden_text}", file=sys.stderr)


def _describe_unknown_frame(crs: str) -> str:
    """Tell what is not known of the frame of a body."""
    try:
        planetary_frames.parse_frame_code(crs)
    except ValueError as error:
        return str(error)
    return ""


def _write_regions(
    read_regions: region_files.ParsedRegions,
    output_format: RegionFormat,
    output_file: Path | None,
    frame: str | None,
    *,
    seen_from_outside: bool,
) -> tuple[bytes, list[tuple[int, str]]]:
    """Write regions, and tell which have none, or none that this form can say."""
    faults = [(row, fault) for row, fault in enumerate(read_regions.faults) if fault]
    regions = read_regions.regions
    extension = output_file.suffix.lower() if output_file else ""
    if output_format is RegionFormat.geojson:
        names = [name if name is not None else row + 1 for row, name in enumerate(read_regions.names)]
        facts = [
            {"row": row + 1, **({"fault": fault} if fault else {})} for row, fault in enumerate(read_regions.faults)
        ]
        return region_files.to_geojson(regions, facts, ids=names, crs=frame or read_regions.frame).encode(), faults
    empty_rows = {row for row, _ in faults} | set(np.flatnonzero(np.diff(regions.rows) == 0).tolist())
    faults = [(row, read_regions.faults[row] or "there is no region") for row in sorted(empty_rows)]
    if output_format in {RegionFormat.ds9, RegionFormat.crtf}:
        if (frame or read_regions.frame) != "ICRS":
            raise ValueError(
                f"files of {output_format.value} are in ICRS, and these regions in "
                f"{frame or read_regions.frame or 'no frame that is known'}"
            )
        return region_files.write_region_file(regions, output_format.value).encode(), faults
    if output_format is RegionFormat.moc:
        if extension in {".fits", ".json"}:
            (united_moc,), _ = contour_tables.merge_regions(read_regions).to_mocs()
            return region_files.write_moc(united_moc, extension[1:]), faults
        mocs, _ = regions.to_mocs()
        return "".join(f"{'' if row in empty_rows else moc}\n" for row, moc in enumerate(mocs)).encode(), faults
    kind = {RegionFormat.stc: "stcs", RegionFormat.dali: "multishape", RegionFormat.polygon: "polygon"}[output_format]
    frame_name = read_regions.frame or ""
    # a URN of GeoJSON's is no word of STC-S
    if output_format is RegionFormat.stc:
        frame_word = frame or (frame_name if frame_name.isalnum() else "")
    else:
        frame_word = ""
    lines = region_files.write_region_texts(regions, kind, frame=frame_word, from_outside=seen_from_outside).to_pylist()
    too_large_text = "it is more than one polygon without holes, of less than half a sphere: --to dali or moc says it"
    faults += [(row, too_large_text) for row, line in enumerate(lines) if line is None and row not in empty_rows]
    return "".join(f"{line or ''}\n" for line in lines).encode(), sorted(faults)
