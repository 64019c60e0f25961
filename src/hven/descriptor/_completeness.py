"""How well a collection is described: a score of 100 by the four words of FAIR, and each thing that lacks with the line to add and what that brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.descriptor._guesses import Seen, guess_columns
from hven.descriptor._merging import shown
from hven.descriptor._yaml_text import flow, scalar
from hven.descriptor.written import Entries, Written, parse, read_page
from hven.model import units
from hven.model.errors import Fault, Place
from hven.model.resource import SPDX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table

GROUPS = ("findable", "accessible", "interoperable", "reusable")
# what is looked at -> its group, and how much of the 100 it is worth (docs/howto/metadata.md says why)
WEIGHTS: Mapping[str, tuple[str, int]] = {
    "title": ("findable", 4), "description": ("findable", 8), "subjects": ("findable", 6), "doi": ("findable", 3), "coverage": ("findable", 4),
    "contact": ("accessible", 8), "examples": ("accessible", 7), "key": ("accessible", 5),
    "ucds": ("interoperable", 12), "units": ("interoperable", 8), "columns": ("interoperable", 8), "tables": ("interoperable", 2),
    "licence": ("reusable", 9), "creators": ("reusable", 6), "bibcode": ("reusable", 4), "instrument": ("reusable", 3), "created": ("reusable", 3),
}  # fmt: skip
TITLE, DESCRIPTION = (10, 120), 100  # characters of a title, least and most; of a description, at least


class Shown(Protocol):
    """A table as it is published."""

    @property
    def table(self) -> Table:
        """With all of its columns."""

    @property
    def rows(self) -> int | None:
        """How many there are."""

    @property
    def statistics(self) -> Mapping[str, Mapping[str, object]]:
        """Of its columns, as `hven.engines.Snapshot` has them."""

    @property
    def updated(self) -> str:
        """When it was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A thing that a descriptor does not say.

    Attributes
    ----------
    fault
        What, why, where, and what to do about it, for people.
    add
        Exact text of the line; ``..`` stands where only its curator knows.
    how
        ``below``: as a line of its own below `place` of the fault; ``inside``: behind the brace there; ``instead`` of the value there; empty:
        there is no line that would be right everywhere.
    points
        Of the 100 that it brings.
    """

    fault: Fault
    add: str
    how: str
    points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a collection is described.

    Attributes
    ----------
    collection
        Its name.
    points
        What is looked at -> how many of its points it has.
    """

    collection: str
    points: Mapping[str, float]

    @property
    def total(self) -> int:
        """Points of 100."""
        return int(sum(self.points.values()) + 1e-6)

    def percent(self, group: str) -> int:
        """Return the share of a group's points, in percent.

        Parameters
        ----------
        group
            One of `GROUPS`.
        """
        own = [(self.points[name], weight) for name, (of, weight) in WEIGHTS.items() if of == group]
        return int(100 * sum(got for got, _ in own) / sum(weight for _, weight in own) + 1e-6)


def score(resource: Resource, settings: Settings, tables: Sequence[Table]) -> Score:
    """Score a collection. Nothing is read for it.

    Parameters
    ----------
    resource
        What its descriptor says.
    settings
        Of the site: who answers questions about all collections.
    tables
        Its tables, as they are published.

    Returns
    -------
    score
        Of 100.
    """
    shares = _shares(resource, settings, tables)
    return Score(collection=resource.name, points={name: weight * shares[name] for name, (_, weight) in WEIGHTS.items()})  # fmt: skip


def lacks(resource: Resource, settings: Settings, published: Sequence[Shown]) -> Iterator[Lack]:
    """List what a descriptor does not say, in the order of what it is worth within each group.

    Parameters
    ----------
    resource
        What it says.
    settings
        Of the site.
    published
        Its tables, as they are published: units and UCDs are guessed from names and values, as by ``hven new``.

    Yields
    ------
    lacks
        Each at its place in the file.
    """
    return _Look(resource, settings, published).lacks()


