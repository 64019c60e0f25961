"""Score how well a collection is described, and list what lacks.

The score is 100 points by the four words of FAIR. Each thing that lacks comes with the line to add and with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.descriptor._merging import format_site_path
from hven.descriptor._yaml_text import format_yaml_flow_value, format_yaml_scalar
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar, parse_yaml_file, read_yaml_file
from hven.model import plugins, units
from hven.model.errors import Fault, TextPlace
from hven.model.resource import SPDX_LICENCE_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table

FAIR_GROUPS = ("findable", "accessible", "interoperable", "reusable")
# criterion -> its group, and its points of the 100 (docs/howto/metadata.md has the reasons)
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
MIN_TITLE_CHARACTERS, MAX_TITLE_CHARACTERS = 10, 120
MIN_DESCRIPTION_CHARACTERS = 100
ROUNDING_TOLERANCE = 1e-6  # points: a sum of shares such as 0.1 may fall short of a whole number by rounding


class PublishedTableInfo(Protocol):
    """A table as it is published."""

    @property
    def table(self) -> Table:
        """The table with all of its columns."""

    @property
    def rows(self) -> int | None:
        """Number of rows."""

    @property
    def statistics(self) -> Mapping[str, Mapping[str, object]]:
        """Statistics of the columns, as `hven.engines.Snapshot` has them."""

    @property
    def updated(self) -> str:
        """Time of the publication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingMetadata:
    """Metadata that a descriptor lacks.

    Attributes
    ----------
    fault
        Message, reason, place and remedy, for people.
    added_text
        Exact text of the line; ``..`` stands for what only the curator knows.
    insertion_mode
        ``below``: the text is a line of its own below `place` of the fault; ``inside``: it stands behind the brace
        there; ``instead``: it replaces the value there; empty: no line is right for every descriptor.
    points
        Points of the 100 that it brings.
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
        Name of the collection.
    points
        Points that the collection has, by criterion.
    """

    collection: str
    points: Mapping[str, float]

    @property
    def total(self) -> int:
        """Points of 100."""
        return int(sum(self.points.values()) + ROUNDING_TOLERANCE)

    def compute_group_percent(self, group: str) -> int:
        """Return the share of a group's points, in percent.

        Parameters
        ----------
        group
            One of `FAIR_GROUPS`.
        """
        points, max_points = 0.0, 0
        for name, (criterion_group, weight) in CRITERION_WEIGHTS.items():
            if criterion_group == group:
                points += self.points[name]
                max_points += weight
        return int(100 * points / max_points + ROUNDING_TOLERANCE)


def score_collection_metadata(
    resource: CollectionSpec, settings: Settings, tables: Sequence[Table]
) -> CompletenessScore:
    """Score a collection by its metadata; no rows are read.

    Parameters
    ----------
    resource
        The collection.
    settings
        Settings of the site, whose contact may answer for all collections.
    tables
        Tables of the collection as they are published.

    Returns
    -------
    score
        Points by criterion, 100 at most.
    """
    shares = _compute_criterion_shares(resource, settings, tables)
    points = {name: weight * shares[name] for name, (_, weight) in CRITERION_WEIGHTS.items()}
    return CompletenessScore(collection=resource.name, points=points)


def list_missing_metadata(
    resource: CollectionSpec, settings: Settings, published: Sequence[PublishedTableInfo]
) -> Iterator[MissingMetadata]:
    """List the metadata that a descriptor lacks, by group and by points.

    Parameters
    ----------
    resource
        The collection.
    settings
        Settings of the site.
    published
        Tables of the collection as they are published. Packages propose units and UCDs of columns
        (`hven.model.plugins.PluginPackage.column_proposals`).

    Yields
    ------
    missing_metadata
        One record for each thing that lacks, with its place in the file.
    """
    return _MissingMetadataFinder(resource, settings, published).iterate_missing()


