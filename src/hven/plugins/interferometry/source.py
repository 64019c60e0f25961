"""Read OIFITS, versions 1 and 2: one row for each granule, as in OiDB, or one row for each file.

A granule is what a file holds of a target, in a mode of an instrument, in a night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hven.plugins.interferometry.oifits_granules import OifitsGranuleSource
from hven.sources import FileKindSignature, SourceKindTraits
from hven.sources.api.header_rows import HeaderSourceOptions
from hven.sources.remote_stores import find_remote_or_archived_files

if TYPE_CHECKING:
    from hven.sources import Source, SourceContext

TRAITS = SourceKindTraits(reads_local_files=True)
FILES = FileKindSignature(
    extensions=("oifits",),
    leading_pattern=(
        rb"(?s)SIMPLE  =.*?"
        rb"(CONTENT *= 'OIFITS|EXTNAME = 'OI_(ARRAY|TARGET|WAVELENGTH|VIS|VIS2|T3|FLUX) *')"
    ),
    base_kind="fits",
)


class Options(HeaderSourceOptions):
    """What a descriptor may state about OIFITS files."""

    mode: Literal["granules", "files"] = Field(
        "granules",
        description=(
            "`granules` (default): one row for each combination of target, instrument mode and night. `files`: one "
            "row for each file. A single string lists all targets of the file, and another string lists all its "
            "instrument modes."
        ),
        examples=["files"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open OIFITS files.

    Raises
    ------
    SourceError
        No such file.
    """
    header_files = find_remote_or_archived_files(options, context, ("oifits", "fits", "fit"))
    return OifitsGranuleSource(
        options,
        context,
        header_files,
        whole_files=options.mode == "files",
    )
