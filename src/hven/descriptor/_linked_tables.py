"""Links over other tables, before anything is published: what they name must be there, and be of a type that goes with what is done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote
from hven.model.errors import Fault, HvenError, UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor._derived import Derived
    from hven.model.resource import Resource
    from hven.model.table import Link, Table


def unlinked(resource: Resource, derived: Derived) -> list[Fault]:
    """Ask for all that links take of their tables, part by part, as far as the tables' columns are known."""
    found: list[Fault] = []
    for spec in resource.tables:
        numbers: dict[object, int] = {}
        for link in spec.table.links:  # of which derived ones are two
            number = numbers.setdefault(link.places["semantics"], len(numbers) + 1)
            found += _faults(f"tables.{spec.table.name}.links[{number}]", spec.table, link, resource, derived)
    return found


def _faults(what: str, table: Table, link: Link, resource: Resource, derived: Derived) -> Iterator[Fault]:

    def said(key: str) -> str:
        return "derived" if key in {"from", "where", "if"} and "derived" in link.places else key

    tables = f" FROM {quote(resource.name)}.{quote(table.name)} AS target"
    if link.source is not None:
        schema, _, name = link.source.rpartition(".")
        names = derived.names(schema)
        if names is None:
            message, remedy = (
                f"{what}.{said('from')}: there is no collection {schema!r}",
                "name a table as collection.table",
            )
        else:
            message, remedy = f"{what}.{said('from')}: {schema} has no table {name!r}", nearest(name, names)
        if name.lower() not in {one.lower() for one in names or ()}:
            yield Fault(message=message, place=link.places["from"], remedy=remedy)
            return
        tables += f", {quote(schema)}.{quote(name)} AS {quote(link.alias or name)}"
    for key, text in _parts(link):
        try:
            if derived.columns(text.format(tables), resource) is None:
                return  # known only when it is published
        except UserError as error:
            yield Fault(message=f"{what}.{said(key)}: {error.message}", place=link.places[key], remedy=error.remedy)
        except HvenError as error:  # another table's, which its own check tells
            yield Fault(message=f"{what}.{said(key)}: {error.message}", place=link.places[key], severity="warning")


def _parts(link: Link) -> Iterator[tuple[str, str]]:
    """Yield queries for each key, with a place for their tables."""
    for key, condition in (("where", link.where), ("if", link.condition)):
        if condition is not None:
            yield key, f"SELECT 1 AS x{{}} WHERE {_plain(condition)}"
    if link.order is not None:
        yield "order", f"SELECT 1 AS x{{}} ORDER BY {_plain(link.order)}"  # as the list of links asks it
    templates = {"file" if link.file else "text": link.address, "type": link.type, "size": link.size, "description": link.description, "local": link.local}  # fmt: skip
    for key, template in templates.items():
        for part in template:
            if not isinstance(part, str) and not part.text.startswith("site."):
                yield key, f"SELECT {_plain(part.text)} AS x{{}}"
    for template in () if link.service is None else link.service.templates:
        for part in template:
            if not isinstance(part, str) and not part.text.startswith("site."):
                yield "service", f"SELECT {_plain(part.text)} AS x{{}}"


def _plain(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