def _compute_criterion_shares(
    resource: CollectionSpec, settings: Settings, tables: Sequence[Table]
) -> dict[str, float]:
    """Return the share of each criterion that a collection meets: from 0 to 1."""
    columns = [column for table in tables for column in table.columns if not column.hidden]
    shares = {
        "subjects": bool(resource.subjects),
        "doi": bool(resource.doi),
        "coverage": bool(resource.waveband) or any(map(_has_coverage, tables)),
        "contact": _has_contact_address(resource, settings),
        "examples": bool(resource.examples),
        "instrument": bool(resource.instrument or resource.facility or resource.is_simulated),
        "created": bool(resource.created),
    }
    has_good_length = MIN_TITLE_CHARACTERS <= len(resource.title) <= MAX_TITLE_CHARACTERS
    description_length = len(resource.description or "")
    return {
        **{name: float(is_met) for name, is_met in shares.items()},
        "title": float(has_good_length and resource.title != resource.name),
        "description": min(description_length / MIN_DESCRIPTION_CHARACTERS, 1.0),
        "key": _compute_true_share([_has_row_key(table, resource) for table in tables]),
        "ucds": _compute_true_share([bool(column.ucd) for column in columns]),
        "units": _compute_unit_share(columns),
        "columns": _compute_true_share([bool(column.description) for column in columns]),
        "tables": _compute_true_share([bool(table.description) for table in tables]),
        "licence": _compute_licence_share(resource),
        "creators": _compute_creator_share(resource),
        "bibcode": _compute_bibcode_share(resource),
    }


def _compute_true_share(flags: Sequence[bool]) -> float:
    if flags:
        return sum(flags) / len(flags)
    return 0.0


def _compute_unit_share(columns: Sequence[Column]) -> float:
    measured_columns = [column for column in columns if _is_unit_required(column)]
    if measured_columns:
        return _compute_true_share([bool(column.unit) for column in measured_columns])
    return float(bool(columns))


def _compute_licence_share(resource: CollectionSpec) -> float:
    """Give half of the points for a licence, and the other half if programs know it by its address."""
    if not resource.licence and not resource.licence_url:
        return 0.0
    has_address = resource.licence_url or SPDX_LICENCE_PATTERN.fullmatch(resource.licence or "")
    return 1.0 if has_address else 0.5


def _compute_creator_share(resource: CollectionSpec) -> float:
    """Give half of the points for creators, and the other half by the share of those with an ORCID."""
    if not resource.creators:
        return 0.0
    return (1 + _compute_true_share([bool(creator.orcid) for creator in resource.creators])) / 2


def _compute_bibcode_share(resource: CollectionSpec) -> float:
    if resource.bibcode:
        return 1.0
    if resource.citation:
        return 0.5
    return 0.0


def _has_contact_address(resource: CollectionSpec, settings: Settings) -> bool:
    if resource.contact is not None and resource.contact.email:
        return True
    return bool(settings.contact_email)


def _is_unit_required(column: Column) -> bool:
    """Return whether values of a column are of a quantity that has a unit in any case."""
    return column.type.is_numeric and units.is_quantity_with_unit(column.ucd)


def _has_row_key(table: Table, resource: CollectionSpec) -> bool:
    """Return whether rows have a key, or will get one of the descriptor's when they are next published."""
    if table.primary or table.view:
        return True
    return any(spec.table.name == table.name and spec.table.primary for spec in resource.tables)


def _has_coverage(table: Table) -> bool:
    """Return whether a table tells the positions, times or wavelengths that its rows cover."""
    ucds = [column.ucd or "" for column in table.columns]
    return table.position is not None or any(ucd.startswith(("time.", "em.", "pos.")) for ucd in ucds)


@dataclass(frozen=True, slots=True)
class _MetadataCriterion:
    """A criterion of the collection itself, the line that meets it, and what it is good for."""

    name: str
    key: str
    added_text: str
    reason: str


