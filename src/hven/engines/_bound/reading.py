"""Shapes from their text, and the cells that one touches."""

from __future__ import annotations

import numpy as np

from hven.model import cached
from hven.model.sky import Moc, Shape, healpix, shape_text

FINEST = 9  # orders that a MOC may be finer than its shape


@cached(4096)
def read(text: str) -> Shape | Moc | None:
    """Read DALI text, STC-S, or an ASCII MOC; None if it is none of these."""
    words = text.split(None, 1)
    if words and "/" in words[0]:
        try:
            return Moc.parse(text)
        except ValueError:
            return None
    try:
        return shape_text.parse("multishape", text.lower())
    except ValueError:
        pass  # no DALI text: STC-S, then
    try:
        return shape_text.stcs(text).shape
    except ValueError:
        return None


def cells_of(shape: Shape | Moc, order: int) -> Moc:
    """Return the cells of an order that a shape touches.

    Raises
    ------
    ValueError
        They would be too many.
    """
    if isinstance(shape, Moc):
        return shape.degrade(order)
    area = shape.area()
    if area > 0.0 and order > healpix.order_for(float(np.sqrt(area / np.pi))) + FINEST:
        message = f"MOC: cells of order {order} are too small for this shape"
        raise ValueError(message)
    return Moc(shape.cover(order), order)
