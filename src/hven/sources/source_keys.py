"""Keys of sources that plug-in packages add to descriptors (`hven.model.plugins.PluginPackage.source_keys`).

Such a key stands beside ``kind:`` of any source, and adds columns to its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.model import plugins
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel

    from hven.model.table import Column
    from hven.sources import Source


class SourceColumnAddition(Protocol):
    """What a key adds to the rows of one source."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that it adds."""

    @property
    def pending_count(self) -> int:
        """Number of values that later runs may still find, although neither the source nor its rows change."""

    def wrap_source(self, source: Source) -> Source:
        """Put its columns beside those of the source.

        Parameters
        ----------
        source
            Source of the rows.

        Returns
        -------
        source
            A source with more columns, which fulfils the same contracts.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescriptorKey:
    """A key that sources may have in descriptors, whatever their kind.

    Attributes
    ----------
    options_class
        A pydantic model, which checks the value of the key: a mapping.
    doc
        What the key adds, for editors of descriptors.
    example
        The form of the value, for messages: ``{url: ..}``.
    noun
        What rows get, in the plural, for messages about sources that cannot have the key.
    open_addition
        Called with the options, the columns of the source, and its context. It raises `SourceError` if the source lacks
        what the options name.
    """

    options_class: type[BaseModel]
    doc: str
    example: str
    noun: str
    open_addition: Callable[[Any, Sequence[Column], SourceContext], SourceColumnAddition]


@plugins.cache_until_selection
def load_source_descriptor_keys() -> Mapping[str, SourceDescriptorKey]:
    """Load the keys of sources that the plug-in packages in use add; a key that cannot be loaded is left out.

    Returns
    -------
    source_keys
        The keys by their names.
    """
    return dict(plugins.iterate_package_objects("source_keys"))


def find_source_descriptor_key(name: str) -> SourceDescriptorKey | None:
    """Find a key of sources by its name; no package is loaded if none has a key of this name.

    Parameters
    ----------
    name
        The key.

    Returns
    -------
    source_key
        None: it is no key that a plug-in package in use adds.
    """
    if any(name in package.source_keys for package in plugins.list_plugin_packages()):
        return load_source_descriptor_keys().get(name)
    return None


def open_source_additions(
    added_options: Mapping[str, Mapping[str, Any]], source_columns: Sequence[Column], context: SourceContext
) -> list[SourceColumnAddition]:
    """Open what the keys of packages add to a source.

    Parameters
    ----------
    added_options
        `hven.model.resource.SourceSpec.additions`.
    source_columns
        Columns of the source.
    context
        Its context.

    Returns
    -------
    additions
        One for each key, in the order of the descriptor.

    Raises
    ------
    SourceError
        The source lacks what a key needs.
    """
    columns = list(source_columns)
    additions: list[SourceColumnAddition] = []
    for name, options in added_options.items():
        key = load_source_descriptor_keys()[name]
        addition = key.open_addition(key.options_class.model_validate(dict(options)), columns, context)
        columns += addition.columns
        additions.append(addition)
    return additions


def list_source_and_added_columns(
    source_columns: Sequence[Column], added_options: Mapping[str, Mapping[str, Any]]
) -> tuple[Column, ...]:
    """List the columns of a source, and those that keys of packages add to it.

    Parameters
    ----------
    source_columns, added_options
        As for `open_source_additions`.

    Returns
    -------
    columns
        Those of the source first.

    Raises
    ------
    SourceError
        As for `open_source_additions`.
    """
    additions = open_source_additions(added_options, source_columns, SourceContext())
    return (*source_columns, *(column for addition in additions for column in addition.columns))
