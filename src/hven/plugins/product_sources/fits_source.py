"""Read FITS: the rows of a table, one row per file from header cards, or one row per card.

The modes are `table` (binary or ASCII), `header` and `cards`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hven.plugins.product_sources.fits_card_rows import FitsCardSource
from hven.plugins.product_sources.fits_header_rows import FitsHeaderSource
from hven.plugins.product_sources.fits_table_rows import FitsTableSource, list_table_hdus
from hven.sources import AvailableTable, FileKindSignature, SourceKindTraits
from hven.sources.api.file_access import find_data_files
from hven.sources.api.header_rows import HeaderSourceOptions
from hven.sources.remote_stores import find_remote_or_archived_files, require_local_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import Source, SourceContext


TRAITS = SourceKindTraits(reads_local_files=True, header_modes=("header",))
FILES = FileKindSignature(extensions=("fits", "fit", "fts"), leading_pattern=rb"SIMPLE  =")


class Options(HeaderSourceOptions):
    """What a descriptor may state about FITS files."""

    mode: Literal["table", "header", "cards"] = Field(
        "table",
        description=(
            "`table` (default): the rows of a table. `header`: one row per file, with its cards. `cards`: one row per "
            "card."
        ),
        examples=["header"],
    )
    hdu: int | str | list[int | str] | None = Field(
        None,
        description=(
            "Number (0 is the primary HDU) or EXTNAME of the HDU, or a list of these. Default: the first table for "
            "`table`, the primary HDU for `header`, and all HDUs for `cards`. With a list for `header`, Hven searches "
            "the HDUs in this order for each card."
        ),
        examples=[[0, "SCI"]],
    )
    longitudes: Literal["carrington", "stonyhurst", "east", "west"] | None = Field(
        None,
        description=(
            "Kind of longitude in `file.footprint`. For images of the Sun: `carrington` (default) or `stonyhurst`. For "
            "maps of bodies: the direction of the longitudes in the header, `east` (default) or `west`."
        ),
        examples=["stonyhurst"],
    )


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the table HDUs of the first file in order; a table that only holds the axes of images is never the default.

    Raises
    ------
    SourceError
        There is no such file, or it is no FITS file.
    """
    data_files = find_data_files(Options.model_validate(dict(options)), context.directory, context.allowed_roots)
    table_hdus = list_table_hdus(data_files[0])
    default = next((hdu.hdu_index for hdu in table_hdus if not hdu.holds_only_image_axes), None)
    return [
        AvailableTable(
            option_value=hdu.hdu_index, name=hdu.name, row_count=hdu.row_count, is_default=hdu.hdu_index == default
        )
        for hdu in table_hdus
    ]


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open FITS files.

    Raises
    ------
    SourceError
        No such file.
    """
    if options.mode == "cards":
        return FitsCardSource(
            options,
            [] if options.hdu is None else options.hdu,
            context,
            find_remote_or_archived_files(options, context, FILES.extensions),
        )
    if options.mode == "header":
        return FitsHeaderSource(
            options,
            options.hdu,
            context,
            find_remote_or_archived_files(options, context, FILES.extensions),
            longitudes=options.longitudes,
        )
    require_local_files(options)
    return FitsTableSource(options, options.hdu, context, options.null)