def _shares(resource: Resource, settings: Settings, tables: Sequence[Table]) -> dict[str, float]:
    """Return how much of each thing there is: from 0 to 1."""
    columns = [column for table in tables for column in table.columns if not column.hidden]
    measured = [one for one in columns if _measured(one)]
    people = resource.creators
    return {
        "title": float(TITLE[0] <= len(resource.title) <= TITLE[1] and resource.title != resource.name),
        "description": min(len(resource.description or "") / DESCRIPTION, 1.0),
        "subjects": float(bool(resource.subjects)),
        "doi": float(bool(resource.doi)),
        "coverage": float(bool(resource.waveband) or any(map(_covers, tables))),
        "contact": float(bool((resource.contact and resource.contact.email) or settings.contact_email)),
        "examples": float(bool(resource.examples)),
        "key": _share([_keyed(one, resource) for one in tables]),
        "ucds": _share([bool(one.ucd) for one in columns]),
        "units": _share([bool(one.unit) for one in measured]) if measured else float(bool(columns)),
        "columns": _share([bool(one.description) for one in columns]),
        "tables": _share([bool(one.description) for one in tables]),
        "licence": (0.5 + 0.5 * _addressed(resource)) * bool(resource.licence or resource.licence_url),
        "creators": (1 + _share([bool(one.orcid) for one in people])) / 2 if people else 0.0,
        "bibcode": 1.0 if resource.bibcode else 0.5 * bool(resource.citation),
        "instrument": float(bool(resource.instrument or resource.facility) or resource.simulated),
        "created": float(bool(resource.created)),
    }


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 0.0


def _measured(column: Column) -> bool:
    """Return whether values of a column are of a quantity that has a unit in any case."""
    return column.type.is_numeric and units.measured(column.ucd)


def _keyed(table: Table, resource: Resource) -> bool:
    """Return whether rows have a key: the descriptor may say one that the rows get when they are next published."""
    return bool(
        table.primary
        or table.view
        or any(one.table.name == table.name and one.table.primary for one in resource.tables)
    )


def _covers(table: Table) -> bool:
    """Return whether a table tells where, when or at which wavelength it has something."""
    return table.position is not None or any((one.ucd or "").startswith(("time.", "em.", "pos.")) for one in table.columns)  # fmt: skip


def _addressed(resource: Resource) -> bool:
    return bool(resource.licence_url or SPDX.fullmatch(resource.licence or ""))


