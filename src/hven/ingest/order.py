"""In which order the tables of a collection are filled: those made from others come after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import adql
from hven.adql import tree
from hven.errors import DescriptorError, Fault, HvenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import Resource, TableSpec

QUERY = "query"


def ordered(resource: Resource) -> list[TableSpec]:
    """Sort the tables that have sources by what they are made from.

    Raises
    ------
    DescriptorError
        Tables are made from each other in a circle.
    """
    specs = {spec.table.name.lower(): spec for spec in resource.tables if spec.sources}
    needs = {name: inputs(spec, resource) & set(specs) for name, spec in specs.items()}
    done: list[str] = []
    while len(done) < len(specs):
        ready = [name for name in specs if name not in done and needs[name] <= set(done)]
        if not ready:
            stuck = [specs[name] for name in specs if name not in done]
            names = ", ".join(spec.table.name for spec in stuck)
            raise DescriptorError(
                [Fault(message=f"the tables {names} are made from each other", place=stuck[0].place, remedy="one must come first")]
            )
        done.extend(ready)
    return [specs[name] for name in done]


def inputs(spec: TableSpec, resource: Resource) -> set[str]:
    """Give the names (lower case) of this collection's tables that a table is made from."""
    found: set[str] = set()
    for source in spec.sources:
        text = source.options.get("adql") if source.kind == QUERY else None
        if not isinstance(text, str):
            continue
        try:
            parsed = adql.parse(text)
        except HvenError:
            continue  # the source itself tells what is wrong, with its place
        for parts in _tables(parsed):
            if len(parts) == 1 or parts[-2].lower() == resource.name.lower():
                found.add(parts[-1].lower())
    return found


def _tables(node: object) -> Iterator[Sequence[str]]:
    if isinstance(node, tree.TableRef):
        yield [part.name for part in node.parts]
    elif isinstance(node, tuple):
        for part in node:
            yield from _tables(part)
    elif hasattr(node, "__dataclass_fields__") and type(node).__module__ == "hven.adql.tree":
        for name in node.__dataclass_fields__:
            yield from _tables(getattr(node, name))
