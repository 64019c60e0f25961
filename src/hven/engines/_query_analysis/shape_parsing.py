"""Shapes from their text, and the cells that one touches."""

from __future__ import annotations

import numpy as np

from hven.model import cache_results
from hven.model.sky import Moc, Shape, healpix, shape_text

MAX_EXTRA_ORDERS = 9  # orders that a MOC may be finer than its shape


@cache_results(4096)
def parse_shape(text: str) -> Shape | Moc | None:
    """Read DALI text, STC-S, or an ASCII MOC; None if it is none of these."""
    words = text.split(None, 1)
    if words and "/" in words[0]:
        try:
            return Moc.parse(text)
        except ValueError:
            return None
    try:
        return shape_text.parse_shape("multishape", text.lower())
    except ValueError:
        pass  # no DALI text: STC-S, then
    try:
        return shape_text.parse_stcs(text).shape
    except ValueError:
        return None


def compute_shape_cells(shape: Shape | Moc, order: int) -> Moc:
    """Return the cells of an order that a shape touches.

    Raises
    ------
    ValueError
        They would be too many.
    """
    if isinstance(shape, Moc):
        return shape.degrade(order)
    area = shape.compute_area()
    if area > 0.0 and order > healpix.choose_cone_order(float(np.sqrt(area / np.pi))) + MAX_EXTRA_ORDERS:
        message = f"MOC: cells of order {order} are too small for this shape"
        raise ValueError(message)
    return Moc(shape.cover(order), order)
