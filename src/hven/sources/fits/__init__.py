"""FITS: the rows of a binary or ASCII table, or one row per file from header cards (`mode: header`), or one per card (`mode: cards`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hven.sources import FileKind, Offer
from hven.sources._reading.headrows import HeadOptions
from hven.sources._reading.listing import data_files
from hven.sources.fits.cardrows import CardRows
from hven.sources.fits.header import HeaderRows
from hven.sources.fits.rows import TableRows, listed
from hven.sources.stores import meant, on_disk_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import Context, Source


FILES = FileKind(endings=("fits", "fit", "fts"), begins=rb"SIMPLE  =")


class Options(HeadOptions):
    """What a descriptor may say of FITS files."""

    mode: Literal["table", "header", "cards"] = Field(
        "table",
        description="`table`: the rows of a table; `header`: one row per file, from header cards; `cards`: one row per card.",
    )
    hdu: int | str | list[int | str] | None = Field(
        None,
        description="Number (0 = primary) or EXTNAME. Table: default the first table. Header: default 0; a list is searched in order. Cards: default all.",
    )
    longitudes: Literal["carrington", "stonyhurst", "east", "west"] | None = Field(
        None,
        description="Header: longitudes of `file.footprint`: of images of the Sun's disc `carrington` (the default) or `stonyhurst`; of maps of bodies "
        "how the header's run, `east` (the default) or `west`, and all are east in the footprint.",
    )


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the table HDUs of the first file, in its order; none is the default if they hold but the axes of images.

    Raises
    ------
    SourceError
        No such file; it is no FITS file.
    """
    found = listed(data_files(Options.model_validate(dict(options)), context.directory, context.roots)[0])
    default = next((index for index, _, _, axes in found if not axes), None)
    return [Offer(choice=index, name=name, rows=rows, default=index == default) for index, name, rows, _ in found]


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open FITS files.

    Raises
    ------
    SourceError
        No such file.
    """
    if options.mode == "cards":
        return CardRows(
            options, [] if options.hdu is None else options.hdu, context, meant(options, context, FILES.endings)
        )
    if options.mode == "header":
        return HeaderRows(
            options,
            options.hdu,
            context,
            meant(options, context, FILES.endings),
            stonyhurst=options.longitudes == "stonyhurst",
            west=options.longitudes == "west",
        )
    on_disk_alone(options)
    return TableRows(options, options.hdu, context, options.null)
