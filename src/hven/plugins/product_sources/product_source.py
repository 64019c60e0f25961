"""Read product files in all formats that Hven knows: CDF, netCDF, HDF5, IDL SAVE, FITS, and plug-ins' formats.

A row for each file, image, variable or attribute, or the rows of a table in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from hven.model import plugins
from hven.model.errors import SourceError
from hven.plugins.product_sources.product_rows import (
    ProductAttributeSource,
    ProductHeaderSource,
    ProductImageSource,
    ProductTableSource,
    ProductVariableSource,
    list_product_tables,
)
from hven.sources import AvailableTable, FileKindSignature, SourceKindTraits
from hven.sources.api.file_access import find_data_files
from hven.sources.api.header_rows import HeaderSourceOptions
from hven.sources.remote_stores import find_remote_or_archived_files, require_local_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import Source, SourceContext

# what other kinds read by its content is theirs: FITS and plain text; files of plug-in packages are in their records
TRAITS = SourceKindTraits(reads_local_files=True, header_modes=("images",))
FILES = FileKindSignature(
    extensions=("tif", "tiff", "jp2"), leading_pattern=rb"II[*+]\x00|MM\x00[*+]|\x00\x00\x00\x0cjP  "
)


class Options(HeaderSourceOptions):
    """What a descriptor may state about product files."""

    mode: Literal["header", "images", "variables", "cards", "table"] | None = Field(
        None,
        description=(
            "`header`: one row per file. `images`: one row per image or cube. `variables`: one row per variable. "
            "`cards`: one row per card or attribute. `table`: the rows of a table. Default: `table` if you set "
            "`part`, or else `header`."
        ),
        examples=["images"],
    )
    part: int | str | None = Field(
        None,
        description=(
            "With `table`, the number or name of the table (default: the first table). With `images` and `cards`, Hven "
            "reads only this part."
        ),
        examples=["SPECTRUM"],
    )
    longitudes: Literal["carrington", "stonyhurst", "east", "west"] | None = Field(
        None, description="Kind of longitude in `file.footprint`, as for `fits`.", examples=["west"]
    )

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if self.part is not None and self.mode in {"header", "variables"}:
            raise ValueError("`part` works only with the modes `table`, `images` and `cards`")
        return self


def _list_file_extensions() -> tuple[str, ...]:
    """List the extensions of all files of this kind, with those of files that other kinds read, too."""
    package_files = plugins.list_file_signatures("product")
    added_extensions = (extension for signature in package_files for extension in signature.extensions)
    return (*FILES.extensions, *added_extensions, "fits", "fit", "fts", "xml")


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables of the first file; the only one of a file without images is the default.

    In archives, only headers can be read: their tables are listed if there are no images, and none is the default.

    Raises
    ------
    SourceError
        No such file; it cannot be read.
    """
    parsed_options = Options.model_validate(dict(options))
    header_files = find_remote_or_archived_files(parsed_options, context, _list_file_extensions())
    files = header_files or find_data_files(parsed_options, context.directory, context.allowed_roots)
    try:
        tables_found, default_part = list_product_tables(files[0])
    except SourceError:
        if header_files is None:
            raise
        return []  # the members that cannot be read are reported with their rows
    if header_files is not None:
        tables_found = [] if default_part is None else tables_found
        default_part = None
    return [
        AvailableTable(
            option_value=part, name=name, row_count=rows, is_default=len(files) == 1 and part == default_part
        )
        for part, name, rows in tables_found
    ]


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open product files.

    Raises
    ------
    SourceError
        No such file.
    """
    mode = options.mode or ("header" if options.part is None else "table")
    if mode == "table":
        require_local_files(options)
        return ProductTableSource(options, None if options.part is None else str(options.part), context, options.null)
    kinds = {
        "header": ProductHeaderSource,
        "images": ProductImageSource,
        "variables": ProductVariableSource,
        "cards": ProductAttributeSource,
    }
    header_files = find_remote_or_archived_files(options, context, _list_file_extensions())
    return kinds[mode](
        options,
        context,
        header_files,
        None if options.part is None else str(options.part),
        longitudes=options.longitudes,
    )
