"""Stars in memory that are searched as a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.plugins.matching.catalogue_reading import StarBatch
from hven.plugins.matching.star_positions import StarPositions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column
    from hven.plugins.matching.catalogue_reading import CatalogueReader
    from hven.plugins.matching.pair_search import ReferenceStars

STARS_PER_BATCH = 131_072


class LoadedStars:
    """Stars in memory, as a `PairSearch` reads a catalogue.

    Parameters
    ----------
    reader
        The catalogue from which they were read.
    stars
        The stars.
    """

    def __init__(self, reader: CatalogueReader, stars: ReferenceStars) -> None:
        self.name, self.options, self.id = reader.name, reader.options, reader.id
        self._stars = stars

    def read_batches(self, further_columns: Sequence[Column] = ()) -> Iterator[StarBatch]:  # noqa: ARG002  (as there)
        """Yield the stars."""
        for begin in range(0, len(self._stars.ids), STARS_PER_BATCH):
            part = slice(begin, begin + STARS_PER_BATCH)
            ids = self._stars.ids[part]
            names = ("longitudes", "latitudes", "longitude_motions", "latitude_motions", "epochs")
            positions = StarPositions(**{name: getattr(self._stars.positions, name)[part] for name in names})
            rows = pa.RecordBatch.from_arrays([ids], names=[self.id.name])
            yield StarBatch(ids=ids, positions=positions, rows=rows)

    def find_epoch_range(self) -> tuple[float, float]:
        """Find the first and the last epoch, as Julian years."""
        epochs = self._stars.positions.epochs
        if len(epochs):
            return (float(epochs.min()), float(epochs.max()))
        return (2000.0, 2000.0)