class _Look:
    """Looks for what lacks in one descriptor, and where it is to be written."""

    def __init__(self, resource: Resource, settings: Settings, published: Sequence[Shown]) -> None:
        self._resource, self._published = resource, published
        self._shares = _shares(resource, settings, [one.table for one in published])
        self._tree = tree_of(resource, settings)
        self._file = shown(resource.path, settings)

    def lacks(self) -> Iterator[Lack]:
        day = min((one.updated[:10] for one in self._published if one.updated), default="YYYY-MM-DD")
        first = next((one.table for one in self._published), None)
        sample = f"SELECT TOP 10 * FROM {first.schema}.{first.name}" if first is not None else ".."
        example = (
            flow([{"title": "The first rows", "query": sample}]) if first is not None else "[{title: .., query: ..}]"
        )
        for name, key, add, why in (
            ("title", "title", "title: ..", f"it is the first thing that people read: {TITLE[0]} to {TITLE[1]} characters, more than its name"),
            ("description", "description", "description: ..", f"nobody learns what was measured, by whom, and what for: at least {DESCRIPTION} characters"),
            ("subjects", "subjects", "subjects: [..]", "nobody finds it by its subject; words of the Unified Astronomy Thesaurus"),
            ("coverage", "waveband", "waveband: [..]", "nothing says where, when or at which wavelength it has something: Optical, Infrared, Radio .."),
            ("doi", "doi", "doi: 10..", "it cannot be cited for ever"),
            ("contact", "contact", "contact: {name: .., email: ..}", "nobody answers questions; contact_email of hven.toml is of all collections"),
            ("examples", "examples", f"examples: {example}", "nobody sees how to begin with it"),
            ("licence", "licence", "licence: CC-BY-4.0", "nobody knows what may be done with it"),
            ("creators", "creators", "creators: [{name: .., orcid: ..}]", "nobody is named who made it"),
            ("bibcode", "bibcode", "bibcode: ..", "ADS does not count who uses it"),
            ("instrument", "instrument", "instrument: [..]", "nobody finds it by instrument or facility"),
            ("created", "created", f"created: {day}", "nobody knows how old it is"),
        ):  # fmt: skip
            short = 1 - self._shares[name]
            if short > 0:
                yield self._of_collection(name, key, add, why, WEIGHTS[name][1] * short)
        for one in self._published:
            yield from self._of_table(one)

    def _of_collection(self, name: str, key: str, add: str, why: str, points: float) -> Lack:
        """Tell of a key of the collection: one that is there says too little."""
        resource = self._resource
        written = self._key((key,))
        if written is None:
            place, how, what = self._place(self._key(("collection",)) or self._key(("title",))), "below", f"no {key}"
        else:
            place, how, what = self._place(written), "", f"{key} says too little"
            if name == "licence" and not resource.licence_url:
                add, how, why = "licence_url: https://..", "below" if _flat(self._node((key,))) else "", "programs know licences by their address"  # fmt: skip
            elif name == "creators":
                add, why = "orcid: ..", "people are known by their ORCID: " + ", ".join(one.name for one in resource.creators if not one.orcid)  # fmt: skip
        return self._lack(what, why, place, add, how, points)

    def _lack(self, what: str, why: str, place: Place, add: str, how: str, points: float) -> Lack:
        word = {"below": "add below", "inside": "add within the braces", "instead": "write instead"}.get(how, "write")
        fault = Fault(message=f"{what} (-{points:.1f}): {why}", place=place, remedy=f"{word}: {add.strip()}", severity="warning")  # fmt: skip
        return Lack(fault=fault, add=add, how=how, points=points)

    # --- tables ---------------------------------------------------------------------------------------------------

    def _of_table(self, one: Shown) -> Iterator[Lack]:
        table, many = one.table, len(self._published)
        spec = next((spec for spec in self._resource.tables if spec.table.name == table.name), None)
        at = ("tables", table.name)
        place = self._place(self._key(at)) if self._key(at) is not None else spec.place if spec is not None else Place(file=self._file)  # fmt: skip
        node = self._node(at)
        how = "below" if isinstance(node, Entries) and not node.flow else "inside" if isinstance(node, Entries) else ""
        inside = node.place if how == "inside" else place
        indent = " " * (self._column(node) - 1) if how == "below" else ""
        if not table.description:
            add = f"{indent}description: .."
            yield self._lack(f"no description of {table.name}", "nobody learns what a row is", inside, add, how, WEIGHTS["tables"][1] / many)  # fmt: skip
        if not _keyed(table, self._resource):
            key = _names_rows(one)
            add, why = f"{indent}primary: {key or '..'}", "rows cannot be named, linked or followed"
            yield self._lack(f"no primary key of {table.name}", why, inside, add, how, WEIGHTS["key"][1] / many)
        yield from self._of_columns(one, spec, place, indent if how == "below" else None)

    def _of_columns(self, one: Shown, spec: TableSpec | None, place: Place, indent: str | None) -> Iterator[Lack]:
        table = one.table
        visible = [column for column in table.columns if not column.hidden]
        if not visible:
            points = sum(WEIGHTS[name][1] for name in ("ucds", "units", "columns")) / len(self._published)
            yield self._lack(f"the columns of {table.name} are not known", "they are those of its source", place, f"hven ingest {self._resource.name}", "", points)  # fmt: skip
            return
        worth = self._worth()
        undeclared: dict[str, dict[str, str]] = {}
        points = 0.0
        for column, said in zip(visible, _proposed(visible, one), strict=True):
            if not said:
                continue
            lost = sum(worth[key] for key in said if key != "unit" or _measured(column))
            at = ("tables", table.name, "columns", column.name)
            node, above = self._node(at), self._node(at[:-1])
            what = f"no {' and no '.join(_WORDS[key] for key in said)} of {table.name}.{column.name}"
            inside = flow(said)[1:-1]
            if isinstance(node, Entries):
                how = "inside" if node.flow else "below"
                spaces = "" if node.flow else " " * (self._column(node) - 1)
                text = inside if node.flow else "\n".join(f"{spaces}{key}: {scalar(value)}" for key, value in said.items())  # fmt: skip
                where = node.place if node.flow else self._place(self._key(at))
                yield self._lack(what, _why(said), where, text, how, lost)
            elif isinstance(node, Written) and not node.is_null:
                text = flow({"type": str(node), **said})
                yield self._lack(what, _why(said), node.place, text, "instead", lost)
            elif spec is not None and column.name in spec.places:  # in a loop, or in another file
                yield self._lack(what, _why(said), spec.places[column.name], inside, "", lost)
            elif isinstance(above, Entries):
                spaces = "" if above.flow else " " * (self._column(above) - 1)
                text, how = f"{spaces}{scalar(column.name)}: {flow(said)}", "inside" if above.flow else "below"
                where = above.place if above.flow else self._place(self._key(at[:-1]))
                yield self._lack(what, _why(said), where, text, how, lost)
            else:
                undeclared[column.name] = said
                points += lost
        if undeclared:  # all at once: the key stands once
            said_all = "".join(f"\n{indent or ''}  {scalar(name)}: {flow(said)}" for name, said in undeclared.items())
            text = f"{indent or ''}columns:{said_all}"
            if spec is not None and spec.follow:  # as it does without columns
                text = f"{indent or ''}follow: true\n{text}"
            names = ", ".join(undeclared)
            yield self._lack(f"columns of {table.name} are not described: {names}", "nobody knows what they mean", place, text, "below" if indent is not None else "", points)  # fmt: skip

    def _worth(self) -> dict[str, float]:
        """Return the points that a UCD, a unit, a description of one column bring."""
        columns = [column for one in self._published for column in one.table.columns if not column.hidden]
        measured = sum(map(_measured, columns))
        return {"ucd": WEIGHTS["ucds"][1] / len(columns), "unit": WEIGHTS["units"][1] / max(measured, 1), "description": WEIGHTS["columns"][1] / len(columns)}  # fmt: skip

    # --- places ---------------------------------------------------------------------------------------------------

    def _node(self, path: Sequence[str]) -> Any:
        node: Any = self._tree
        for key in path:
            node = node.get(key) if isinstance(node, Entries) else None  # type: ignore[call-overload]
        return node

    def _key(self, path: Sequence[str]) -> Written | None:
        above = self._node(path[:-1])
        return above.key(path[-1]) if isinstance(above, Entries) and path[-1] in above else None

    def _place(self, key: Written | None) -> Place:
        return key.place if key is not None else Place(file=self._file, line=1, column=1)

    def _column(self, node: Entries) -> int:
        """Return the column in which the keys of a map stand."""
        return next((key.place.column or 1 for key in node), node.place.column or 1)


