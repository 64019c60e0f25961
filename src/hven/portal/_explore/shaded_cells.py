"""Draw the cells of a map as SVG paths, in shades of their counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def write_svg_paths_of_shaded_cells(
    counts: npt.NDArray[Any], tops: Sequence[int], *, shade_count: int, cell_size: int = 1
) -> list[str]:
    """Draw cells in shades of the logarithm of their counts; equal neighbours in a row are joined.

    Parameters
    ----------
    counts
        Counts, shape (rows, columns).
    tops
        Upper edge of each row in the drawing.
    shade_count
        Number of shades.
    cell_size
        Width and height of a cell in the drawing.

    Returns
    -------
    paths
        A path for each shade, that of the smallest counts first.
    """
    logs = np.log1p(counts.astype(np.float64))
    numbers = (shade_count * logs / (logs.max(initial=0.0) or 1.0)).astype(np.int64)
    shades = np.where(counts > 0, np.minimum(numbers, shade_count - 1), -1)
    paths = [""] * shade_count
    for row_shades, top in zip(shades, tops, strict=True):
        edges = np.flatnonzero(np.diff(row_shades, prepend=-2, append=-2))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            shade = int(row_shades[begin])
            if shade >= 0:
                width = (end - begin) * cell_size
                paths[shade] += f"M{begin * cell_size} {top}h{width}v{cell_size}h-{width}z"
    return paths
