"""Data sets of servers elsewhere that are not copied: their samples are asked for there when a reader asks for them here.

The table of such a data set has one row, from when to when there are samples; who may see it may have them. Nothing of what comes is kept.

Common
------
names
    Of parameters.
start, stop
    Microseconds since 1970: from the first one on, before the second.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.model import plugins
from hven.model.errors import FarFault, HvenError, say
from hven.model.settings import secret
from hven.sources import Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import SourceSpec
    from hven.model.table import Bins, Column
    from hven.services.face import Surroundings
    from hven.site import Published

PATIENCE = {"tries": 1, "seconds": 20.0, "total": 300.0}  # of a request, while a reader waits
WIDTHS = 50  # that a data set is held open for
COARSER = {"hapi": "cadence", "das2": "resolution"}  # what asks for fewer samples: seconds between two


def referenced(around: Surroundings, published: Published) -> Far | None:
    """Find the server that a table's samples are asked of; None: they are here.

    Parameters
    ----------
    around
        The site.
    published
        The table.
    """
    for spec in published.resource.tables if published.resource is not None else ():
        if spec.table.qualified == published.table.qualified:
            return next((Far(around, one) for one in spec.sources if one.options.get("reference")), None)
    return None


class Described(NamedTuple):
    """What a server says: columns, the time first; what their elements stand for; bytes of texts; seconds between two samples."""

    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[Bins, ...]]
    lengths: Mapping[str, int]
    cadence: float | None


class Far:
    """A data set elsewhere.

    Parameters
    ----------
    around
        The site.
    said
        The source, as the descriptor has it.
    """

    def __init__(self, around: Surroundings, said: SourceSpec) -> None:
        self._settings, self._said = around.site.settings, said
        self._open: dict[int, Any] = {}

    def _source(self, width: int = 0) -> Any:
        """Open it: as it is, or the coarsest of what the server has in so many microseconds."""
        if width not in self._open:
            if len(self._open) > WIDTHS:
                self._open.clear()
            module = plugins.load("sources", self._said.kind)
            more = {COARSER[self._said.kind]: width / 1e6} if width else {}
            options = module.Options.model_validate({**self._said.options, **PATIENCE, **more, "reference": False})
            context = Context(secret=partial(secret, self._settings.directory), allow_private=self._settings.allow_private)  # fmt: skip
            self._open[width] = source = module.open(options, context)
            return source
        return self._open.get(width) or self._source(width)

    def described(self) -> Described:
        """Ask what it is.

        Raises
        ------
        FarFault
            The server does not say.
        """
        source = self._source()
        try:
            return Described(tuple(source.columns()), source.bins(), source.lengths(), source.apart)
        except HvenError as error:
            raise self._fault(error) from error

    def batches(self, names: Sequence[str], start: int, stop: int, width: int = 0) -> Iterator[pa.RecordBatch]:
        """Ask for samples.

        Parameters
        ----------
        width
            Microseconds that may lie between two; 0: all of them.

        Yields
        ------
        batches
            As of `hven.services.series.samples`.

        Raises
        ------
        FarFault
            They do not come as they should.
        """
        kinds = {one.name: one.type.arrow for one in self.described().columns}
        last = -(2**63)
        try:
            source = self._source(width)
            there = {one.name for one in source.columns()}
            if width and not there >= set(names):  # coarse ones under other names
                source = self._source()
            for batch in source.between(start, stop).batches([source.time, *names]):
                moments = np.asarray(batch.column(0).cast(pa.timestamp("us")).cast(pa.int64()))
                if len(moments) and (moments[0] < last or (np.diff(moments) < 0).any()):
                    raise FarFault(say("{what} sends samples that are not in the order of time", source.what))  # noqa: TRY301
                last = moments[-1] if len(moments) else last
                cells = [cell.cast(kinds[name]) for cell, name in zip(batch.columns[1:], names, strict=True)]
                yield pa.record_batch([pa.array(moments), *cells], names=["hven_time", *names])
        except FarFault:
            raise
        except (HvenError, pa.ArrowInvalid) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> FarFault:
        words = error.message if isinstance(error, HvenError) else str(error)[:300]
        return FarFault(say("the samples of {name} cannot be had: {reason}", str(self._said.options["dataset"]), words))


__all__ = ["Far", "referenced"]
