"""Links over other tables, before anything is published.

What they name must be there, and be of a type that goes with what is done to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.model.errors import Fault, HvenError, UserError, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor._derived_tables import DescriptorTableResolver
    from hven.model.resource import CollectionSpec
    from hven.model.table import LinkTemplate, Table


def find_link_faults(resource: CollectionSpec, derived_tables: DescriptorTableResolver) -> list[Fault]:
    """Ask for all that links take of their tables, part by part, as far as the tables' columns are known."""
    faults: list[Fault] = []
    for spec in resource.tables:
        link_numbers: dict[object, int] = {}
        for link in spec.table.links:  # of which derived ones are two
            link_number = link_numbers.setdefault(link.places["semantics"], len(link_numbers) + 1)
            faults += _find_faults_of_link(
                f"tables.{spec.table.name}.links[{link_number}]", spec.table, link, resource, derived_tables
            )
    return faults


def _find_faults_of_link(
    key_path: str, table: Table, link: LinkTemplate, resource: CollectionSpec, derived_tables: DescriptorTableResolver
) -> Iterator[Fault]:

    def choose_stated_key(key: str) -> str:
        if key in {"from", "where", "if"} and "derived" in link.places:
            return "derived"
        return key

    tables = f" FROM {quote_adql_name(resource.name)}.{quote_adql_name(table.name)} AS target"
    if link.source is not None:
        schema, _, name = link.source.rpartition(".")
        names = derived_tables.list_table_names(schema)
        if names is None:
            message = f"{key_path}.{choose_stated_key('from')}: there is no collection {schema!r}"
            remedy = "write the table as collection.table"
        else:
            message = f"{key_path}.{choose_stated_key('from')}: {schema} has no table {name!r}"
            remedy = suggest_spelling(name, names)
        if name.lower() not in {table_name.lower() for table_name in names or ()}:
            yield Fault(message=message, place=link.places["from"], remedy=remedy)
            return
        tables += f", {quote_adql_name(schema)}.{quote_adql_name(name)} AS {quote_adql_name(link.alias or name)}"
    for key, text in _iterate_link_test_queries(link):
        try:
            if derived_tables.find_query_columns(text.format(tables), resource) is None:
                return  # known only when it is published
        except UserError as error:
            yield Fault(
                message=f"{key_path}.{choose_stated_key(key)}: {error.message}",
                place=link.places[key],
                remedy=error.remedy,
            )
        except HvenError as error:  # another table's, which its own check tells
            yield Fault(
                message=f"{key_path}.{choose_stated_key(key)}: {error.message}",
                place=link.places[key],
                severity="warning",
            )


def _iterate_link_test_queries(link: LinkTemplate) -> Iterator[tuple[str, str]]:
    """Yield queries for each key, with a place for their tables."""
    for key, condition in (("where", link.where), ("if", link.condition)):
        if condition is not None:
            yield key, f"SELECT 1 AS x{{}} WHERE {_escape_braces(condition)}"
    if link.order is not None:
        yield "order", f"SELECT 1 AS x{{}} ORDER BY {_escape_braces(link.order)}"  # as the list of links asks it
    templates = {
        "file" if link.is_file else "text": link.address,
        "type": link.type,
        "size": link.size,
        "description": link.description,
        "local": link.local_semantics,
    }
    for key, template in templates.items():
        for part in template:
            if not isinstance(part, str) and not part.expression.startswith("site."):
                yield key, f"SELECT {_escape_braces(part.expression)} AS x{{}}"
    for template in () if link.service is None else link.service.templates:
        for part in template:
            if not isinstance(part, str) and not part.expression.startswith("site."):
                yield "service", f"SELECT {_escape_braces(part.expression)} AS x{{}}"


def _escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