def _list_collection_criteria(published_tables: Sequence[PublishedTableInfo]) -> list[_MetadataCriterion]:
    publication_dates = [table.updated[:10] for table in published_tables if table.updated]
    first_date = min(publication_dates, default="YYYY-MM-DD")
    example = "[{title: .., query: ..}]"
    if published_tables:
        first_table = published_tables[0].table
        query = f"SELECT TOP 10 * FROM {first_table.schema}.{first_table.name}"
        example = format_yaml_flow_value([{"title": "The first rows", "query": query}])
    title_reason = (
        f"readers see the title first; write {MIN_TITLE_CHARACTERS} to {MAX_TITLE_CHARACTERS} "
        "characters, not only the name"
    )
    description_reason = (
        f"readers do not learn what was measured, by whom and why; write at least {MIN_DESCRIPTION_CHARACTERS} "
        "characters"
    )
    subjects_reason = "readers cannot find the collection by subject; use terms of the Unified Astronomy Thesaurus"
    coverage_reason = (
        "nothing shows which positions, times or wavelengths the data cover; as the waveband, write Optical, Infrared, "
        "Radio .."
    )
    contact_reason = "readers do not know whom to ask; for all collections at once, set contact_email in hven.toml"
    return [
        _MetadataCriterion("title", "title", "title: ..", title_reason),
        _MetadataCriterion("description", "description", "description: ..", description_reason),
        _MetadataCriterion("subjects", "subjects", "subjects: [..]", subjects_reason),
        _MetadataCriterion("coverage", "waveband", "waveband: [..]", coverage_reason),
        _MetadataCriterion("doi", "doi", "doi: 10..", "the collection has no permanent identifier for citations"),
        _MetadataCriterion("contact", "contact", "contact: {name: .., email: ..}", contact_reason),
        _MetadataCriterion("examples", "examples", f"examples: {example}", "readers do not see how to begin"),
        _MetadataCriterion("licence", "licence", "licence: CC-BY-4.0", "nobody knows how the data may be used"),
        _MetadataCriterion("creators", "creators", "creators: [{name: .., orcid: ..}]", "the authors are not named"),
        _MetadataCriterion("bibcode", "bibcode", "bibcode: ..", "ADS cannot count citations of the collection"),
        _MetadataCriterion(
            "instrument",
            "instrument",
            "instrument: [..]",
            "readers cannot find the collection by instrument or facility",
        ),
        _MetadataCriterion("created", "created", f"created: {first_date}", "nobody knows how old the collection is"),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _InsertionPoint:
    """Where and how a line is added: `mode` is as in `MissingMetadata`, `indent` is for lines below."""

    place: TextPlace
    mode: str = ""
    indent: str = ""


class _MissingMetadataFinder:
    """Finds what one descriptor lacks, and where it is to be written."""

    def __init__(
        self, resource: CollectionSpec, settings: Settings, published_tables: Sequence[PublishedTableInfo]
    ) -> None:
        self._resource = resource
        self._published_tables = published_tables
        tables = [published_table.table for published_table in published_tables]
        self._shares = _compute_criterion_shares(resource, settings, tables)
        self._tree = parse_descriptor_tree(resource, settings)
        self._file = format_site_path(resource.path, settings)

    def iterate_missing(self) -> Iterator[MissingMetadata]:
        for criterion in _list_collection_criteria(self._published_tables):
            missing_share = 1 - self._shares[criterion.name]
            if missing_share > 0:
                _, weight = CRITERION_WEIGHTS[criterion.name]
                yield self._describe_missing_collection_key(criterion, weight * missing_share)
        for published_table in self._published_tables:
            yield from self._iterate_missing_of_table(published_table)

    def _describe_missing_collection_key(self, criterion: _MetadataCriterion, points: float) -> MissingMetadata:
        """Describe a key of the collection that lacks or says too little."""
        resource, key = self._resource, criterion.key
        added_text, reason = criterion.added_text, criterion.reason
        written_key = self._find_descriptor_key((key,))
        if written_key is None:
            first_key = self._find_descriptor_key(("collection",)) or self._find_descriptor_key(("title",))
            insertion = _InsertionPoint(place=self._locate_descriptor_key(first_key), mode="below")
            return _build_missing_metadata(f"no {key}", reason, insertion, added_text, points=points)
        insertion_mode = ""
        if criterion.name == "licence" and not resource.licence_url:
            added_text = "licence_url: https://.."
            reason = "programs recognise a licence by its address"
            if _is_single_line(self._find_descriptor_node((key,))):
                insertion_mode = "below"
        elif criterion.name == "creators":
            added_text = "orcid: .."
            names = [creator.name for creator in resource.creators if not creator.orcid]
            reason = f"an ORCID identifies a person; it is missing for {', '.join(names)}"
        insertion = _InsertionPoint(place=self._locate_descriptor_key(written_key), mode=insertion_mode)
        return _build_missing_metadata(f"{key} is incomplete", reason, insertion, added_text, points=points)

    # --- tables ---------------------------------------------------------------------------------------------------

    def _iterate_missing_of_table(self, published_table: PublishedTableInfo) -> Iterator[MissingMetadata]:
        table = published_table.table
        table_count = len(self._published_tables)
        spec = next((spec for spec in self._resource.tables if spec.table.name == table.name), None)
        table_path = ("tables", table.name)
        table_key = self._find_descriptor_key(table_path)
        if table_key is not None:
            place = table_key.place
        elif spec is not None:
            place = spec.place
        else:
            place = TextPlace(file=self._file)
        insertion = self._locate_new_entry(self._find_descriptor_node(table_path), place)
        if not table.description:
            yield _build_missing_metadata(
                f"no description of {table.name}",
                "readers do not learn what a row is",
                insertion,
                f"{insertion.indent}description: ..",
                points=CRITERION_WEIGHTS["tables"][1] / table_count,
            )
        if not _has_row_key(table, self._resource):
            key = _find_unique_column(published_table) or ".."
            yield _build_missing_metadata(
                f"no primary key of {table.name}",
                "rows cannot be named, linked or followed",
                insertion,
                f"{insertion.indent}primary: {key}",
                points=CRITERION_WEIGHTS["key"][1] / table_count,
            )
        if insertion.mode == "below":
            table_insertion = insertion
        else:
            table_insertion = _InsertionPoint(place=place)
        yield from self._iterate_missing_of_columns(published_table, spec, table_insertion)

    def _locate_new_entry(self, node: Any, key_place: TextPlace) -> _InsertionPoint:
        """Return where a map takes a new entry: below its key, or inside its braces."""
        if not isinstance(node, LocatedYamlMap):
            return _InsertionPoint(place=key_place)
        if node.is_flow:
            return _InsertionPoint(place=node.place, mode="inside")
        indent = " " * (self._find_key_text_column(node) - 1)
        return _InsertionPoint(place=key_place, mode="below", indent=indent)

    def _iterate_missing_of_columns(
        self, published_table: PublishedTableInfo, spec: TableSpec | None, table_insertion: _InsertionPoint
    ) -> Iterator[MissingMetadata]:
        table = published_table.table
        columns = [column for column in table.columns if not column.hidden]
        if not columns:
            weights = [CRITERION_WEIGHTS[name][1] for name in ("ucds", "units", "columns")]
            yield _build_missing_metadata(
                f"the columns of {table.name} are not known",
                "the columns come from the source of the table",
                _InsertionPoint(place=table_insertion.place),
                f"hven ingest {self._resource.name}",
                points=sum(weights) / len(self._published_tables),
            )
            return
        points_by_attribute = self._compute_column_points()
        undeclared_columns: dict[str, dict[str, str]] = {}
        undeclared_points = 0.0
        for column, missing_values in zip(columns, _propose_missing_attributes(columns, published_table), strict=True):
            if not missing_values:
                continue
            points = 0.0
            for key in missing_values:
                if key != "unit" or _is_unit_required(column):
                    points += points_by_attribute[key]
            missing_metadata = self._describe_missing_column_attributes(
                table, column, spec, missing_values, points=points
            )
            if missing_metadata is None:
                undeclared_columns[column.name] = missing_values
                undeclared_points += points
            else:
                yield missing_metadata
        if undeclared_columns:  # one text for all of them: the key `columns` stands once
            names = ", ".join(undeclared_columns)
            yield _build_missing_metadata(
                f"columns of {table.name} are not described: {names}",
                "nobody knows what these columns mean",
                table_insertion,
                _write_columns_yaml(undeclared_columns, spec, table_insertion.indent),
                points=undeclared_points,
            )

    def _describe_missing_column_attributes(
        self, table: Table, column: Column, spec: TableSpec | None, missing_values: dict[str, str], *, points: float
    ) -> MissingMetadata | None:
        """Describe what a column lacks; None: the descriptor has no ``columns`` of the table to add it to."""
        labels = [_ATTRIBUTE_LABELS[key] for key in missing_values]
        message = f"no {' and no '.join(labels)} for {table.name}.{column.name}"
        reason = _explain_missing_attributes(missing_values)
        columns_path = ("tables", table.name, "columns")
        column_path = (*columns_path, column.name)
        node = self._find_descriptor_node(column_path)
        columns_node = self._find_descriptor_node(columns_path)
        text = format_yaml_flow_value(missing_values)[1:-1]
        if isinstance(node, LocatedYamlMap):
            insertion = self._locate_new_entry(
                node, self._locate_descriptor_key(self._find_descriptor_key(column_path))
            )
            if insertion.mode == "below":
                lines = [
                    f"{insertion.indent}{key}: {format_yaml_scalar(value)}" for key, value in missing_values.items()
                ]
                text = "\n".join(lines)
        elif isinstance(node, LocatedYamlScalar) and not node.is_null:
            insertion = _InsertionPoint(place=node.place, mode="instead")
            text = format_yaml_flow_value({"type": str(node), **missing_values})
        elif spec is not None and column.name in spec.column_places:  # in a loop, or in another file
            insertion = _InsertionPoint(place=spec.column_places[column.name])
        elif isinstance(columns_node, LocatedYamlMap):
            insertion = self._locate_new_entry(
                columns_node, self._locate_descriptor_key(self._find_descriptor_key(columns_path))
            )
            text = f"{insertion.indent}{format_yaml_scalar(column.name)}: {format_yaml_flow_value(missing_values)}"
        else:
            return None
        return _build_missing_metadata(message, reason, insertion, text, points=points)

    def _compute_column_points(self) -> dict[str, float]:
        """Return the points for a UCD, a unit and a description of one column."""
        tables = [published_table.table for published_table in self._published_tables]
        columns = [column for table in tables for column in table.columns if not column.hidden]
        measured_count = sum(map(_is_unit_required, columns))
        weights = {name: CRITERION_WEIGHTS[name][1] for name in ("ucds", "units", "columns")}
        return {
            "ucd": weights["ucds"] / len(columns),
            "unit": weights["units"] / max(measured_count, 1),
            "description": weights["columns"] / len(columns),
        }

    # --- places ---------------------------------------------------------------------------------------------------

    def _find_descriptor_node(self, path: Sequence[str]) -> Any:
        node: Any = self._tree
        for key in path:
            if isinstance(node, LocatedYamlMap):
                node = node.get(key)  # type: ignore[call-overload]
            else:
                node = None
        return node

    def _find_descriptor_key(self, path: Sequence[str]) -> LocatedYamlScalar | None:
        parent_node = self._find_descriptor_node(path[:-1])
        if isinstance(parent_node, LocatedYamlMap) and path[-1] in parent_node:
            return parent_node.find_key(path[-1])
        return None

    def _locate_descriptor_key(self, key: LocatedYamlScalar | None) -> TextPlace:
        if key is not None:
            return key.place
        return TextPlace(file=self._file, line=1, column=1)

    def _find_key_text_column(self, node: LocatedYamlMap) -> int:
        """Return the column in which the keys of a map stand."""
        first_key = next(iter(node), None)
        if first_key is None:
            place = node.place
        else:
            place = first_key.place
        return place.column or 1


def parse_descriptor_tree(resource: CollectionSpec, settings: Settings) -> LocatedYamlMap | None:
    """Read a descriptor once more as it is written, with the place of each word."""
    faults: list[Fault] = []
    page = read_yaml_file(resource.path, format_site_path(resource.path, settings), faults)
    if page is None:
        return None
    tree = parse_yaml_file(page, faults)
    if isinstance(tree, LocatedYamlMap):
        return tree
    return None


_ATTRIBUTE_LABELS = {"ucd": "UCD", "unit": "unit", "description": "description"}
_INSTRUCTIONS = {"below": "add below", "inside": "add within the braces", "instead": "write instead"}


def _build_missing_metadata(
    message: str, reason: str, insertion: _InsertionPoint, added_text: str, *, points: float
) -> MissingMetadata:
    instruction = _INSTRUCTIONS.get(insertion.mode, "write")
    fault = Fault(
        message=f"{message} (-{points:.1f} points): {reason}",
        place=insertion.place,
        remedy=f"{instruction}: {added_text.strip()}",
        severity="warning",
    )
    return MissingMetadata(fault=fault, added_text=added_text, insertion_mode=insertion.mode, points=points)


def _write_columns_yaml(columns: Mapping[str, Mapping[str, str]], spec: TableSpec | None, indent: str) -> str:
    """Write ``columns`` of a table that has none."""
    lines = []
    if spec is not None and spec.follows_source:  # as it does without columns
        lines.append(f"{indent}follow: true")
    lines.append(f"{indent}columns:")
    for name, attributes in columns.items():
        lines.append(f"{indent}  {format_yaml_scalar(name)}: {format_yaml_flow_value(dict(attributes))}")
    return "\n".join(lines)


def _explain_missing_attributes(missing_values: Mapping[str, str]) -> str:
    if "ucd" in missing_values:
        return "programs do not know what the column contains"
    if "unit" in missing_values:
        return "the numbers of the column have no meaning"
    return "people do not know what the column contains"


def _is_single_line(node: Any) -> bool:
    """Return whether a value ends on the line of its key."""
    if not isinstance(node, LocatedYamlScalar) or node.style in {"|", ">"}:
        return False
    return "\n" not in node.page.text[node.start : node.end]


def _propose_missing_attributes(columns: Sequence[Column], published_table: PublishedTableInfo) -> list[dict[str, str]]:
    """Return what each column lacks, and what it may be; ``..`` stands for what no package proposes."""
    proposals = _collect_package_attribute_proposals(columns, published_table)
    missing_attributes = []
    for column, proposal in zip(columns, proposals, strict=True):
        missing_values: dict[str, str] = {}
        if not column.ucd:
            missing_values["ucd"] = proposal.get("ucd", "..")
        effective_ucd = column.ucd or proposal.get("ucd", "")
        if not column.unit and column.type.is_numeric and units.is_quantity_with_unit(effective_ucd):
            default_unit = ".."
            if effective_ucd.startswith("phot.mag"):
                default_unit = "mag"
            missing_values["unit"] = proposal.get("unit", default_unit)
        if not column.description:
            missing_values["description"] = proposal.get("description", "..")
        missing_attributes.append(missing_values)
    return missing_attributes


def _collect_package_attribute_proposals(
    columns: Sequence[Column], published_table: PublishedTableInfo
) -> list[dict[str, str]]:
    """Ask the packages what columns may be; the first that proposes a value counts."""
    joined_proposals: list[dict[str, str]] = [{} for _ in columns]
    for _, propose_attributes in plugins.iterate_package_objects("column_proposals"):
        proposals = propose_attributes(columns, published_table)
        for joined_proposal, proposal in zip(joined_proposals, proposals, strict=True):
            for key, value in proposal.items():
                joined_proposal.setdefault(key, value)
    return joined_proposals


def _find_unique_column(published_table: PublishedTableInfo) -> str | None:
    """Return the first column that can be a key: no value is null, and none occurs twice."""
    if not published_table.rows:
        return None
    for column in published_table.table.columns:
        can_be_key = (column.type.is_string or column.type.is_integer) and not column.type.is_array
        statistics = published_table.statistics.get(column.name, {})
        if can_be_key and statistics.get("distinct") == published_table.rows and not statistics.get("nulls"):
            return column.name
    return None
