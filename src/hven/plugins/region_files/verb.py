"""``hven region``: convert contours and regions of a file to formats of the Virtual Observatory."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hven.model.errors import UserError
from hven.model.sky import planetary_frames, region_files
from hven.plugins.region_files import contour_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_SHOWN_FAULTS = 20  # faults that are printed one by one; the rest is counted


class RegionFormat(enum.StrEnum):
    """Formats of the output."""

    polygon = "polygon"
    moc = "moc"
    geojson = "geojson"
    stc = "stc"
    dali = "dali"
    ds9 = "ds9"
    crtf = "crtf"


# output formats of a line for each row -> the names that `region_files` has for them
TEXT_KINDS = {RegionFormat.stc: "stcs", RegionFormat.dali: "multishape", RegionFormat.polygon: "polygon"}


class SolarLongitudeOrigin(enum.StrEnum):
    """Zero of longitudes on the Sun, if a date gives the observer."""

    carrington = "carrington"
    stonyhurst = "stonyhurst"


class VertexOrder(enum.StrEnum):
    """The side from which vertices run anticlockwise."""

    sky = "sky"
    body = "body"


class ChainCodeDirections(enum.StrEnum):
    """Tables of the directions of chain codes."""

    helio = "helio"
    freeman = "freeman"


def region(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Table of contours or regions, label image, or region file.")
    ],
    *,
    output_format: Annotated[
        RegionFormat, typer.Option("--to", help="Format of the output, which is a line for each row, or a file.")
    ],
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write to this file. A MOC in a .fits or .json file covers all rows."
        ),
    ] = None,
    chain: Annotated[
        str | None, typer.Option("--chain", metavar="NAME", help=("Column of chain codes (default: CC)."))
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            "--x",
            metavar="NAME",
            help=("Column with x of the first pixel of each chain code, or with lists of x (default: CC_X_PIX)."),
        ),
    ] = None,
    y: Annotated[
        str | None, typer.Option("--y", metavar="NAME", help=("Column with y, as for --x (default: CC_Y_PIX)."))
    ] = None,
    radius: Annotated[
        str | None,
        typer.Option(
            "--radius",
            metavar="R",
            help=(
                "Radius of the disc: a column or a number, in pixels, or an angle such as 960arcsec (default: R_SUN)."
            ),
        ),
    ] = None,
    centre: Annotated[
        str | None,
        typer.Option(
            "--centre",
            "--center",
            metavar="X,Y",
            help="Centre of the disc in pixels, as two columns or numbers (default: CENTER_X,CENTER_Y).",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale", metavar="X,Y", help=("Arcseconds per pixel, as columns or numbers (default: CDELT1,CDELT2).")
        ),
    ] = None,
    observation_date: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="T",
            help=("Time of the observation, for an observer on the Earth: a column or a time (default: DATE_OBS)."),
        ),
    ] = None,
    observer: Annotated[
        str | None,
        typer.Option(
            "--observer", metavar="LON,LAT", help="Instead of --date: the point below the observer, in degrees."
        ),
    ] = None,
    rotation: Annotated[
        str | None,
        typer.Option(
            "--rotation",
            metavar="N",
            help=("Carrington rotation, which must match the date: a column or a number (default: C_ROTATION)."),
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="Column with regions as text (default: s_region).")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Column with the names of the rows, for GeoJSON.")
    ] = None,
    longitudes: Annotated[
        SolarLongitudeOrigin,
        typer.Option(
            "--longitudes", help="Origin of longitudes on the Sun, if --date determines the observer's position."
        ),
    ] = SolarLongitudeOrigin.carrington,
    origin: Annotated[int, typer.Option("--origin", min=0, max=1, help="Number of an image's first pixel.")] = 0,
    directions: Annotated[
        ChainCodeDirections, typer.Option("--directions", help="What the digits of chain codes mean.")
    ] = ChainCodeDirections.helio,
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="WORD", help="Name of the frame in STC-S and GeoJSON.")
    ] = None,
    view: Annotated[
        VertexOrder | None,
        typer.Option(
            "--view",
            help=(
                "Vertices run counter-clockwise as seen from inside (sky), or from outside (body, the default for "
                "contours)."
            ),
        ),
    ] = None,
) -> None:
    """Convert contours and regions in a file to other formats."""
    contour_options = contour_tables.ContourTableOptions(
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
    content = file.read_bytes()
    if not content.strip():
        raise UserError(
            f"{file}: the file is empty", remedy=f"use one of these formats: {region_files.READABLE_FORMATS}"
        )
    frame_problem = ""
    try:
        if region_files.detect_region_format(content, file.name):
            read_regions = region_files.parse_region_file(content, file.name, make_valid=True)
            is_on_body = "IAU" in (read_regions.frame or "")
            if is_on_body:
                frame_problem = _find_frame_problem(read_regions.frame or "")
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
    if frame_problem:
        print(f"hven: {file}: {frame_problem}; Hven assumes that longitudes increase to the east", file=sys.stderr)
    _print_row_messages(file, sorted(read_regions.notes.items()), faults, len(read_regions.faults))
    if faults:
        raise typer.Exit(1)


def _print_row_messages(
    file: Path, notes: Sequence[tuple[int, str]], faults: Sequence[tuple[int, str]], row_count: int
) -> None:
    """Print which rows were changed and which have no region: the first of each, and how many there are."""
    for row, message in [*notes[:MAX_SHOWN_FAULTS], *faults[:MAX_SHOWN_FAULTS]]:
        print(f"hven: {file}: row {row + 1}: {message}", file=sys.stderr)
    if len(notes) > MAX_SHOWN_FAULTS:
        print(
            f"hven: {file}: {len(notes):,} rows were changed; only the first {MAX_SHOWN_FAULTS} are shown",
            file=sys.stderr,
        )
    if faults:
        hidden_text = f"; only the first {MAX_SHOWN_FAULTS} are shown" if len(faults) > MAX_SHOWN_FAULTS else ""
        print(f"hven: {file}: {len(faults):,} of {row_count:,} rows have no region{hidden_text}", file=sys.stderr)


def _find_frame_problem(frame_code: str) -> str:
    """Describe what is not known about the frame of a body; empty if it is known."""
    try:
        planetary_frames.parse_iau_frame_code(frame_code)
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
    """Write regions, and return the rows that have none, or none that the format can express.

    Raises
    ------
    ValueError
        The frame of the regions does not fit the format.
    """
    faults = [(row, fault) for row, fault in enumerate(read_regions.faults) if fault]
    regions = read_regions.regions
    extension = ""
    if output_file:
        extension = output_file.suffix.lower()
    if output_format is RegionFormat.geojson:
        return _write_geojson(read_regions, frame).encode(), faults
    rows_without_shapes = np.flatnonzero(np.diff(regions.rows) == 0).tolist()
    empty_rows = {row for row, _ in faults}.union(rows_without_shapes)
    faults = [(row, read_regions.faults[row] or "there is no region") for row in sorted(empty_rows)]
    if output_format in {RegionFormat.ds9, RegionFormat.crtf}:
        region_frame = frame or read_regions.frame
        if region_frame != "ICRS":
            raise ValueError(
                f"{output_format.value} files are in ICRS, but these regions are in "
                f"{region_frame or 'an unknown frame'}"
            )
        return region_files.write_region_file(regions, output_format.value).encode(), faults
    if output_format is RegionFormat.moc and extension in {".fits", ".json"}:
        (united_moc,), _ = contour_tables.merge_row_regions(read_regions).to_mocs()
        return region_files.write_moc(united_moc, extension[1:]), faults
    if output_format is RegionFormat.moc:
        mocs, _ = regions.to_mocs()
        return _join_lines("" if row in empty_rows else str(moc) for row, moc in enumerate(mocs)), faults
    frame_word = ""
    if output_format is RegionFormat.stc:
        frame_word = frame or _choose_stcs_frame(read_regions)
    texts = region_files.write_region_texts(
        regions, TEXT_KINDS[output_format], frame=frame_word, from_outside=seen_from_outside
    )
    lines = texts.to_pylist()
    inexpressible = (
        "this format can contain only single polygons that have no holes and cover less than half a sphere; "
        "use --to dali or moc"
    )
    faults += [(row, inexpressible) for row, line in enumerate(lines) if line is None and row not in empty_rows]
    return _join_lines(line or "" for line in lines), sorted(faults)


def _write_geojson(read_regions: region_files.ParsedRegions, frame: str | None) -> str:
    """Write regions as GeoJSON; features have the name of their row, or its number from 1."""
    names: list[str | int] = []
    properties: list[dict[str, Any]] = []
    for row, (name, fault) in enumerate(zip(read_regions.names, read_regions.faults, strict=True), start=1):
        names.append(row if name is None else name)
        row_properties: dict[str, Any] = {"row": row}
        if fault:
            row_properties["fault"] = fault
        properties.append(row_properties)
    return region_files.write_geojson_features(
        read_regions.regions, properties, ids=names, crs=frame or read_regions.frame
    )


def _choose_stcs_frame(read_regions: region_files.ParsedRegions) -> str:
    """Return the frame as a word of STC-S; empty for a URN of GeoJSON, which is none."""
    frame_name = read_regions.frame or ""
    if frame_name.isalnum():
        return frame_name
    return ""


def _join_lines(lines: Iterable[str]) -> bytes:
    """Join lines, with an end of line behind each."""
    return "".join(f"{line}\n" for line in lines).encode()
