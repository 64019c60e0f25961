"""``hven region``: contours and regions of a file in the forms of the Virtual Observatory."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hven.app._cli import contour_tables
from hven.model.errors import UserError
from hven.model.sky import planets, region_files

SHOWN = 20  # faults told one by one


class Form(enum.StrEnum):
    """What is written."""

    polygon = "polygon"
    moc = "moc"
    geojson = "geojson"
    stc = "stc"
    dali = "dali"
    ds9 = "ds9"
    crtf = "crtf"


class Longitudes(enum.StrEnum):
    """Where longitudes on the Sun begin, if a date tells the observer."""

    carrington = "carrington"
    stonyhurst = "stonyhurst"


class View(enum.StrEnum):
    """From where corners run anticlockwise."""

    sky = "sky"
    body = "body"


class Directions(enum.StrEnum):
    """Tables of chain codes."""

    helio = "helio"
    freeman = "freeman"


def region(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Table of contours or regions, label image, or file of regions.")
    ],
    to: Annotated[Form, typer.Option("--to", help="What to write: a line for each row, or a file.")],
    out: Annotated[
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
    date: Annotated[
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
        Longitudes, typer.Option("--longitudes", help="On the Sun, if --date tells the observer.")
    ] = Longitudes.carrington,
    origin: Annotated[int, typer.Option("--origin", min=0, max=1, help="The number of an image's first pixel.")] = 0,
    directions: Annotated[
        Directions, typer.Option("--directions", help="What the digits of chain codes mean.")
    ] = Directions.helio,
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="WORD", help="The frame that STC-S and GeoJSON name.")
    ] = None,
    view: Annotated[
        View | None,
        typer.Option("--view", help="Corners anticlockwise from inside (sky) or outside (default: body for contours)."),
    ] = None,
) -> None:
    """Write contours and regions of a file in other forms."""
    said = contour_tables.Said(
        chain=chain, x=x, y=y, radius=radius, centre=centre, scale=scale, date=date, observer=observer, rotation=rotation, region=column, name=name,
        frame=longitudes.value, origin=origin, freeman=directions is Directions.freeman,
    )  # fmt: skip
    data = file.read_bytes()
    if not data.strip():
        raise UserError(f"{file}: the file is empty", remedy=region_files.KNOWN)
    try:
        known = region_files.form(data, file.name)
        read = region_files.read(data, file.name, mend=True) if known else contour_tables.read(file, said)
        body = "IAU" in (read.frame or "") if known else read.frame is None
        outside = view is View.body or (view is None and body)
        text, faults = _written(read, to, out, frame, outside=outside)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    if out is not None:
        out.write_bytes(text)
    else:
        sys.stdout.buffer.write(text)
    if known and body and (unknown := _unknown(read.frame or "")):
        print(f"hven: {file}: {unknown}: longitudes are taken to grow to the east", file=sys.stderr)
    notes = sorted(read.notes.items())
    for row, told in [*notes[:SHOWN], *faults[:SHOWN]]:
        print(f"hven: {file}: row {row + 1}: {told}", file=sys.stderr)
    if len(notes) > SHOWN:
        print(
            f"hven: {file}: {len(notes):,} rows were changed, {len(notes) - SHOWN:,} of them not shown", file=sys.stderr
        )
    if faults:
        more = f", {len(faults) - SHOWN:,} of them not shown" if len(faults) > SHOWN else ""
        print(f"hven: {file}: {len(faults):,} of {len(read.faults):,} rows have no region{more}", file=sys.stderr)
        raise typer.Exit(1)


def _unknown(crs: str) -> str:
    """Tell what is not known of the frame of a body."""
    try:
        planets.of_code(crs)
    except ValueError as error:
        return str(error)
    return ""


def _written(
    read: region_files.Read, to: Form, out: Path | None, frame: str | None, *, outside: bool
) -> tuple[bytes, list[tuple[int, str]]]:
    """Write regions, and tell which have none, or none that this form can say."""
    faults = [(row, fault) for row, fault in enumerate(read.faults) if fault]
    regions, ending = read.regions, out.suffix.lower() if out else ""
    if to is Form.geojson:
        names = [name if name is not None else row + 1 for row, name in enumerate(read.names)]
        facts = [{"row": row + 1, **({"fault": fault} if fault else {})} for row, fault in enumerate(read.faults)]
        return region_files.to_geojson(regions, facts, ids=names, crs=frame or read.frame).encode(), faults
    empty = {row for row, _ in faults} | set(np.flatnonzero(np.diff(regions.rows) == 0).tolist())
    faults = [(row, read.faults[row] or "there is no region") for row in sorted(empty)]
    if to in {Form.ds9, Form.crtf}:
        if (frame or read.frame) != "ICRS":
            raise ValueError(
                f"files of {to.value} are in ICRS, and these regions in {frame or read.frame or 'no frame that is known'}"
            )
        return region_files.written(regions, to.value).encode(), faults
    if to is Form.moc:
        if ending in {".fits", ".json"}:
            (whole,), _ = contour_tables.combined(read).mocs()
            return region_files.moc_written(whole, ending[1:]), faults
        mocs, _ = regions.mocs()
        return "".join(f"{'' if row in empty else moc}\n" for row, moc in enumerate(mocs)).encode(), faults
    kind = {Form.stc: "stcs", Form.dali: "multishape", Form.polygon: "polygon"}[to]
    said = read.frame or ""
    word = frame or (said if said.isalnum() else "") if to is Form.stc else ""  # a URN of GeoJSON's is no word of STC-S
    lines = region_files.texts(regions, kind, frame=word, outside=outside).to_pylist()
    large = "it is more than one polygon without holes, of less than half a sphere: --to dali or moc says it"
    faults += [(row, large) for row, line in enumerate(lines) if line is None and row not in empty]
    return "".join(f"{line or ''}\n" for line in lines).encode(), sorted(faults)
