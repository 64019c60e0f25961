"""How well a collection is described.

A score of 100 by the four words of FAIR, and each thing that lacks with the line to add and what that brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.descriptor._column_guesses import ColumnSample, guess_columns
from hven.descriptor._merging import format_site_path
from hven.descriptor._yaml_text import format_flow_value, format_scalar
from hven.descriptor.written_yaml import WrittenMap, WrittenScalar, parse_page, read_page
from hven.model import units
from hven.model.errors import Fault, Place
from hven.model.resource import SPDX_LICENCE_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table

FAIR_GROUPS = ("findable", "accessible", "interoperable", "reusable")
# what is looked at -> its group, and how much of the 100 it is worth (docs/howto/metadata.md says why)
CRITERION_WEIGHTS: Mapping[str, tuple[str, int]] = {
    "title": ("findable", 4),
    "description": ("findable", 8),
    "subjects": ("findable", 6),
    "doi": ("findable", 3),
    "coverage": ("findable", 4),
    "contact": ("accessible", 8),
    "examples": ("accessible", 7),
    "key": ("accessible", 5),
    "ucds": ("interoperable", 12),
    "units": ("interoperable", 8),
    "columns": ("interoperable", 8),
    "tables": ("interoperable", 2),
    "licence": ("reusable", 9),
    "creators": ("reusable", 6),
    "bibcode": ("reusable", 4),
    "instrument": ("reusable", 3),
    "created": ("reusable", 3),
}
TITLE_LENGTH_CHARACTERS, MIN_DESCRIPTION_CHARACTERS = (
    (10, 120),
    100,
)  # characters of a title, least and most; of a description, at least


class PublishedTableInfo(Protocol):
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
class MissingMetadata:
    """A thing that a descriptor does not say.

    Attributes
    ----------
    fault
        What, why, where, and what to do about it, for people.
    added_text
        Exact text of the line; ``..`` stands where only its curator knows.
    insertion_mode
        ``below``: as a line of its own below `place` of the fault; ``inside``: behind the brace there; ``instead`` of
        the value there; empty: there is no line that would be right everywhere.
    points
        Of the 100 that it brings.
    """

    fault: Fault
    added_text: str
    insertion_mode: str
    points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessScore:
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

    def compute_group_percent(self, group: str) -> int:
        """Return the share of a group's points, in percent.

        Parameters
        ----------
        group
            One of `FAIR_GROUPS`.
        """
        group_points = [
            (self.points[name], weight)
            for name, (weight_group, weight) in CRITERION_WEIGHTS.items()
            if weight_group == group
        ]
        return int(100 * sum(points for points, _ in group_points) / sum(weight for _, weight in group_points) + 1e-6)


def score_collection(resource: Resource, settings: Settings, tables: Sequence[Table]) -> CompletenessScore:
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
    shares = _compute_criterion_shares(resource, settings, tables)
    points = {name: weight * shares[name] for name, (_, weight) in CRITERION_WEIGHTS.items()}
    return CompletenessScore(
        collection=resource.name,
        points=points,
    )


def list_missing_metadata(
    resource: Resource, settings: Settings, published: Sequence[PublishedTableInfo]
) -> Iterator[MissingMetadata]:
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
    return _MissingMetadataFinder(resource, settings, published).iterate_missing()


def _compute_criterion_shares(resource: Resource, settings: Settings, tables: Sequence[Table]) -> dict[str, float]:
    """Return how much of each thing there is: from 0 to 1."""
    columns = [column for table in tables for column in table.columns if not column.hidden]
    measured_columns = [described_item for described_item in columns if _is_unit_required(described_item)]
    creators = resource.creators
    return {
        "title": float(
            TITLE_LENGTH_CHARACTERS[0] <= len(resource.title) <= TITLE_LENGTH_CHARACTERS[1]
            and resource.title != resource.name
        ),
        "description": min(len(resource.description or "") / MIN_DESCRIPTION_CHARACTERS, 1.0),
        "subjects": float(bool(resource.subjects)),
        "doi": float(bool(resource.doi)),
        "coverage": float(bool(resource.waveband) or any(map(_has_coverage, tables))),
        "contact": float(bool((resource.contact and resource.contact.email) or settings.contact_email)),
        "examples": float(bool(resource.examples)),
        "key": _compute_true_share([_has_row_key(described_item, resource) for described_item in tables]),
        "ucds": _compute_true_share([bool(described_item.ucd) for described_item in columns]),
        "units": _compute_true_share([bool(described_item.unit) for described_item in measured_columns])
        if measured_columns
        else float(bool(columns)),
        "columns": _compute_true_share([bool(described_item.description) for described_item in columns]),
        "tables": _compute_true_share([bool(described_item.description) for described_item in tables]),
        "licence": (0.5 + 0.5 * _has_licence_address(resource)) * bool(resource.licence or resource.licence_url),
        "creators": (1 + _compute_true_share([bool(described_item.orcid) for described_item in creators])) / 2
        if creators
        else 0.0,
        "bibcode": 1.0 if resource.bibcode else 0.5 * bool(resource.citation),
        "instrument": float(bool(resource.instrument or resource.facility) or resource.is_simulated),
        "created": float(bool(resource.created)),
    }


def _compute_true_share(flags: Sequence[bool]) -> float:
    if flags:
        return sum(flags) / len(flags)
    return 0.0


def _is_unit_required(column: Column) -> bool:
    """Return whether values of a column are of a quantity that has a unit in any case."""
    return column.type.is_numeric and units.has_unit(column.ucd)


def _has_row_key(table: Table, resource: Resource) -> bool:
    """Return whether rows have a key: the descriptor may say one that the rows get when they are next published."""
    return bool(
        table.primary
        or table.view
        or any(spec.table.name == table.name and spec.table.primary for spec in resource.tables)
    )


def _has_coverage(table: Table) -> bool:
    """Return whether a table tells where, when or at which wavelength it has something."""
    return table.position is not None or any(
        (column.ucd or "").startswith(("time.", "em.", "pos.")) for column in table.columns
    )


def _has_licence_address(resource: Resource) -> bool:
    return bool(resource.licence_url or SPDX_LICENCE_PATTERN.fullmatch(resource.licence or ""))


class _MissingMetadataFinder:
    """Looks for what lacks in one descriptor, and where it is to be written."""

    def __init__(self, resource: Resource, settings: Settings, published_tables: Sequence[PublishedTableInfo]) -> None:
        self._resource = resource
        self._published_tables = published_tables
        self._shares = _compute_criterion_shares(
            resource, settings, [published_table.table for published_table in published_tables]
        )
        self._tree = parse_descriptor_tree(resource, settings)
        self._file = format_site_path(resource.path, settings)

    def iterate_missing(self) -> Iterator[MissingMetadata]:
        first_publication_date = min(
            (published_table.updated[:10] for published_table in self._published_tables if published_table.updated),
            default="YYYY-MM-DD",
        )
        first_table = next((published_table.table for published_table in self._published_tables), None)
        if first_table is not None:
            sample = f"SELECT TOP 10 * FROM {first_table.schema}.{first_table.name}"
        else:
            sample = ".."
        if first_table is not None:
            example = format_flow_value([{"title": "The first rows", "query": sample}])
        else:
            example = "[{title: .., query: ..}]"
        for name, key, added_text, reason in (
            (
                "title",
                "title",
                "title: ..",
                (
                    f"it is the first thing that people read: {TITLE_LENGTH_CHARACTERS[0]} to "
                    f"{TITLE_LENGTH_CHARACTERS[1]} characters, more than its name"
                ),
            ),
            (
                "description",
                "description",
                "description: ..",
                (
                    f"nobody learns what was measured, by whom, and what for: at least "
                    f"{MIN_DESCRIPTION_CHARACTERS} characters"
                ),
            ),
            (
                "subjects",
                "subjects",
                "subjects: [..]",
                "nobody finds it by its subject; words of the Unified Astronomy Thesaurus",
            ),
            (
                "coverage",
                "waveband",
                "waveband: [..]",
                "nothing says where, when or at which wavelength it has something: Optical, Infrared, Radio ..",
            ),
            ("doi", "doi", "doi: 10..", "it cannot be cited for ever"),
            (
                "contact",
                "contact",
                "contact: {name: .., email: ..}",
                "nobody answers questions; contact_email of hven.toml is of all collections",
            ),
            ("examples", "examples", f"examples: {example}", "nobody sees how to begin with it"),
            ("licence", "licence", "licence: CC-BY-4.0", "nobody knows what may be done with it"),
            ("creators", "creators", "creators: [{name: .., orcid: ..}]", "nobody is named who made it"),
            ("bibcode", "bibcode", "bibcode: ..", "ADS does not count who uses it"),
            ("instrument", "instrument", "instrument: [..]", "nobody finds it by instrument or facility"),
            ("created", "created", f"created: {first_publication_date}", "nobody knows how old it is"),
        ):
            missing_share = 1 - self._shares[name]
            if missing_share > 0:
                yield self._describe_collection_key(
                    name, key, added_text, reason, CRITERION_WEIGHTS[name][1] * missing_share
                )
        for published_table in self._published_tables:
            yield from self._iterate_missing_of_table(published_table)

    def _describe_collection_key(
        self, name: str, key: str, added_text: str, reason: str, points: float
    ) -> MissingMetadata:
        """Tell of a key of the collection: one that is there says too little."""
        resource = self._resource
        written = self._find_key((key,))
        if written is None:
            place = self._locate_key(self._find_key(("collection",)) or self._find_key(("title",)))
            how = "below"
            message = f"no {key}"
        else:
            place = self._locate_key(written)
            how = ""
            message = f"{key} says too little"
            if name == "licence" and not resource.licence_url:
                added_text = "licence_url: https://.."
                how = "below" if _is_single_line(self._find_node((key,))) else ""
                reason = "programs know licences by their address"
            elif name == "creators":
                added_text = "orcid: .."
                reason = "people are known by their ORCID: " + ", ".join(
                    creator.name for creator in resource.creators if not creator.orcid
                )
        return self._build_missing(message, reason, place, added_text, how, points)

    def _build_missing(
        self, message: str, reason: str, place: Place, added_text: str, insertion_mode: str, points: float
    ) -> MissingMetadata:
        instruction = {"below": "add below", "inside": "add within the braces", "instead": "write instead"}.get(
            insertion_mode, "write"
        )
        fault = Fault(
            message=f"{message} (-{points:.1f}): {reason}",
            place=place,
            remedy=f"{instruction}: {added_text.strip()}",
            severity="warning",
        )
        return MissingMetadata(fault=fault, added_text=added_text, insertion_mode=insertion_mode, points=points)

    # --- tables ---------------------------------------------------------------------------------------------------

    def _iterate_missing_of_table(self, published_table: PublishedTableInfo) -> Iterator[MissingMetadata]:
        table = published_table.table
        table_count = len(self._published_tables)
        spec = next((spec for spec in self._resource.tables if spec.table.name == table.name), None)
        table_path = ("tables", table.name)
        if self._find_key(table_path) is not None:
            place = self._locate_key(self._find_key(table_path))
        elif spec is not None:
            place = spec.place
        else:
            place = Place(file=self._file)
        node = self._find_node(table_path)
        if isinstance(node, WrittenMap) and not node.is_flow:
            insertion_mode = "below"
        elif isinstance(node, WrittenMap):
            insertion_mode = "inside"
        else:
            insertion_mode = ""
        inner_place = node.place if insertion_mode == "inside" else place
        if insertion_mode == "below":
            indent = " " * (self._find_key_column(node) - 1)
        else:
            indent = ""
        if not table.description:
            added_text = f"{indent}description: .."
            yield self._build_missing(
                f"no description of {table.name}",
                "nobody learns what a row is",
                inner_place,
                added_text,
                insertion_mode,
                CRITERION_WEIGHTS["tables"][1] / table_count,
            )
        if not _has_row_key(table, self._resource):
            key = _find_unique_column(published_table)
            added_text = f"{indent}primary: {key or '..'}"
            reason = "rows cannot be named, linked or followed"
            yield self._build_missing(
                f"no primary key of {table.name}",
                reason,
                inner_place,
                added_text,
                insertion_mode,
                CRITERION_WEIGHTS["key"][1] / table_count,
            )
        yield from self._iterate_missing_of_columns(
            published_table, spec, place, indent if insertion_mode == "below" else None
        )

    def _iterate_missing_of_columns(
        self, published_table: PublishedTableInfo, spec: TableSpec | None, place: Place, indent: str | None
    ) -> Iterator[MissingMetadata]:
        table = published_table.table
        visible = [column for column in table.columns if not column.hidden]
        if not visible:
            points = sum(CRITERION_WEIGHTS[name][1] for name in ("ucds", "units", "columns")) / len(
                self._published_tables
            )
            yield self._build_missing(
                f"the columns of {table.name} are not known",
                "they are those of its source",
                place,
                f"hven ingest {self._resource.name}",
                "",
                points,
            )
            return
        points_by_attribute = self._compute_column_points()
        undeclared: dict[str, dict[str, str]] = {}
        points = 0.0
        for column, missing_values in zip(visible, _propose_attributes(visible, published_table), strict=True):
            if not missing_values:
                continue
            lost_points = sum(
                points_by_attribute[key] for key in missing_values if key != "unit" or _is_unit_required(column)
            )
            column_path = ("tables", table.name, "columns", column.name)
            node = self._find_node(column_path)
            columns_node = self._find_node(column_path[:-1])
            message = (
                f"no {' and no '.join(_ATTRIBUTE_LABELS[key] for key in missing_values)} of {table.name}.{column.name}"
            )
            flow_text = format_flow_value(missing_values)[1:-1]
            if isinstance(node, WrittenMap):
                insertion_mode = "inside" if node.is_flow else "below"
                if node.is_flow:
                    spaces = ""
                else:
                    spaces = " " * (self._find_key_column(node) - 1)
                if node.is_flow:
                    text = flow_text
                else:
                    text = "\n".join(f"{spaces}{key}: {format_scalar(value)}" for key, value in missing_values.items())
                if node.is_flow:
                    insertion_place = node.place
                else:
                    insertion_place = self._locate_key(self._find_key(column_path))
                yield self._build_missing(
                    message, _explain_missing(missing_values), insertion_place, text, insertion_mode, lost_points
                )
            elif isinstance(node, WrittenScalar) and not node.is_null:
                text = format_flow_value({"type": str(node), **missing_values})
                yield self._build_missing(
                    message, _explain_missing(missing_values), node.place, text, "instead", lost_points
                )
            elif spec is not None and column.name in spec.column_places:  # in a loop, or in another file
                yield self._build_missing(
                    message,
                    _explain_missing(missing_values),
                    spec.column_places[column.name],
                    flow_text,
                    "",
                    lost_points,
                )
            elif isinstance(columns_node, WrittenMap):
                if columns_node.is_flow:
                    spaces = ""
                else:
                    spaces = " " * (self._find_key_column(columns_node) - 1)
                text = f"{spaces}{format_scalar(column.name)}: {format_flow_value(missing_values)}"
                insertion_mode = "inside" if columns_node.is_flow else "below"
                if columns_node.is_flow:
                    insertion_place = columns_node.place
                else:
                    insertion_place = self._locate_key(self._find_key(column_path[:-1]))
                yield self._build_missing(
                    message, _explain_missing(missing_values), insertion_place, text, insertion_mode, lost_points
                )
            else:
                undeclared[column.name] = missing_values
                points += lost_points
        if undeclared:  # all at once: the key stands once
            column_lines = "".join(
                f"\n{indent or ''}  {format_scalar(name)}: {format_flow_value(missing_values)}"
                for name, missing_values in undeclared.items()
            )
            text = f"{indent or ''}columns:{column_lines}"
            if spec is not None and spec.follows_source:  # as it does without columns
                text = f"{indent or ''}follow: true\n{text}"
            names = ", ".join(undeclared)
            yield self._build_missing(
                f"columns of {table.name} are not described: {names}",
                "nobody knows what they mean",
                place,
                text,
                "below" if indent is not None else "",
                points,
            )

    def _compute_column_points(self) -> dict[str, float]:
        """Return the points that a UCD, a unit, a description of one column bring."""
        columns = [
            column
            for published_table in self._published_tables
            for column in published_table.table.columns
            if not column.hidden
        ]
        measured_count = sum(map(_is_unit_required, columns))
        return {
            "ucd": CRITERION_WEIGHTS["ucds"][1] / len(columns),
            "unit": CRITERION_WEIGHTS["units"][1] / max(measured_count, 1),
            "description": CRITERION_WEIGHTS["columns"][1] / len(columns),
        }

    # --- places ---------------------------------------------------------------------------------------------------

    def _find_node(self, path: Sequence[str]) -> Any:
        node: Any = self._tree
        for key in path:
            node = node.get(key) if isinstance(node, WrittenMap) else None  # type: ignore[call-overload]
        return node

    def _find_key(self, path: Sequence[str]) -> WrittenScalar | None:
        parent_node = self._find_node(path[:-1])
        if isinstance(parent_node, WrittenMap) and path[-1] in parent_node:
            return parent_node.find_key(path[-1])
        return None

    def _locate_key(self, key: WrittenScalar | None) -> Place:
        if key is not None:
            return key.place
        return Place(file=self._file, line=1, column=1)

    def _find_key_column(self, node: WrittenMap) -> int:
        """Return the column in which the keys of a map stand."""
        return next((key.place.column or 1 for key in node), node.place.column or 1)


def parse_descriptor_tree(resource: Resource, settings: Settings) -> WrittenMap | None:
    """Read a descriptor once more as it is written: with the place of each word."""
    faults: list[Fault] = []
    page = read_page(resource.path, format_site_path(resource.path, settings), faults)
    if page is not None:
        tree = parse_page(page, faults)
    else:
        tree = None
    return tree if isinstance(tree, WrittenMap) else None


_ATTRIBUTE_LABELS = {"ucd": "UCD", "unit": "unit", "description": "description"}


def _explain_missing(missing_values: Mapping[str, str]) -> str:
    if "ucd" in missing_values:
        return "programs do not know what it is"
    return "its numbers have no meaning" if "unit" in missing_values else "people do not know what it is"


def _is_single_line(node: Any) -> bool:
    """Return whether a value ends on the line of its key."""
    return (
        isinstance(node, WrittenScalar)
        and node.style not in {"|", ">"}
        and "\n" not in node.page.text[node.start : node.end]
    )


def _propose_attributes(columns: Sequence[Column], published_table: PublishedTableInfo) -> list[dict[str, str]]:
    """Return what each column lacks, with what it may be; ``..`` where nobody can guess."""
    statistics_by_column = {
        name: ColumnSample(
            rows=published_table.rows or 0,
            nulls=int(str(column_statistics.get("nulls", 0))),
            minimum=column_statistics.get("minimum"),
            maximum=column_statistics.get("maximum"),
        )
        for name, column_statistics in published_table.statistics.items()
        if isinstance(column_statistics.get("minimum", 0), int | float)
    }
    proposals = []
    for column, guess in zip(
        columns, guess_columns(columns, statistics_by_column, is_complete=False, may_narrow=False), strict=True
    ):
        missing_values: dict[str, str] = {}
        guessed_column = guess.column
        if not column.ucd:
            missing_values["ucd"] = guessed_column.ucd or ".."
        effective_ucd = column.ucd or guessed_column.ucd or ""
        if not column.unit and column.type.is_numeric and units.has_unit(effective_ucd):
            missing_values["unit"] = guessed_column.unit or ("mag" if effective_ucd.startswith("phot.mag") else "..")
        if not column.description:
            missing_values["description"] = ".."
        proposals.append(missing_values)
    return proposals


def _find_unique_column(published_table: PublishedTableInfo) -> str | None:
    """Return the column whose values are all different and all there, if its type can be a key's."""
    return next(
        (
            column.name
            for column in published_table.table.columns
            if (column.type.is_string or column.type.is_integer)
            and not column.type.is_array
            and published_table.rows
            and published_table.statistics.get(column.name, {}).get("distinct") == published_table.rows
            and not published_table.statistics[column.name].get("nulls")
        ),
        None,
    )
