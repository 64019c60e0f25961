"""OIFITS, versions 1 and 2: a row for each granule, as OiDB has them (what a file holds of a target, in a mode of an instrument, in a night), or one for each file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hven.sources import FileKind
from hven.sources._reading.headrows import HeadOptions
from hven.sources._reading.oigranules import GranuleRows
from hven.sources.stores import meant

if TYPE_CHECKING:
    from hven.sources import Context, Source

FILES = FileKind(
    endings=("oifits",),
    begins=rb"(?s)SIMPLE  =.*?(CONTENT *= 'OIFITS|EXTNAME = 'OI_(ARRAY|TARGET|WAVELENGTH|VIS|VIS2|T3|FLUX) *')",
    like="fits",
)


class Options(HeadOptions):
    """What a descriptor may say of OIFITS files."""

    mode: Literal["granules", "files"] = Field(
        "granules",
        description="`granules`: one row per target, mode of the instrument and night; `files`: one per file.",
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open OIFITS files.

    Raises
    ------
    SourceError
        No such file.
    """
    return GranuleRows(
        options, context, meant(options, context, ("oifits", "fits", "fit")), whole=options.mode == "files"
    )
