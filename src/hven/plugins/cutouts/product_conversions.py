"""Write products in formats that every program opens: arrays as FITS images with WCS, tables as FITS or VOTable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import InfoElement, ResultStatus, TableMetadata, select_format
from hven.formats.media import ArrayPart, TablePart
from hven.model.errors import SourceError, format_message
from hven.plugins.cutouts.product_cutting import CutoutHdu, StreamedFile, has_fits_cards, join_hdus, write_primary_hdu
from hven.plugins.cutouts.table_selection import write_table_hdu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.formats.media import OpenProductFile, Part
    from hven.formats.media.api import StoredHdu


def write_product_as_fits(
    product: OpenProductFile,
    part_name: str | None = None,
    *,
    history: Sequence[str] = (),
    byte_limit: int | None = None,
) -> StreamedFile:
    """Write a product as FITS.

    Parameters
    ----------
    product
        An open file, which stays open until the last chunk is read.
    part_name
        Index or name of a part; None: all of them.
    history
        Lines about the origin of the file, for the headers.
    byte_limit
        Maximum size of the file in bytes.

    Returns
    -------
    file
        Arrays as images, tables as binary tables. Arrays are read while the file is sent; tables of other media are
        written before.

    Raises
    ------
    SourceError
        The product has no part that can be written, or none of that name.
    TooLargeError
        The file would have more than `byte_limit` bytes.
    """
    is_fits = has_fits_cards(product.medium)
    if part_name is not None:
        parts: Sequence[Part] = (product.find_part(part_name),)
    elif is_fits:  # other views of what FITS has already are written only if they are requested
        parts = [part_item for part_item in product.parts if _is_original_part(part_item)]
    else:
        parts = product.parts
    if not parts:
        raise SourceError(format_message("the file contains neither an image nor a table"))
    # a leading image becomes the first HDU, so that programs that read only that HDU show it
    first = isinstance(parts[0], ArrayPart) and (not is_fits or parts[0].index == 0)
    pieces: list[CutoutHdu | StoredHdu] = []
    for number, part_item in enumerate(parts):
        if isinstance(part_item, TablePart):
            if part_item.copy_fits_hdu is not None:
                pieces.append(part_item.copy_fits_hdu())
            else:
                pieces.append(write_table_hdu(part_item, history, byte_limit))
            continue
        window = tuple(slice(0, size) for size in part_item.shape)
        is_primary = first and not number
        further_cards = product.cards if is_primary else ()
        hdu = CutoutHdu(
            part_item,
            window,
            first=is_primary,
            history=history,
            number=number + 1,
            further_cards=further_cards,
        )
        pieces.append(hdu)
    primary_hdu = b""
    if not first:
        primary_hdu = write_primary_hdu(product.cards, product.medium)
    return join_hdus(primary_hdu, pieces, byte_limit)


def _is_original_part(part: Part) -> bool:
    if isinstance(part, TablePart):
        return part.copy_fits_hdu is not None
    return part.source_part_index is None


def write_product_as_votable(
    product: OpenProductFile, part_name: str | None = None, *, serialization: str = "BINARY2"
) -> StreamedFile:
    """Write a table of a product as VOTable.

    Parameters
    ----------
    product
        An open file, which stays open until the last chunk is read.
    part_name
        Index or name of a part; None: the first table.
    serialization
        Serialization of the VOTable: ``BINARY2``, ``TABLEDATA``.

    Returns
    -------
    file
        The file, of unknown size; its rows are read while it is sent.

    Raises
    ------
    SourceError
        The part is no table, or there is none.
    """
    if part_name is not None:
        table_part: Part | None = product.find_part(part_name)
    else:
        tables = [part_item for part_item in product.parts if isinstance(part_item, TablePart)]
        table_part = next(iter(tables), None)
    if not isinstance(table_part, TablePart):
        name = product.medium
        if table_part is not None:
            name = table_part.name or str(table_part.index)
        raise SourceError(format_message("{name} is not a table, so Hven can write it only as FITS", name))
    rows_part = table_part
    votable_format, options = select_format("votable")
    cards = [card for card in (*product.cards, *rows_part.cards) if card.value is not None]
    keyword_cards = [card for card in cards if card.keyword not in {"", "COMMENT", "HISTORY"}]
    infos = [InfoElement(name=card.keyword, value=str(card.value)) for card in keyword_cards]
    table_name = rows_part.name or None
    metadata = TableMetadata(columns=rows_part.columns, name=table_name, infos=infos, includes_query_status=False)
    writer_options = {**options, "serialization": serialization}

    def read_chunks() -> Iterator[bytes]:
        batches = rows_part.read_batches(0, rows_part.row_count)
        return votable_format.write(metadata, batches, ResultStatus, writer_options)

    return StreamedFile(size=None, read_chunks=read_chunks, media_type="application/x-votable+xml")
