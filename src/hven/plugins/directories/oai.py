"""Read records through OAI-PMH 2.0 from repositories, such as VO registries, libraries and data archives."""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hven.plugins.directories.oai_harvest import HarvestOptions, OaiHarvest
from hven.plugins.json_xml.json_schema import JsonNodeSummary
from hven.plugins.json_xml.xml_rows import XmlFieldOptions, XmlSource

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from hven.sources import Source, SourceContext
    from hven.sources.api.rows import DataFile


class Options(XmlFieldOptions, HarvestOptions):
    """What a descriptor may state about repositories and their records."""


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open repositories; no request is sent yet.

    Raises
    ------
    SourceError
        A path that is none; an unknown secret.
    """
    return OaiSource(options, context)


class OaiSource(XmlSource):
    """The records of one or more repositories, in files that are updated before they are first read."""

    _record_path = "records/record"

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.context = context
        self.read_count = 0
        self._compile_options(options)
        self._temporary_directory = _TemporaryDirectory() if context.cache_directory is None else None
        directory = context.cache_directory if self._temporary_directory is None else self._temporary_directory.path
        self._harvest = OaiHarvest(
            options, context, Path(directory or ""), first_page_only=self._temporary_directory is not None
        )
        self._title_text = options.url[0]

    @cached_property
    def files(self) -> list[DataFile]:  # type: ignore[override]
        """The files that hold the records; reading this property starts the harvest."""
        return self._harvest.harvest_and_list_files()

    def select_files(self, file_names: Collection[str]) -> Self:
        """Select the records of these files."""
        self.list_columns()
        selection = copy.copy(self)
        selection.read_count = 0
        selection.__dict__["files"] = [file.copy_unread() for file in self.files if file.name in file_names]
        return selection

    @property
    def _title(self) -> str:
        return self._title_text

    @cached_property
    def _sampled_structure(self) -> tuple[JsonNodeSummary, bool]:
        """The sample. Declared fields are texts until their types are declared, and need no sample."""
        if not self._paths:
            return super()._sampled_structure
        node = JsonNodeSummary()
        node.add_value(dict.fromkeys(self._paths, "text"))
        return node, False


class _TemporaryDirectory:
    """A directory for a first look; it is deleted with its last reference."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="hven-oai-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
