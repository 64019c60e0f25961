"""What tables are made from: the order in which those of a collection are filled, who follows whom elsewhere, circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import adql
from hven.adql.tree import CommonTable, TableRef, walk
from hven.descriptor.live_queries import is_live
from hven.descriptor.tables import PUSH
from hven.model.errors import DescriptorError, Fault, HvenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import Resource, TableSpec
    from hven.site.store import Record

QUERY = "query"
MADE = (QUERY, "files")  # kinds that may have a query over tables


class Graph:
    """All tables of some collections, with what each reads; names are qualified and in lower case."""

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self.specs: dict[str, tuple[Resource, TableSpec]] = {}
        for resource in resources.values():
            for spec in resource.tables:
                self.specs[f"{resource.name}.{spec.table.name}".lower()] = (resource, spec)
        named = {name: _reads(spec, resource) for name, (resource, spec) in self.specs.items()}
        self.reads = {name: found & self.specs.keys() for name, found in named.items()}
        # TAP_SCHEMA, ivoa.obscore ..
        self.elsewhere = {name: found - self.specs.keys() for name, found in named.items()}

    def stored(self, name: str) -> set[str]:
        """Find the tables with rows of their own that a table or view is made from, through views."""
        found: set[str] = set()
        seen: set[str] = set()
        waiting = list(self.reads[name])
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            if self.specs[one][1].table.view is not None:
                waiting.extend(self.reads[one])
            else:
                found.add(one)
        return found

    def circle(self, start: str) -> list[str]:
        """Find the way from a table back to itself, by what it is made from; empty if there is none."""
        ways = [[start]]
        seen: set[str] = set()
        while ways:
            way = ways.pop()
            for one in sorted(self.stored(way[-1])):
                if one == start:
                    return [*way, one]
                if one not in seen:
                    seen.add(one)
                    ways.append([*way, one])
        return []


def takes_pushed_rows(resource: Resource, spec: TableSpec, others: Mapping[str, Resource]) -> bool:
    """Tell whether rows are pushed into a table, or into one that it is made from, directly or not: it may have none yet.

    Parameters
    ----------
    resource
        The collection.
    spec
        A table of it.
    others
        The site's other collections, by name.
    """
    graph = Graph({**others, resource.name: resource})
    waiting, seen = [f"{resource.name}.{spec.table.name}".lower()], set[str]()
    while waiting:
        name = waiting.pop()
        if any(source.kind == PUSH for source in graph.specs[name][1].sources):
            return True
        seen.add(name)
        waiting += graph.stored(name) - seen
    return False


def ordered(resource: Resource, others: Mapping[str, Resource] | None = None) -> list[TableSpec]:
    """Sort the tables that have sources by what they are made from.

    Parameters
    ----------
    others
        The site's other collections, by name.

    Raises
    ------
    DescriptorError
        Tables are made from each other in a circle, here or through other collections: file, line and column of each one's source.
    """
    graph = Graph({**(others or {}), resource.name: resource})
    specs = {
        f"{resource.name}.{spec.table.name}".lower(): spec
        for spec in resource.tables
        if spec.sources and not is_live(spec)
    }
    faults = []
    for name, spec in specs.items():
        way = graph.circle(name)
        if way:
            place = next((source.place for source in spec.sources if source.kind in MADE), spec.place)
            message = f"tables are made from each other: {' from '.join(way)}"
            faults.append(Fault(message=message, place=place, remedy="one must come first"))
    if faults:
        raise DescriptorError(faults)
    return [specs[name] for name in _sorted({name: graph.stored(name) & specs.keys() for name in specs})]


def followers(resource: Resource, others: Mapping[str, Resource]) -> list[tuple[Resource, list[TableSpec]]]:
    """Find the tables of other collections that are made from this one's, directly or not.

    Returns
    -------
    list of (Resource, tables)
        In the order in which they can be filled; a collection may come twice.
    """
    graph = Graph({**others, resource.name: resource})
    own = {name for name, (one, _) in graph.specs.items() if one is resource}
    needs = {name: graph.stored(name) for name, (_, spec) in graph.specs.items() if spec.sources and name not in own}
    reached: set[str] = set(own)
    while True:
        more = {name for name, inputs in needs.items() if inputs & reached} - reached
        if not more:
            break
        reached |= more
    wanted = {name: needs[name] & reached - own for name in needs if name in reached and not graph.circle(name)}
    found: list[tuple[Resource, list[TableSpec]]] = []
    for name in _sorted({name: inputs & wanted.keys() for name, inputs in wanted.items()}):
        one, spec = graph.specs[name]
        if found and found[-1][0] is one:
            found[-1][1].append(spec)
        else:
            found.append((one, [spec]))
    return found


def made_from(record: Record) -> list[Mapping[str, str]]:
    """Return the states of its inputs from which the rows of a snapshot come out, the newest first: qualified table -> snapshot."""
    said = record.provenance
    return [said.get("inputs", {}), *said.get("alike", ())]


def stale(records: Mapping[str, Record]) -> list[str]:
    """Find the published tables that were made from rows which are not the published ones any more.

    Parameters
    ----------
    records
        What is published, by qualified name.

    Returns
    -------
    warnings
        A sentence with its remedy for each.
    """
    found = []
    ids = {name: record.id for name, record in records.items()}
    for name, record in sorted(records.items()):
        if any(all(ids.get(source) == snapshot for source, snapshot in inputs.items()) for inputs in made_from(record)):
            continue
        for source, snapshot in sorted(record.provenance.get("inputs", {}).items()):
            now = records.get(source)
            if now is None:
                found.append(f"{name} was made from {source}, which is published no more: look at its query")
            elif now.id != snapshot:
                found.append(
                    f"{name} was made from {source} as it was before {now.created}: hven ingest {record.collection}"
                )
    return found


def _sorted(needs: Mapping[str, set[str]]) -> list[str]:
    done: list[str] = []
    while len(done) < len(needs):
        ready = [name for name in needs if name not in done and needs[name] <= set(done)]
        if not ready:  # circles were told before
            break
        done.extend(ready)
    return done


def _reads(spec: TableSpec, resource: Resource) -> set[str]:
    """Return the qualified names that a table's queries, or a view's, read."""
    texts = [source.options.get("adql") for source in spec.sources if source.kind in MADE]
    found: set[str] = set()
    for text in (*texts, spec.table.view):
        if not isinstance(text, str):
            continue
        try:
            parsed = adql.parse(text)
        except HvenError:
            continue  # the source itself tells what is wrong, with its place
        nodes = list(walk(parsed))
        common = {node.name.name.lower() for node in nodes if isinstance(node, CommonTable)}
        for parts in ([part.name for part in node.parts] for node in nodes if isinstance(node, TableRef)):
            if len(parts) > 1:
                found.add(".".join(parts[-2:]).lower())
            elif parts[-1].lower() not in common:
                found.add(f"{resource.name}.{parts[-1]}".lower())
    return found
