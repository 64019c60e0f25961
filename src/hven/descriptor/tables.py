"""Read one table of a descriptor into a `TableSpec`, and check everything that needs no data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import parse_query
from hven.descriptor._body_frame_checks import read_and_check_frame_body
from hven.descriptor._collection_context import InheritedCollectionKeys
from hven.descriptor._column_expressions import iterate_column_references, parse_written_expression
from hven.descriptor._columns import build_columns, build_constant, check_column_name, check_column_references
from hven.descriptor._embargo import build_undated_embargo_rule, read_embargo
from hven.descriptor._keys import ASSIGNMENT_KEYS
from hven.descriptor._package_keys import TableDescriptorKeyValue, load_package_table_keys
from hven.descriptor._partitions import read_partition
from hven.descriptor._position_names import warn_mismatched_position_columns
from hven.descriptor._quality_flags import DEFAULT_COLUMN_KEYS, read_quality_flags
from hven.descriptor._row_links import build_link_column_defaults, read_row_links
from hven.descriptor._setting_checks import (
    check_expression,
    check_setting_targets,
    check_setting_values,
    read_column_settings,
)
from hven.descriptor._source_options import read_source_spec
from hven.descriptor._sync_policies import read_sync_policy
from hven.descriptor._table_access import read_access_policy
from hven.descriptor._validation_rules import read_validation_rules
from hven.descriptor.value_schema import read_unstripped_text
from hven.model.errors import ParseError, suggest_spelling
from hven.model.resource import ColumnMapping, GranuleRowSpec, TableSpec
from hven.model.sky import frames
from hven.model.table import ColumnGroup, ForeignKey, ReferenceFrame, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.errors import Fault, TextPlace
    from hven.model.resource import EmbargoPolicy, QualityFlagColumn, SourceSpec, ValidationRule
    from hven.model.table import Column, RowAccessPolicy

GRANULES_SOURCE_KIND = "granules"  # kind of source of which each row is a file
GROUP_ROLES = ("value", "error", "lower", "upper", "origin", "confidence")
KEYS_WITHOUT_VIEW = (  # keys of a table that a view cannot have: its query says where the rows come from
    "source",
    "where",
    "let",
    *ASSIGNMENT_KEYS,
    "granules",
    "sync",
    "simulated",
    "flags",
    "embargo",
    "follow",
    "for_each",
    "group_by",
)
FRAME_ATTRIBUTE_KEYS = ("system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
POSITION_UCD_PAIRS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("pos.bodyrc.lon;meta.main", "pos.bodyrc.lat;meta.main"),
    ("pos.galactic.lon;meta.main", "pos.galactic.lat;meta.main"),
    ("pos.ecliptic.lon;meta.main", "pos.ecliptic.lat;meta.main"),
    ("pos.eq.ra", "pos.eq.dec"),
)


def read_table_spec(
    name: LocatedYamlScalar,
    fields: LocatedKeyValues,
    collection_context: InheritedCollectionKeys,
    faults: FaultCollector,
) -> TableSpec | None:
    """Build one table and collect its faults.

    Parameters
    ----------
    name
        Name of the table as written.
    fields
        Keys and values of the table.
    collection_context
        Values that the table takes from its collection.
    faults
        Collects the faults.

    Returns
    -------
    spec
        None only if the table has no usable name.
    """
    if not check_column_name(name, "a table", faults):
        return None
    return _TableReader(name, fields, collection_context, faults).read()


class _TableReader:
    """Reads the keys of one table."""

    def __init__(
        self,
        name: LocatedYamlScalar,
        fields: LocatedKeyValues,
        collection_context: InheritedCollectionKeys,
        faults: FaultCollector,
    ) -> None:
        self._name = name
        self._key_path = f"tables.{name}"
        self._fields = fields
        self._collection_context = collection_context
        self._faults = faults
        self._columns, self._explicit_attributes = build_columns(
            fields.get("columns", {}), f"{self._key_path}.columns", faults
        )
        has_own_columns = bool({"columns", "standard", "view"} & fields.keys())
        self._follows_source = bool(fields.get("follow", not has_own_columns))
        # every target is known here, unless the source or the view's query adds columns
        self._has_all_columns = not self._follows_source and "view" not in fields
        self._flags_column: QualityFlagColumn | None = None
        self._embargo: EmbargoPolicy | None = None
        self._settings: tuple[ColumnMapping, ...] = ()

    def read(self) -> TableSpec:
        """Read everything in the order in which one part needs another."""
        fields, key_path = self._fields, self._key_path
        self._add_flags_and_release_columns()
        self._check_view_keys()
        self._settings = read_column_settings(key_path, fields, self._faults)
        self._check_settings(key_path, self._settings)
        self._set_flags_to_zero()
        let = self._read_let_expressions()
        where = self._check_conditions_and_read_where()
        granules = tuple(self._read_granules())
        rules = self._read_rules()
        sources = self._read_sources()
        table = self._build_table(sources)
        sources = tuple(_add_package_options(spec, table) for spec in sources)
        if "group_by" in fields and len(sources) > 1:
            self._faults.add_error(
                f"{key_path}.group_by: rows of several sources cannot be grouped",
                fields.places["group_by"],
                "write one source, which can have several files",
            )
        return TableSpec(
            frame_warnings=self._list_frame_warnings(),
            table=table,
            sources=sources,
            settings=self._settings,
            let=let,
            where=where,
            granules=granules,
            rules=rules,
            flags=self._flags_column,
            embargo=self._embargo,
            sync=read_sync_policy(key_path, fields, table.primary, self._faults),
            has_declared_columns=self._has_all_columns and len(self._typed_columns) == len(self._columns),
            follows_source=self._follows_source,
            declared_columns=self._columns,
            explicit_attributes=self._explicit_attributes,
            xtypes_by_column=self._list_xtypes(),
            column_places={str(key): key.place for key in fields.get("columns", {})},
            span_places=self._list_linked_series_places(),
            frame=read_unstripped_text(fields, "frame"),
            uses_standard_units=bool(fields.get("converted", False)),
            group_by=fields.get("group_by", ()),
            for_each=fields.get("for_each", ()),
            max_rejected_share=fields.get("max_rejects"),
            defaults=self._build_column_defaults(table),
            vocabularies=self._read_vocabularies(),
            place=self._name.place,
        )

    @property
    def _column_names(self) -> list[str]:
        return [column.name for column in self._columns]

    @property
    def _final_column_names(self) -> list[str] | None:
        """The names of all columns; None while they are not all known."""
        if self._has_all_columns:
            return self._column_names
        return None

    @property
    def _typed_columns(self) -> dict[str, Column]:
        return {column.name: column for column in self._columns if "type" in self._explicit_attributes[column.name]}

    def _add_flags_and_release_columns(self) -> None:
        """Add the columns of ``flags`` and ``embargo``, or replace the ones that ``columns`` describes."""
        known = (self._key_path, self._fields, self._columns, self._explicit_attributes, self._faults)
        self._flags_column, flags_column = read_quality_flags(*known)
        self._embargo, release_column = read_embargo(*known)
        for new_column in (flags_column, release_column):
            if new_column is None:
                continue
            columns = [new_column if column.name == new_column.name else column for column in self._columns]
            if new_column.name not in self._explicit_attributes:
                columns.append(new_column)
            self._columns = tuple(columns)
            attributes = self._explicit_attributes.get(new_column.name, frozenset())
            self._explicit_attributes[new_column.name] = attributes | DEFAULT_COLUMN_KEYS

    def _check_view_keys(self) -> None:
        """Report keys that a view cannot have, and a table that has no rows."""
        fields = self._fields
        if "view" in fields:
            for key in KEYS_WITHOUT_VIEW:
                if key in fields:
                    self._faults.add_error(
                        f"{self._key_path}: a view cannot have {key!r}",
                        fields.places[key],
                        "remove the key and change the view's query instead, or give the table a source",
                    )
        elif "source" not in fields.places and not self._collection_context.is_standard:
            self._faults.add_error(
                f"{self._key_path} has neither 'source' nor 'view'",
                fields.place,
                "add the source of the rows, for example `source: {kind: csv, files: ...}`",
            )

    def _check_settings(self, key_path: str, settings: tuple[ColumnMapping, ...]) -> None:
        if self._has_all_columns:
            standard = read_unstripped_text(self._fields, "standard")
            check_setting_targets(key_path, settings, self._column_names, self._faults, standard=standard)
        check_setting_values(key_path, settings, self._typed_columns, self._collection_context, self._faults)

    def _set_flags_to_zero(self) -> None:
        """Let the column of quality flags begin with 0: the rules set flags when all other columns have values."""
        flags_column = self._flags_column
        if flags_column is None or flags_column.is_supplied:
            return
        for setting in self._settings:
            if setting.column.lower() == flags_column.column.lower():
                message = f"{self._key_path}.{setting.how}: {str(flags_column.column)!r} gets its value from the rules"
                self._faults.add_error(
                    message,
                    setting.place,
                    f"remove {str(flags_column.column)!r} here, or choose another name under 'flags'",
                )
                return
        initial_value = ColumnMapping(column=flags_column.column, how="set", value="0", place=flags_column.place)
        self._settings = (*self._settings, initial_value)

    def _read_let_expressions(self) -> dict[str, tuple[str, TextPlace]]:
        """Order the names of ``let`` by dependence, and report cycles."""
        let_path = f"{self._key_path}.let"
        let_texts: dict[LocatedYamlScalar, LocatedYamlScalar] = self._fields.get("let", {})
        used_names: dict[str, set[str]] = {}
        for name, value in let_texts.items():
            if not check_column_name(name, "a 'let' name", self._faults, must_be_regular=True):
                continue
            if str(name) in self._collection_context.constants:
                message = f"{let_path}: {str(name)!r} is already a constant of the collection"
                self._faults.add_error(message, name.place, "choose another name")
            used_names[str(name)] = set()
            tree = parse_written_expression(value, f"{let_path}.{name}", self._faults)
            if tree is not None:
                references = iterate_column_references(tree)
                used_names[str(name)] = {column for prefix, column, _ in references if not prefix}
        texts = {str(name): value for name, value in let_texts.items()}
        ordered_expressions: dict[str, tuple[str, TextPlace]] = {}

        def add_after_dependencies(name: str, chain: tuple[str, ...]) -> None:
            if name in ordered_expressions:
                return
            expression = (texts[name], texts[name].place)
            if name in chain:
                cycle = (*chain[chain.index(name) :], name)
                message = f"{let_path}: names depend on each other: {' -> '.join(cycle)}"
                if message not in {fault.message for fault in self._faults.faults}:
                    self._faults.add_error(message, texts[name].place)
                ordered_expressions[name] = expression
                return
            for needed_name in sorted(used_names[name] & used_names.keys()):
                add_after_dependencies(needed_name, (*chain, name))
            ordered_expressions.setdefault(name, expression)

        for start in used_names:
            add_after_dependencies(start, ())
        return ordered_expressions

    def _check_conditions_and_read_where(self) -> tuple[str, TextPlace] | None:
        """Check the conditions over rows of the source: ``where`` and ``simulated``."""
        for key, allow_target in (("where", False), ("simulated", True)):
            condition = self._fields.get(key)
            if condition is not None:
                check_expression(
                    condition,
                    f"{self._key_path}.{key}",
                    self._column_names,
                    self._faults,
                    is_condition=True,
                    allow_target=allow_target,
                )
        where = self._fields.get("where")
        if where is None:
            return None
        return where, where.place

    def _read_granules(self) -> Iterator[GranuleRowSpec]:
        granule_ids: set[str] = set()
        for granule_fields in self._fields.get("granules", ()):
            granule_id = str(granule_fields.get("gid", ""))
            granule_path = f"{self._key_path}.granules[{granule_id}]"
            if granule_id in granule_ids:
                self._faults.add_error(f"{granule_path}: two granules have this gid", granule_fields.place)
            granule_ids.add(granule_id)
            settings = read_column_settings(granule_path, granule_fields, self._faults)
            self._check_settings(granule_path, settings)
            condition = None
            condition_text = granule_fields.get("if")
            if condition_text is not None:
                condition = (condition_text, condition_text.place)
                target_names = self._final_column_names
                check_expression(condition_text, f"{granule_path}.if", target_names, self._faults, is_condition=True)
            yield GranuleRowSpec(gid=granule_id, settings=settings, condition=condition, place=granule_fields.place)

    def _read_rules(self) -> tuple[ValidationRule, ...]:
        rules = list(read_validation_rules(self._key_path, self._fields, self._final_column_names, self._faults))
        if self._embargo is not None:
            rules.append(build_undated_embargo_rule(self._embargo))
        return tuple(rules)

    def _read_sources(self) -> tuple[SourceSpec, ...]:
        source_path = f"{self._key_path}.source"
        specs = [read_source_spec(entry, source_path, self._faults) for entry in self._fields.get("source", ())]
        return tuple(spec for spec in specs if spec is not None)

    def _build_table(self, sources: Sequence[SourceSpec]) -> Table:
        fields, key_path = self._fields, self._key_path
        frame_refs = self._read_frames()
        enums = self._read_enums()
        params = tuple(
            build_constant(str(name), param_fields, f"{key_path}.params.{name}", self._faults)
            for name, param_fields in fields.get("params", {}).items()
        )
        known_names = [*self._column_names, *(param.name for param in params)]
        self._check_references(known_names, [frame.id for frame in frame_refs], enums)
        access, policy = self._read_access_policy()
        primary = tuple(self._read_column_names("primary"))
        if not primary and self._is_path_primary_key(sources, policy):
            primary = ("path",)
        column_names = self._final_column_names
        table = Table(
            schema=self._collection_context.schema,
            name=str(self._name),
            columns=self._columns,
            title=read_unstripped_text(fields, "title"),
            description=read_unstripped_text(fields, "description"),
            utype=read_unstripped_text(fields, "utype"),
            primary=primary,
            keys=tuple(self._read_foreign_keys()),
            groups=tuple(self._read_column_groups(known_names)),
            params=params,
            frames=frame_refs,
            enums=enums,
            position=self._read_position_columns(),
            form=tuple(self._read_form_fields()),
            observation=self._read_observation_columns(),
            indexes=self._read_indexes(),
            partition=read_partition(key_path, fields, self._column_names, self._has_all_columns, self._faults),
            view=self._read_view_query(),
            access=access,
            policy=policy,
            project=self._collection_context.project,
            index=fields.get("index"),
            standard=read_unstripped_text(fields, "standard"),
            links=tuple(read_row_links(key_path, fields, column_names, self._collection_context, self._faults)),
            spans=tuple(self._list_linked_series_places()),
            extensions=self._read_package_keys(),
        )
        if table.observation and len(table.primary) != 1:
            self._faults.add_error(
                f"{key_path}.observation needs a primary key of exactly one column",
                fields.places["observation"],
                "write `primary: COLUMN`",
            )
        return table

    def _read_package_keys(self) -> dict[str, Any]:
        """Convert the values of keys that plug-in packages add."""
        extensions = {}
        for name, key in load_package_table_keys().items():
            if name in self._fields:
                value = TableDescriptorKeyValue(
                    table_name=str(self._name),
                    collection_context=self._collection_context,
                    key_path=f"{self._key_path}.{name}",
                    value=self._fields[name],
                    column_names=self._final_column_names,
                    faults=self._faults,
                )
                extensions[name] = key.convert_value(value)
        return extensions

    def _read_frames(self) -> tuple[ReferenceFrame, ...]:
        frame_refs = []
        for name, frame_fields in self._fields.get("frames", {}).items():
            frame_path = f"{self._key_path}.frames.{name}"
            frame_refs.append(_read_frame(str(name), frame_fields, self._settings, frame_path, self._faults))
        return tuple(frame_refs)

    def _list_frame_warnings(self) -> tuple[Fault, ...]:
        warnings = [fault for fault in self._faults.faults if fault.severity == "warning"]
        return tuple(fault for fault in warnings if fault.message.startswith(f"{self._key_path}.frames."))

    def _read_enums(self) -> dict[str, dict[str, str]]:
        enums = {}
        for name, labels in self._fields.get("enums", {}).items():
            enums[str(name)] = {str(code): str(label) for code, label in labels.items()}
        return enums

    def _check_references(self, known_names: list[str], frame_ids: list[str], enums: dict[str, dict[str, str]]) -> None:
        """Check the columns, frames and enums that parameters and columns refer to."""
        check_column_references(
            self._fields.get("params", {}),
            f"{self._key_path}.params",
            self._faults,
            names=known_names,
            frames=(),
            enums=enums,
        )
        check_column_references(
            self._fields.get("columns", {}),
            f"{self._key_path}.columns",
            self._faults,
            names=self._column_names,
            frames=frame_ids,
            enums=enums,
        )

    def _read_access_policy(self) -> tuple[str, RowAccessPolicy | None]:
        fields = self._fields
        access_fields = fields.get("access", self._collection_context.access)
        contact = self._collection_context.contact
        access, policy = read_access_policy(access_fields, f"{self._key_path}.access", self._faults, contact)
        if policy is not None and "view" in fields:
            self._faults.add_error(
                f"{self._key_path}.access: a view uses the access rules of the tables that it reads",
                fields.places.get("access", self._name.place),
                "set 'access' in those tables",
            )
        return access, policy

    def _is_path_primary_key(self, sources: Sequence[SourceSpec], policy: RowAccessPolicy | None) -> bool:
        """Return whether `path` is the primary key: each file is a row then, and a sync can follow each."""
        if not self._follows_source or [spec.kind for spec in sources] != [GRANULES_SOURCE_KIND]:
            return False
        if policy is not None and "path" in {*(policy.columns or ()), policy.path}:
            return False
        if {"primary", "group_by", "for_each", "granules"} & self._fields.keys():
            return False
        return all(setting.column != "path" for setting in self._settings)

    def _list_xtypes(self) -> dict[str, tuple[str, ...]]:
        xtypes_by_column = {}
        for name, column_fields in self._fields.get("columns", {}).items():
            if "types" in column_fields:
                xtypes_by_column[str(name)] = tuple(map(str, column_fields["types"]))
        return xtypes_by_column

    def _list_linked_series_places(self) -> dict[str, TextPlace]:
        """List the time series that ``links`` lead to, and where each is written."""
        series_names = [link["series"] for link in self._fields.get("links", ()) if "series" in link]
        return {str(name): name.place for name in series_names}

    def _build_column_defaults(self, table: Table) -> dict[str, ColumnMapping]:
        fields = self._fields
        defaults: dict[str, ColumnMapping] = {}
        if "links" in fields:
            defaults.update(build_link_column_defaults(table, self._collection_context, fields.places["links"]))
        for key, value in fields.get("default", {}).items():
            defaults[str(key)] = ColumnMapping(column=str(key), how="map", value=value, place=value.place)
        return defaults

    def _read_vocabularies(self) -> dict[str, tuple[str, ...]]:
        vocabularies = {}
        for name, vocabulary_fields in self._fields.get("vocabularies", {}).items():
            vocabularies[str(name)] = tuple(str(word) for word in vocabulary_fields.get("values", ()))
        return vocabularies

    def _check_has_column(
        self, name: LocatedYamlScalar, key_path: str, known_names: Sequence[str] | None = None
    ) -> None:
        """Report a name that is no column, if all columns are known."""
        if known_names is None:
            known_names = self._column_names
        if self._has_all_columns and name not in known_names:
            message = f"{key_path}: the table has no column {str(name)!r}"
            self._faults.add_error(message, name.place, suggest_spelling(name, known_names))

    def _read_column_names(self, key: str) -> Iterator[str]:
        for name in self._fields.get(key, ()):
            self._check_has_column(name, f"{self._key_path}.{key}")
            yield str(name)

    def _read_observation_columns(self) -> tuple[str, ...] | None:
        if "observation" not in self._fields:
            return None
        return tuple(dict.fromkeys(self._read_column_names("observation")))

    def _read_foreign_keys(self) -> Iterator[ForeignKey]:
        for name, key_fields in self._fields.get("keys", {}).items():
            if "target" not in key_fields:
                continue
            foreign_key_path = f"{self._key_path}.keys.{name}"
            own_columns = key_fields.get("columns", (name,))
            for own_column in own_columns:
                self._check_has_column(own_column, foreign_key_path)
            target = str(key_fields["target"])
            if "." not in target:
                target = f"{self._collection_context.schema}.{target}"
            target_columns = tuple(map(str, key_fields.get("target_columns", own_columns)))
            if len(target_columns) != len(own_columns):
                message = (
                    f"{foreign_key_path}: the numbers of columns differ: {len(own_columns)} in this table, "
                    f"{len(target_columns)} in the target table"
                )
                self._faults.add_error(message, key_fields.place)
            yield ForeignKey(
                id=str(name),
                columns=tuple(map(str, own_columns)),
                target=target,
                target_columns=target_columns,
                description=read_unstripped_text(key_fields, "description"),
                utype=read_unstripped_text(key_fields, "utype"),
            )

    def _read_column_groups(self, known_names: list[str]) -> Iterator[ColumnGroup]:
        for name, group_fields in self._fields.get("groups", {}).items():
            columns_by_role = {role: group_fields[role] for role in GROUP_ROLES if role in group_fields}
            columns_by_role |= {str(role): column for role, column in group_fields.get("roles", {}).items()}
            columns_by_role |= {str(column): column for column in group_fields.get("columns", ())}
            for role, column in columns_by_role.items():
                self._check_has_column(column, f"{self._key_path}.groups.{name}.{role}", known_names)
            yield ColumnGroup(
                name=str(name),
                roles={role: str(column) for role, column in columns_by_role.items()},
                description=read_unstripped_text(group_fields, "description"),
                utype=read_unstripped_text(group_fields, "utype"),
                ucd=read_unstripped_text(group_fields, "ucd"),
            )

    def _read_position_columns(self) -> tuple[str, str] | None:
        fields = self._fields
        if "position" not in fields:
            return find_position_columns(self._columns)
        names = tuple(self._read_column_names("position"))
        if len(names) != 2:
            message = f"{self._key_path}.position must be [longitude, latitude]"
            self._faults.add_error(message, fields.places["position"])
            return None
        longitude, latitude = names
        first_name = fields["position"][0]
        warn_mismatched_position_columns(self._key_path, (longitude, latitude), self._columns, first_name, self._faults)
        return longitude, latitude

    def _read_form_fields(self) -> Iterator[str]:
        """Read the fields of a form: a column, or the common part of the names of a min and a max column."""
        form_names = self._column_names
        for name in self._column_names:
            stem = name.removesuffix("min")
            if stem != name and f"{stem}max" in self._column_names:
                form_names.append(stem.removesuffix("_"))
        for name in self._fields.get("form", ()):
            self._check_has_column(name, f"{self._key_path}.form", form_names)
            yield str(name)

    def _read_indexes(self) -> tuple[tuple[str, ...], ...]:
        key_path = f"{self._key_path}.indexes"
        indexes = []
        for index_columns in self._fields.get("indexes", ()):
            for name in index_columns:
                if self._has_all_columns and "(" in name and name not in self._column_names:
                    self._faults.add_error(
                        f"{key_path}: the table has no column {str(name)!r}",
                        name.place,
                        "specify a column; to index an expression, first compute it in a column under 'map'",
                    )
                else:
                    self._check_has_column(name, key_path)
            if len(set(index_columns)) < len(index_columns):
                self._faults.add_error(f"{key_path}: an index contains a column twice", index_columns[0].place)
            indexes.append(tuple(map(str, index_columns)))
        return tuple(dict.fromkeys(indexes))

    def _read_view_query(self) -> str | None:
        """Parse the query of a view and report its syntax faults."""
        if "view" not in self._fields:
            return None
        query: LocatedYamlScalar = self._fields["view"]
        try:
            parse_query(str(query))
        except ParseError as error:
            place = query.locate_character(error.offset)
            self._faults.add_error(f"{self._key_path}.view: {error.message}", place, error.remedy)
        return str(query)


def _add_package_options(spec: SourceSpec, table: Table) -> SourceSpec:
    """Add options of a source that follow from keys of packages."""
    options: dict[str, Any] = {}
    for name, key in load_package_table_keys().items():
        if name in table.extensions:
            options |= key.build_source_options(spec.kind, table)
    if not options:
        return spec
    return replace(spec, options={**spec.options, **options})


def _read_frame(
    name: str, frame_fields: LocatedKeyValues, settings: Sequence[ColumnMapping], key_path: str, faults: FaultCollector
) -> ReferenceFrame:
    frame_kind = frame_fields.get("kind")
    if not frame_kind and "timescale" in frame_fields:
        frame_kind = "timesys"
    elif not frame_kind:
        frame_kind = "coosys"
    attributes = {key: read_unstripped_text(frame_fields, key) for key in FRAME_ATTRIBUTE_KEYS}
    constants_by_column = {setting.column: str(setting.value) for setting in settings if setting.how == "set"}
    if "crs" in frame_fields:
        attributes["system"] = attributes["system"] or frames.BODY_FRAME_NAME
        attributes["refposition"] = read_and_check_frame_body(
            str(frame_fields["crs"]),
            frame_fields,
            faults,
            refposition=attributes["refposition"],
            constants_by_column=constants_by_column,
            frame_label=key_path,
        )
    if attributes["system"] == frames.BODY_FRAME_NAME and attributes["refposition"] is None:
        # the body of the frame, if all rows are of the same body
        origin = constants_by_column.get("spatial_origin")
        attributes["refposition"] = origin or constants_by_column.get("target_name")
    return ReferenceFrame(id=name, kind=frame_kind, **attributes)


def find_position_columns(table_columns: tuple[Column, ...]) -> tuple[str, str] | None:
    """Find longitude and latitude by UCD; main positions go first.

    Parameters
    ----------
    table_columns
        Columns of the table.

    Returns
    -------
    names
        Names of both columns; None if the table has no position.
    """
    names_by_ucd: dict[str, str] = {}
    for column in table_columns:
        if column.ucd is not None and column.type.is_numeric:
            ucd = column.ucd.lower().replace(" ", "")
            names_by_ucd.setdefault(ucd, column.name)
    for longitude_ucd, latitude_ucd in POSITION_UCD_PAIRS:
        if longitude_ucd in names_by_ucd and latitude_ucd in names_by_ucd:
            return names_by_ucd[longitude_ucd], names_by_ucd[latitude_ucd]
    return None


__all__ = ["InheritedCollectionKeys", "find_position_columns", "read_table_spec"]