def tree_of(resource: Resource, settings: Settings) -> Entries | None:
    """Read a descriptor once more as it is written: with the place of each word."""
    faults: list[Fault] = []
    page = read_page(resource.path, shown(resource.path, settings), faults)
    tree = parse(page, faults) if page is not None else None
    return tree if isinstance(tree, Entries) else None


_WORDS = {"ucd": "UCD", "unit": "unit", "description": "description"}


def _why(said: Mapping[str, str]) -> str:
    if "ucd" in said:
        return "programs do not know what it is"
    return "its numbers have no meaning" if "unit" in said else "people do not know what it is"


def _flat(node: Any) -> bool:
    """Return whether a value ends on the line of its key."""
    return isinstance(node, Written) and node.style not in {"|", ">"} and "\n" not in node.page.text[node.start : node.end]  # fmt: skip


def _proposed(columns: Sequence[Column], one: Shown) -> list[dict[str, str]]:
    """Return what each column lacks, with what it may be; ``..`` where nobody can guess."""
    seen = {
        name: Seen(rows=one.rows or 0, nulls=int(str(known.get("nulls", 0))), minimum=known.get("minimum"), maximum=known.get("maximum"))
        for name, known in one.statistics.items()
        if isinstance(known.get("minimum", 0), int | float)
    }  # fmt: skip
    found = []
    for column, guess in zip(columns, guess_columns(columns, seen, complete=False, narrow=False), strict=True):
        said: dict[str, str] = {}
        guessed = guess.column
        if not column.ucd:
            said["ucd"] = guessed.ucd or ".."
        meant = column.ucd or guessed.ucd or ""
        if not column.unit and column.type.is_numeric and units.measured(meant):
            said["unit"] = guessed.unit or ("mag" if meant.startswith("phot.mag") else "..")
        if not column.description:
            said["description"] = ".."
        found.append(said)
    return found


def _names_rows(one: Shown) -> str | None:
    """Return the column whose values are all different and all there, if its type can be a key's."""
    return next(
        (
            column.name for column in one.table.columns
            if (column.type.is_string or column.type.is_integer) and not column.type.is_array and one.rows
            and one.statistics.get(column.name, {}).get("distinct") == one.rows and not one.statistics[column.name].get("nulls")
        ),
        None,
    )  # fmt: skip
