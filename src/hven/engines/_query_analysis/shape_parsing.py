"""Parse shapes, and compute the cells that a shape touches."""

from __future__ import annotations

import numpy as np

from hven.model import cache_results
from hven.model.sky import Moc, Shape, healpix, shape_text

MAX_EXTRA_ORDERS = 9  # a MOC may be finer than its shape by this many orders


@cache_results(4096)
def parse_shape(text: str) -> Shape | Moc | None:
    """Parse DALI text, STC-S, or an ASCII MOC; return None for other texts."""
    words = text.split(None, 1)
    if words and "/" in words[0]:
        try:
            return Moc.parse(text)
        except ValueError:
            return None
    try:
        return shape_text.parse_dali_shape("multishape", text.lower())
    except ValueError:
        pass  # not DALI text, but perhaps STC-S
    try:
        return shape_text.parse_stcs(text).shape
    except ValueError:
        return None


def compute_shape_moc(shape: Shape | Moc, order: int) -> Moc:
    """Return the cells of an order that a shape touches.

    Raises
    ------
    ValueError
        The shape would have too many cells.
    """
    if isinstance(shape, Moc):
        return shape.degrade(order)
    area = shape.compute_area()
    if area > 0.0 and order > healpix.choose_cone_order(float(np.sqrt(area / np.pi))) + MAX_EXTRA_ORDERS:
        message = f"MOC: cells of order {order} are too small for this shape"
        raise ValueError(message)
    return Moc(shape.cover_with_cells(order), order)
