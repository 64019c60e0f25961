"""Locate columns in the descriptors that describe them, so that faults of columns have a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor.written_yaml import LocatedYamlMap, parse_yaml_file, read_yaml_file
from hven.model.errors import Fault, TextPlace

if TYPE_CHECKING:
    from hven.model.resource import CollectionSpec


def locate_column(resource: CollectionSpec, table: str, column: str) -> TextPlace:
    """Return the place of a column in the descriptor, or of the descriptor if an included file has the column.

    Parameters
    ----------
    resource
        The descriptor.
    table
        Name of the table, without its schema.
    column
        Name of the column.
    """
    faults: list[Fault] = []
    page = read_yaml_file(resource.path, str(resource.path), faults)
    node: Any = None if page is None else parse_yaml_file(page, faults)
    place = TextPlace(file=str(resource.path))
    for name in ("tables", table, "columns", column):
        if not isinstance(node, LocatedYamlMap) or name not in node:
            return TextPlace(file=place.file)
        place = node.find_key(name).place
        node = node[name]  # type: ignore[index]  # the keys are texts
    return place
