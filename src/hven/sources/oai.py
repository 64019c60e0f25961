"""Records of repositories that speak OAI-PMH 2.0: registries of the Virtual Observatory, libraries, archives of data."""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hven.sources._reading.harvest import Harvest, HarvestOptions
from hven.sources._reading.jsonshape import Node
from hven.sources._reading.xmlrows import FieldOptions, XmlRows

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from hven.sources import Context, Source
    from hven.sources._reading.files import DataFile


class Options(FieldOptions, HarvestOptions):
    """What a descriptor may say of repositories, and of their records."""


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open repositories; nothing is asked yet.

    Raises
    ------
    SourceError
        A path that is none; an unknown secret.
    """
    return Harvested(options, context)


class Harvested(XmlRows):
    """The records of one or more repositories, in files that are brought up to date before they are first read."""

    _record = "records/record"

    def __init__(self, options: Options, context: Context) -> None:
        self.context, self.read = context, 0
        self._prepare(options)
        self._scratch = _Scratch() if context.kept is None else None
        kept = context.kept if self._scratch is None else self._scratch.path
        self._harvest = Harvest(options, context, Path(kept or ""), first=self._scratch is not None)
        self._title_ = options.url[0]

    @cached_property
    def files(self) -> list[DataFile]:  # type: ignore[override]
        """The files that hold the records; they are harvested when somebody asks."""
        return self._harvest.files()

    def only(self, names: Collection[str]) -> Self:
        """Select the records of these files."""
        self.columns()
        other = copy.copy(self)
        other.read = 0
        other.__dict__["files"] = [file.fresh() for file in self.files if file.name in names]
        return other

    @property
    def _title(self) -> str:
        return self._title_

    @cached_property
    def _sampled(self) -> tuple[Node, bool]:
        """What there is: fields that are said are texts until their types are said; they need no sample."""
        if not self._paths:
            return super()._sampled
        node = Node()
        node.see(dict.fromkeys(self._paths, "text"))
        return node, False


class _Scratch:
    """A directory for who looks what there is; it goes with the last who knows it."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="hven-oai-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
