"""Products in formats that every program opens: arrays as images of FITS with their WCS, tables as FITS or VOTable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import End, Head, Info, select
from hven.formats.media._cuts import FITS, Cut, Piece, alone, joined
from hven.formats.media._product import Array, Rows
from hven.formats.media._tables import written
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media._product import Part, Product, Stored


def as_fits(product: Product, part: str | None = None, *, history: Sequence[str] = (), most: int | None = None) -> Cut:
    """Write a product as FITS.

    Parameters
    ----------
    product
        An open file; it stays open until the last chunk is read.
    part
        Index or name of a part; None: all of them.
    history
        Lines for the headers: where it comes from.
    most
        Bytes of the file at most.

    Returns
    -------
    file
        Arrays as images, tables as binary tables. Arrays are read while it is sent; tables of other media are written before.

    Raises
    ------
    SourceError
        It has no part that can be written, or none of that name.
    TooLarge
        It would be more than `most`.
    """
    # what is another view of what FITS has already is written where it is asked for
    parts = (
        tuple(one for one in product.parts if product.medium not in FITS or _itself(one))
        if part is None
        else (product.part(part),)
    )
    if not parts:
        raise SourceError(say("the file has neither an image nor a table"))
    # an image that comes first is the first HDU, so that what reads that one alone shows it
    first = isinstance(parts[0], Array) and (product.medium not in FITS or parts[0].index == 0)
    pieces: list[Piece | Stored] = []
    for number, one in enumerate(parts):
        if isinstance(one, Rows):
            pieces.append(one.stored() if one.stored is not None else written(one, history, most))
            continue
        window = tuple(slice(0, size) for size in one.shape)
        own = first and not number
        pieces.append(Piece(one, window, first=own, history=history, number=number + 1, more=product.cards if own else ()))  # fmt: skip
    return joined(b"" if first else alone(product.cards, product.medium), pieces, most)


def _itself(part: Part) -> bool:
    return part.stored is not None if isinstance(part, Rows) else part.cells is None


def as_votable(product: Product, part: str | None = None, *, serialization: str = "BINARY2") -> Cut:
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
    found = next((one for one in product.parts if isinstance(one, Rows)), None) if part is None else product.part(part)
    if not isinstance(found, Rows):
        name = product.medium if found is None else found.name or str(found.index)
        raise SourceError(say("{name} is no table: it is written as FITS", name))
    chosen, options = select("votable")
    infos = [Info(name=card.keyword, value=str(card.value)) for card in (*product.cards, *found.cards) if card.keyword not in {"", "COMMENT", "HISTORY"} and card.value is not None]  # fmt: skip
    head = Head(columns=found.columns, name=found.name or None, infos=infos, status=False)
    return Cut(
        size=None,
        chunks=lambda: chosen.write(
            head, found.batches(0, found.count), End, {**options, "serialization": serialization}
        ),
        media_type="application/x-votable+xml",
    )


__all__ = ["as_fits", "as_votable"]
