"""Products in formats that every program opens: arrays as images of FITS with their WCS, tables as FITS or VOTable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import InfoElement, ResultStatus, TableMetadata, select_format
from hven.formats.media._cutouts import FITS_MEDIA, CutoutHdu, StreamedFile, join_hdus, write_primary_hdu
from hven.formats.media._product import ArrayPart, TablePart
from hven.formats.media._table_selection import write_table_hdu
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media._product import Part, Product, StoredHdu


def write_fits_file(
    product: Product, part: str | None = None, *, history: Sequence[str] = (), byte_limit: int | None = None
) -> StreamedFile:
    """Write a product as FITS.

    Parameters
    ----------
    product
        An open file; it stays open until the last chunk is read.
    part
        Index or name of a part; None: all of them.
    history
        Lines for the headers: where it comes from.
    byte_limit
        Bytes of the file at most.

    Returns
    -------
    file
        Arrays as images, tables as binary tables. Arrays are read while it is sent; tables of other media are written
        before.

    Raises
    ------
    SourceError
        It has no part that can be written, or none of that name.
    TooLargeError
        It would be more than `byte_limit`.
    """
    # what is another view of what FITS has already is written where it is asked for
    if part is None:
        parts = tuple(
            part_item for part_item in product.parts if product.medium not in FITS_MEDIA or _is_original_part(part_item)
        )
    else:
        parts = (product.find_part(part),)
    if not parts:
        raise SourceError(format_message("the file has neither an image nor a table"))
    # an image that comes first is the first HDU, so that what reads that one alone shows it
    first = isinstance(parts[0], ArrayPart) and (product.medium not in FITS_MEDIA or parts[0].index == 0)
    pieces: list[CutoutHdu | StoredHdu] = []
    for number, part_item in enumerate(parts):
        if isinstance(part_item, TablePart):
            pieces.append(
                part_item.copy_fits_hdu()
                if part_item.copy_fits_hdu is not None
                else write_table_hdu(part_item, history, byte_limit)
            )
            continue
        window = tuple(slice(0, size) for size in part_item.shape)
        is_primary = first and not number
        further_cards = product.cards if is_primary else ()
        pieces.append(
            CutoutHdu(
                part_item,
                window,
                first=is_primary,
                history=history,
                number=number + 1,
                further_cards=further_cards,
            )
        )
    return join_hdus(b"" if first else write_primary_hdu(product.cards, product.medium), pieces, byte_limit)


def _is_original_part(part: Part) -> bool:
    if isinstance(part, TablePart):
        return part.copy_fits_hdu is not None
    return part.source_part_index is None


def write_votable_file(product: Product, part: str | None = None, *, serialization: str = "BINARY2") -> StreamedFile:
    """Write a table of a product as VOTable.

    Parameters
    ----------
    product
        An open file; it stays open until the last chunk is read.
    part
        Index or name of a part; None: the first table.
    serialization
        As VOTable's: ``BINARY2``, ``TABLEDATA``.

    Returns
    -------
    file
        Its rows are read while it is sent; its size is not known.

    Raises
    ------
    SourceError
        The part is no table, or there is none.
    """
    table_part = (
        next((part_item for part_item in product.parts if isinstance(part_item, TablePart)), None)
        if part is None
        else product.find_part(part)
    )
    if not isinstance(table_part, TablePart):
        name = product.medium if table_part is None else table_part.name or str(table_part.index)
        raise SourceError(format_message("{name} is no table: it is written as FITS", name))
    votable_format, options = select_format("votable")
    infos = [
        InfoElement(name=card.keyword, value=str(card.value))
        for card in (*product.cards, *table_part.cards)
        if card.keyword not in {"", "COMMENT", "HISTORY"} and card.value is not None
    ]
    metadata = TableMetadata(
        columns=table_part.columns, name=table_part.name or None, infos=infos, includes_query_status=False
    )
    return StreamedFile(
        size=None,
        read_chunks=lambda: votable_format.write(
            metadata,
            table_part.read_batches(0, table_part.row_count),
            ResultStatus,
            {**options, "serialization": serialization},
        ),
        media_type="application/x-votable+xml",
    )


__all__ = ["write_fits_file", "write_votable_file"]
