"""Keys that plug-in packages add to descriptors: to tables, and at the top.

They are the fields ``table_keys`` and ``collection_keys`` of `hven.model.plugins.PluginPackage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hven.descriptor.value_schema import AddedKey
from hven.model import plugins

if TYPE_CHECKING:
    from hven.adql.syntax_tree import Query
    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor._key_proposals import InspectedSource, TableKeyProposal
    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlMap
    from hven.model.errors import Fault
    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table


QueryColumnFinder = Callable[["Query | str"], "Sequence[Column] | None"]
"""Finds the columns of a query over the tables of a collection; None if they are not known before an ingest."""


@dataclass(frozen=True, slots=True)
class KeyReferenceSection:
    """Some keys of a record, with an example.

    Attributes
    ----------
    name
        Name in the marker of the page.
    record
        Name of the record that has the keys.
    example
        YAML: keys of `parent`. Empty if the example of another section, `shown_in`, has all keys.
    keys
        Names of the keys, separated by blanks; empty for all keys of the record.
    parent
        Where the example stands: at the top of a descriptor, or in a table.
    shown_in
        Name of the section whose example has these keys.
    """

    name: str
    record: str
    example: str = ""
    keys: str = ""
    parent: Literal["collection", "table"] = "table"
    shown_in: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescriptorKeyValue:
    """The value that a table of a descriptor has for the key of a package.

    Attributes
    ----------
    table_name
        Name of the table.
    collection_context
        The collection of the table: its files, readers and names.
    key_path
        Path of the key, for messages: ``tables.stars.plans``.
    value
        The value, as the type of the key reads it.
    column_names
        Names of the columns of the table; None: they are not all known without the source.
    faults
        Collects faults of the value.
    """

    table_name: str
    collection_context: InheritedCollectionKeys
    key_path: str
    value: Any
    column_names: Sequence[str] | None
    faults: FaultCollector


@dataclass(frozen=True, kw_only=True)
class TableDescriptorKey(AddedKey):
    """A key of tables that a plug-in package adds to descriptors.

    Attributes
    ----------
    convert_value
        Checks the value, and converts it to what `Table.extensions` has under the name of the key.
    expand_table
        Adds to other keys of a table what the value stands for, such as columns: called with the table as written, the
        path of the table, and the faults, before the keys are read. Returns the table that Hven reads.
    check_table
        Checks the value against a table whose columns are known: called with the path of the key, the table, and the
        faults.
    list_indexed_columns
        Lists the names of the columns by which clients select rows because of the key, so that engines index them.
    build_source_options
        Builds options of a source that follow from the key: called with the kind of the source and the table.
    propose
        Proposes the value of the key for a source that `hven new` inspects.
    service
        Name of the face that uses the key: `hven check` warns of keys without their face. Empty: none.
    find_faults
        Finds faults of all tables of a collection before anything is published: called if a table has the key.
    find_conflicts
        Finds values that contradict those of other collections: gets the collections, and others whose faults are not
        reported.
    reference_sections
        Sections of the reference for the key and the records of its value.
    """

    convert_value: Callable[[TableDescriptorKeyValue], Any]
    expand_table: Callable[[LocatedYamlMap, str, FaultCollector], LocatedYamlMap] = lambda table, *_: table
    check_table: Callable[[str, Table, FaultCollector], None] = lambda *_: None
    list_indexed_columns: Callable[[Table], Iterable[str]] = lambda _: ()
    build_source_options: Callable[[str, Table], Mapping[str, Any]] = lambda *_: {}
    propose: Callable[[InspectedSource], TableKeyProposal] | None = None
    service: str = ""
    find_faults: Callable[[CollectionSpec, QueryColumnFinder], Iterable[Fault]] = lambda *_: ()
    find_conflicts: Callable[[Sequence[CollectionSpec], Sequence[CollectionSpec]], Iterable[Fault]] = lambda *_: ()
    reference_sections: tuple[KeyReferenceSection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionKeyValue:
    """The value that a descriptor has at its top for the key of a package.

    Attributes
    ----------
    collection_context
        The collection: its files, readers and names.
    key_path
        Path of the key, for messages: ``nights``.
    value
        The value, as the type of the key reads it.
    faults
        Collects faults of the value.
    """

    collection_context: InheritedCollectionKeys
    key_path: str
    value: Any
    faults: FaultCollector


@dataclass(frozen=True, kw_only=True)
class CollectionDescriptorKey(AddedKey):
    """A key at the top of descriptors that a plug-in package adds.

    Attributes
    ----------
    convert_value
        Checks the value, and converts it to what `CollectionSpec.extensions` has under the name of the key.
    find_faults
        Finds faults for which files must be opened: called for collections with the key, with the settings of the
        site, when a descriptor is checked with its sources.
    reference_sections
        Sections of the reference for the key and the records of its value.
    """

    convert_value: Callable[[CollectionKeyValue], Any]
    find_faults: Callable[[CollectionSpec, Settings], Iterable[Fault]] = lambda *_: ()
    reference_sections: tuple[KeyReferenceSection, ...] = ()


@plugins.cache_until_selection
def load_package_collection_keys() -> Mapping[str, CollectionDescriptorKey]:
    """Load the keys of collections that the plug-in packages in use add; a key that cannot be loaded is left out."""
    return dict(plugins.iterate_package_objects("collection_keys"))


def convert_package_collection_keys(
    fields: Mapping[str, Any], collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> dict[str, Any]:
    """Convert the values of keys that plug-in packages add to a collection.

    Parameters
    ----------
    fields
        Values of the descriptor by their keys.
    collection_context
        The collection.
    faults
        Collects faults of the values.

    Returns
    -------
    extensions
        Converted values by their keys.
    """
    extensions = {}
    for name, key in load_package_collection_keys().items():
        if name in fields:
            value = CollectionKeyValue(
                collection_context=collection_context, key_path=name, value=fields[name], faults=faults
            )
            extensions[name] = key.convert_value(value)
    return extensions


@plugins.cache_until_selection
def load_package_table_keys() -> Mapping[str, TableDescriptorKey]:
    """Load the keys of tables that the plug-in packages in use add; a key that cannot be loaded is left out."""
    return dict(plugins.iterate_package_objects("table_keys"))


def find_package_key_conflicts(
    resources: Sequence[CollectionSpec], other_resources: Sequence[CollectionSpec] = ()
) -> list[Fault]:
    """Find values of packages' keys in which collections contradict each other.

    Parameters
    ----------
    resources
        Collections of a site.
    other_resources
        Other collections, whose faults are not reported.

    Returns
    -------
    faults
        Faults of all keys.
    """
    return [
        fault for key in load_package_table_keys().values() for fault in key.find_conflicts(resources, other_resources)
    ]
