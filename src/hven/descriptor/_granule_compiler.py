"""The values of all columns of a table, for one granule: what sets each, conversions inserted, metadata completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import quote_adql_name
from hven.adql.syntax_tree import (
    BinaryOperation,
    CastExpression,
    ColumnRef,
    Comparison,
    Conjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    Negation,
    NullPredicate,
    ValueMetadata,
)
from hven.descriptor import _contour_columns as contour_columns
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor._column_expressions import TemplatePlaceholder, parse_placeholder, split_template
from hven.descriptor._constants import build_constant_literal
from hven.descriptor._embargo import build_release_date_expression
from hven.descriptor._lookups import join_key_expressions
from hven.descriptor._manual_conversions import find_manual_unit_conversion
from hven.descriptor._name_resolution import (
    ExpressionNameResolver,
    format_name_list,
    is_ingest_time_value,
    parse_column_header_unit,
    with_place,
)
from hven.descriptor.compiled_mapping import FaultReportedError
from hven.model import units
from hven.model.errors import suggest_spelling
from hven.model.resource import ColumnMapping
from hven.model.sky import frames
from hven.model.table import Column, is_time_format
from hven.model.types import FLOAT64, STRING
from hven.model.units import modernize_ucd

if TYPE_CHECKING:
    from hven.descriptor._lookups import LookupSet
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.errors import TextPlace
    from hven.model.resource import GranuleRowSpec

INHERITED_ATTRIBUTES = ("ucd", "utype", "description", "label", "display", "link", "minimum", "maximum")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConversion:
    """Text that is read as something else.

    Rows where something was `source_expression` and nothing `converted_expression` of it are told.
    """

    name: str
    message: str
    severity: str
    source_expression: Expr
    converted_expression: Expr
    source: str
    place: TextPlace
    is_region: bool = False  # not any text, and so never an empty one

    def build_failure_condition(self) -> Expr:
        """Build the condition of those rows."""
        words = () if self.is_region else (Negation(Comparison("=", self.source_expression, Literal(""))),)
        return Conjunction(
            (NullPredicate(self.source_expression, negated=True), *words, NullPredicate(self.converted_expression))
        )


class GranuleCompiler:
    """The values of all target columns for one granule (or for the table, if it has none)."""

    def __init__(
        self,
        expression_names: ExpressionNameResolver,
        lookups: LookupSet,
        granule: GranuleRowSpec | None,
        first_granule: GranuleCompiler | None = None,
    ) -> None:
        self.expression_names = expression_names
        self.lookups = lookups
        self.first_granule = first_granule  # the first granule, which decides on types
        self.spec = expression_names.spec
        self.granule = granule
        self.settings_by_column: dict[str, ColumnMapping] = {
            setting.column: setting for setting in expression_names.spec.settings
        }
        self.defaults = expression_names.spec.defaults
        self.declared = {column.name: column for column in self.spec.table.columns}
        if granule is not None:
            self.settings_by_column |= {setting.column: setting for setting in granule.settings}
            if "granule_gid" in self.declared and "granule_gid" not in self.settings_by_column:
                self.settings_by_column["granule_gid"] = ColumnMapping(
                    column="granule_gid", how="set", value=with_place(granule.gid, granule.place), place=granule.place
                )
        self.column_order = self._order_columns()
        self.expressions: dict[str, Expr | None] = {}
        self.columns: dict[str, Column] = {}
        self.origins: dict[str, frozenset[str]] = {}
        self.copies: dict[str, str] = {}
        self.conversions: dict[str, str] = {}
        self.condition: Expr | None = None
        self.column_chain: list[str] = []
        self.text_conversions: list[TextConversion] = []
        self.outline_contour: tuple[Expr, str] | None = None  # that s_region is made of, and which of its parts

    def _order_columns(self) -> list[str]:
        """Order the columns: those of the source if the table follows it, in their places, then the others."""
        names_by_lower_case = {name.lower(): name for name in (*self.settings_by_column, *self.declared)}
        if self.spec.follows_source:
            source_column_names = [
                names_by_lower_case.get(column.name.lower(), column.name)
                for column in self.expression_names.source_columns
            ]
        else:
            source_column_names = []
        return list(dict.fromkeys([*source_column_names, *self.declared, *self.settings_by_column]))

    def compile_columns_and_condition(self) -> None:
        """Compile every column; faults are collected."""
        for name in self.column_order:
            try:
                self.compile_column(name, None, "")
            except FaultReportedError:
                continue
        if self.granule is not None and self.granule.condition is not None:
            key_path = f"{self.expression_names.key_path}.granules[{self.granule.gid}].if"
            self.condition = self.expression_names.bind_condition_text(*self.granule.condition, key_path, self)

    def list_column_expressions(self) -> list[tuple[str, Expr]]:
        """List name and tree of every column, in order."""
        return [(name, tree) for name in self.column_order if (tree := self.expressions.get(name)) is not None]

    def list_contour_columns(self) -> set[str]:
        """List the columns that are empty where the contour of `s_region` has no region, as they are made of it."""
        return {
            name
            for name, tree in self.list_column_expressions()
            if self.outline_contour is not None and contour_columns.has_contour_call(tree)
        }

    def list_columns_of_ingest_time(self) -> set[str]:
        """List the columns that are made of the time of this run and of nothing else that could differ between rows."""
        return {name for name, tree in self.list_column_expressions() if is_ingest_time_value(tree)}

    def compile_column(self, name: str, reference_place: TextPlace | None, key_path: str) -> Expr:
        """Compile the final tree of a target column, once."""
        if name in self.expressions:
            tree = self.expressions[name]
            if tree is None:
                raise FaultReportedError
            return tree
        faults = self.expression_names.faults
        if name in self.column_chain:
            cycle = [*self.column_chain[self.column_chain.index(name) :], name]
            if reference_place is not None:
                faults.add_error(
                    f"{key_path}: these columns depend on each other in a cycle: "
                    f"{' -> '.join('target.' + step for step in cycle)}",
                    reference_place,
                )
            raise FaultReportedError
        if (
            reference_place is not None
            and self.spec.flags is not None
            and not self.spec.flags.is_supplied
            and name == self.spec.flags.column
        ):
            faults.add_error(
                f"{key_path}: {name} cannot be used here, because the rules set it after all other columns",
                reference_place,
                "write the rule's condition instead",
            )
            raise FaultReportedError
        if name not in self.column_order:
            if reference_place is not None:
                faults.add_error(
                    f"{key_path}: the table has no column {name!r}",
                    reference_place,
                    suggest_spelling(name, self.column_order),
                )
            raise FaultReportedError
        self.column_chain.append(name)
        self.expressions[name] = None
        try:
            del self.expressions[name]
            tree = self._compile_value(name)
        except FaultReportedError:
            self.expressions[name] = None
            raise
        finally:
            self.column_chain.pop()
        self.expressions[name] = tree
        return tree

    def _compile_value(self, name: str) -> Expr:
        names = self.expression_names
        setting = self.settings_by_column.get(name)
        if setting is None and name in self.defaults and self.expression_names.find_column(Ident(name)) is None:
            setting = self.defaults[name]
        column = self.declared.get(name)
        if self.granule is not None and setting in self.granule.settings:
            granule_key_path = f".granules[{self.granule.gid}]"
        else:
            granule_key_path = ""
        if setting is not None:
            key_path = f"{names.key_path}{granule_key_path}.{setting.how}.{name}"
        else:
            key_path = f"{names.key_path}.columns.{name}"
        if setting is not None:
            place = setting.place
        else:
            place = self.spec.column_places.get(name, self.spec.place)
        tree, meta, copied_column = self._compile_unconverted_value(name, setting, column, key_path, place)
        if self.spec.embargo is not None and self.spec.embargo.column == name:
            tree, meta = build_release_date_expression(self.spec.embargo, names, self, tree, meta)
        column = self._complete_column_metadata(name, column, meta, copied_column)
        self.columns[name] = column
        self.origins[name] = names.find_source_origins(meta)
        converted = self._insert_conversions(tree, meta, column, key_path, place)
        self._record_copy_or_conversion(name, tree, converted, meta, column, place=place)
        return converted

    def _compile_unconverted_value(
        self, name: str, setting: ColumnMapping | None, column: Column | None, key_path: str, place: TextPlace
    ) -> tuple[Expr, ValueMetadata, Column | None]:
        """Find the value before conversion, its metadata, and the source column if it is one unchanged."""
        names = self.expression_names
        if setting is None or (setting is self.defaults.get(name) and name in contour_columns.CONTOUR_COLUMNS):
            source = names.find_column(Ident(name))
            if (
                source is None
                and name in contour_columns.CONTOUR_COLUMNS
                and self._compile_outline_and_detect_contour()
            ):
                outline_contour = self.outline_contour
                contour_value = contour_columns.build_contour_column_expression(
                    name,
                    *outline_contour,  # type: ignore[misc]
                )
                expression_meta = names.derive_expression_meta(contour_value, with_place("", place), key_path)
                return contour_value, expression_meta, None
        if setting is None:
            if source is None:
                return self._compile_unassigned_column(name, column, key_path, place)
            tree: Expr = expression_trees.build_column_ref(source.name)
            return tree, names.derive_expression_meta(tree, with_place("", place), key_path), source
        if setting.how == "set":
            tree = self._compile_constant(setting, column, key_path)
        elif setting.how == "text":
            tree = self._compile_template(with_place(setting.value, setting.place), key_path)
        elif setting.how == "lookup":
            tree = self._compile_lookup(setting, column, key_path)
        else:
            tree, meta = names.bind_expression_text(with_place(setting.value, setting.place), key_path, self)
            if name == contour_columns.OUTLINE_COLUMN:
                self.outline_contour = contour_columns.find_contour(tree, meta)
            contour_expression = contour_columns.convert_contour_for_column(
                tree, meta, column.type if column is not None else None
            )
            if contour_expression is not None:
                return (
                    contour_expression,
                    names.derive_expression_meta(contour_expression, with_place("", place), key_path),
                    None,
                )
            return tree, meta, meta.column if isinstance(tree, ColumnRef) else None
        return tree, names.derive_expression_meta(tree, with_place("", place), key_path), None

    def _compile_outline_and_detect_contour(self) -> bool:
        """Check whether the table's outline is made of a contour."""
        if (
            contour_columns.OUTLINE_COLUMN in self.column_order
            and contour_columns.OUTLINE_COLUMN not in self.column_chain
            and self.outline_contour is None
        ):
            self.compile_column(contour_columns.OUTLINE_COLUMN, None, "")
        return self.outline_contour is not None

    def _compile_unassigned_column(
        self, name: str, column: Column | None, key_path: str, place: TextPlace
    ) -> tuple[Expr, ValueMetadata, None]:
        embargo = self.spec.embargo  # makes a date for rows that have none themselves
        if column is not None and (
            (column.std and not column.required) or (embargo is not None and embargo.column == name)
        ):
            return expression_trees.NULL_LITERAL, ValueMetadata(column.type, constant=True), None
        names = self.expression_names
        source_names = [item.name for item in names.source_columns]
        remedy = suggest_spelling(name, source_names)
        if remedy:
            expression = quote_adql_name(remedy[14:-2])
            if expression.startswith('"'):
                expression = f"'{expression}'"  # YAML would take the quotes for its own
            remedy = f"write under 'map': {name}: {expression}"
        else:
            remedy = f"set it under `set`, `text`, `map` or `lookup`; the source has {format_name_list(source_names)}"
        names.faults.add_error(
            f"{key_path}: nothing sets this column, and the source has no column {name!r}", place, remedy
        )
        raise FaultReportedError

    def _compile_constant(self, setting: ColumnMapping, column: Column | None, key_path: str) -> Expr:
        value = with_place(setting.value, setting.place)
        if column is None or "type" not in self.spec.explicit_attributes.get(column.name, ()):
            source = self.expression_names.find_column(Ident(setting.column))
            column = Column(name=setting.column, type=source.type if source is not None else STRING)
        tree = build_constant_literal(value, column, key_path, self.expression_names.faults)
        if tree is None:
            raise FaultReportedError
        return tree

    def _compile_lookup(self, setting: ColumnMapping, column: Column | None, key_path: str) -> Expr:
        names = self.expression_names
        if "from" not in setting.value:
            raise FaultReportedError
        keys = [
            names.bind_expression_text(with_place(text, setting.place), f"{key_path}.from", self)
            for text in setting.value["from"]
        ]
        key, meta = keys[0]
        origins = names.find_source_origins(meta)
        if len(keys) > 1:
            for _, key_meta in keys:
                if not (key_meta.type.is_string or key_meta.type.is_integer):
                    names.faults.add_error(
                        f"{key_path}.from: if there are several expressions, each must be text or a whole number, "
                        f"not {key_meta.type}",
                        setting.place,
                    )
                    raise FaultReportedError
            origins = frozenset().union(*(names.find_source_origins(key_meta) for _, key_meta in keys))
            key = join_key_expressions([expression_trees.build_text_cast(tree, key_meta) for tree, key_meta in keys])
            meta = ValueMetadata(STRING)
        names.used |= origins
        if column is not None and "type" in self.spec.explicit_attributes.get(column.name, ()):
            typed_column = column
        else:
            typed_column = None
        tree = self.lookups.build_lookup_expression(
            setting, key, meta, origins, target_column=typed_column, key_path=key_path
        )
        if tree is None:
            raise FaultReportedError
        return tree

    def _compile_template(self, template: LocatedYamlScalar, key_path: str) -> Expr:
        names = self.expression_names
        parts: list[Expr] = []
        for part in split_template(template, key_path, names.faults):
            if isinstance(part, str):
                parts.append(Literal(part))
                continue
            tree = self._compile_placeholder(part, template, key_path)
            meta = names.derive_expression_meta(tree, template, key_path, part.offset)
            if part.format_spec and is_time_format(part.format_spec):
                if not meta.type.is_timestamp:
                    names.faults.add_error(
                        f"{key_path}: {{{part.expression_text}:{part.format_spec}}} needs a timestamp, not {meta.type}",
                        template.locate_character(part.offset),
                        f"write {{FROM_JD({part.expression_text}):{part.format_spec}}} for a Julian date; use "
                        "FROM_MJD for a modified Julian date, and parse_time for text",
                    )
                    raise FaultReportedError
                parts.append(expression_trees.build_time_format_expression(tree, part.format_spec))
            elif part.format_spec:
                if not meta.type.is_numeric:
                    names.faults.add_error(
                        f"{key_path}: {{{part.expression_text}:{part.format_spec}}} needs a number, not {meta.type}",
                        template.locate_character(part.offset),
                        f"write {{CAST({part.expression_text} AS BIGINT):{part.format_spec}}}"
                        if part.format_spec.endswith("d")
                        else "",
                    )
                    raise FaultReportedError
                parts.append(expression_trees.build_number_format_expression(tree, part.format_spec))
            else:
                parts.append(expression_trees.build_text_cast(tree, meta))
        if parts:
            return expression_trees.build_text_concatenation(parts)
        return Literal("")

    def _compile_placeholder(
        self, placeholder: TemplatePlaceholder, template: LocatedYamlScalar, key_path: str
    ) -> Expr:
        names = self.expression_names
        if placeholder.name is not None:
            exact = names.find_column(Ident(placeholder.name, quoted=True))  # DATE-OBS, file.path
            if exact is not None:
                return expression_trees.build_column_ref(exact.name, 0)
        tree = parse_placeholder(template, placeholder, key_path, names.faults)
        if tree is None:
            raise FaultReportedError
        return names.expand_names(tree, template, key_path, self, placeholder.offset)

    def _complete_column_metadata(
        self, name: str, column: Column | None, meta: ValueMetadata, copied_column: Column | None
    ) -> Column:
        """Complete what the descriptor says by what the value brings along."""
        if column is None:
            column = Column(name=name)
        given_attributes = self.spec.explicit_attributes.get(name, frozenset())
        changes: dict[str, Any] = {}
        alternative_types = self.spec.xtypes_by_column.get(name)
        if alternative_types is not None and self.first_granule is not None:
            changes["type"] = self.first_granule.columns[name].type
        elif "type" not in given_attributes or (alternative_types is not None and meta.type.xtype in alternative_types):
            changes["type"] = meta.type
        if "unit" not in given_attributes and alternative_types is None:
            changes["unit"] = _normalize_unit(meta.unit)
        if copied_column is not None:
            for key in INHERITED_ATTRIBUTES:
                # roles of a standard's columns are the standard's
                if key not in given_attributes and getattr(column, key) is None and not (key == "utype" and column.std):
                    changes[key] = getattr(copied_column, key)
            if changes.get("ucd"):
                changes["ucd"] = (
                    modernize_ucd(changes["ucd"]) or changes["ucd"]
                )  # UCD1 of old tables; what is none stays as the source says, and is told
        elif "ucd" not in given_attributes and column.ucd is None and meta.column is not None:
            changes["ucd"] = meta.ucd
        return column.copy_with(**changes)

    def _insert_conversions(
        self, tree: Expr, meta: ValueMetadata, column: Column, key_path: str, place: TextPlace
    ) -> Expr:
        """Insert the conversion of unit and type."""
        faults = self.expression_names.faults
        if meta.unit and column.unit and meta.type.is_numeric and not units.is_same_unit(meta.unit, column.unit):
            if not units.are_units_convertible(meta.unit, column.unit):
                faults.add_error(
                    f"{key_path}: a value in {meta.unit} cannot be converted to {column.unit}",
                    place,
                    "correct the unit, or convert the value in an expression; if the expression already multiplies x "
                    "by a conversion factor, write without_unit(x) instead of x (Hven then assumes that the result "
                    f"is in {column.unit})",
                )
                raise FaultReportedError
            self._warn_double_conversion(tree, meta.unit, column.unit, key_path, place)
            # a descriptor may write m.s-1, a query may not
            tree = FunctionCall("IN_UNIT", (tree, Literal(units.canonicalize_unit(column.unit))))
            meta = self.expression_names.derive_expression_meta(tree, with_place("", place), key_path)
        elif column.unit and meta.unit is None and isinstance(tree, ColumnRef):
            heading_unit = parse_column_header_unit(tree.name.name)
            if (
                heading_unit is not None
                and units.are_units_convertible(heading_unit, column.unit)
                and not units.is_same_unit(heading_unit, column.unit)
            ):
                tree = BinaryOperation(
                    "*",
                    expression_trees.cast_to_type(tree, meta, FLOAT64),
                    Literal(units.compute_unit_factor(heading_unit, column.unit)),
                )
                meta = self.expression_names.derive_expression_meta(tree, with_place("", place), key_path)
        try:
            return expression_trees.cast_to_type(tree, meta, column.type, self._find_celestial_frame(column))
        except expression_trees.UnsupportedCastError as error:
            faults.add_error(f"{key_path}: {error.message}", place, error.remedy)
            raise FaultReportedError from None

    def _find_celestial_frame(self, column: Column) -> str:
        """Name the celestial frame of a column as STC-S does; empty for others, which it has no word for."""
        system = next((frame.system for frame in self.spec.table.frames if frame.id == column.frame), None)
        if system in frames.CELESTIAL_FRAMES:
            return system
        return ""

    def _warn_double_conversion(
        self, tree: Expr, source_unit: str, target_unit: str, key_path: str, place: TextPlace
    ) -> None:
        """Warn of ``x / 3600`` where x is in arcsec and the column in deg: the value would be divided twice."""
        node = find_manual_unit_conversion(tree, source_unit, target_unit)
        if node is not None:
            operation = node.op
            if isinstance(node.right, Literal):
                operation = f"{node.op} {node.right.value}"
            self.expression_names.faults.add_warning(
                f"{key_path}: Hven already converts the value from {source_unit} to {target_unit}; "
                f"`{operation}` would convert it twice",
                place,
                f"remove `{operation}`",
            )

    def _record_copy_or_conversion(
        self, name: str, tree: Expr, converted: Expr, meta: ValueMetadata, column: Column, *, place: TextPlace
    ) -> None:
        """Remember plain copies and single conversions; everything else reads its columns in the query."""
        if isinstance(tree, ColumnRef) and meta.column is not None:
            source = meta.column.name
        else:
            source = None
        if isinstance(converted, FunctionCall) and converted.name == "POLYGON_OF" and converted.args[0] is tree:
            message = (
                f"{name}: the region is not a single polygon in the column's frame; to keep all regions as text, write "
                f"`columns: {{{name}: {{type: 'adql:REGION'}}}}`"
            )
            source_name = source or min(self.origins[name], default=name)
            is_region = meta.type.xtype is not None
            self.text_conversions.append(
                TextConversion(
                    name=f"read.{name}",
                    message=message,
                    severity="error",
                    source_expression=tree,
                    converted_expression=converted,
                    source=source_name,
                    place=place,
                    is_region=is_region,
                )
            )
            self.expression_names.used |= self.origins[name]
            return
        is_plain_conversion = (meta.type.is_numeric or meta.type.is_string) and (
            column.type.is_numeric or column.type.is_string
        )
        is_source_column = source is not None and not self.lookups.is_lookup_relation_column(source)
        if source is None or not is_source_column or source in self.expression_names.call_origins:
            self.expression_names.used |= self.origins[name]
        elif converted is tree or (
            is_plain_conversion and isinstance(converted, CastExpression) and converted.operand is tree
        ):
            self.copies[name] = source
        else:
            self.conversions[name] = source
            self.expression_names.used.add(source)
            if meta.type.is_string:
                message = f"{name}: the text cannot be read as {column.type}"
                self.text_conversions.append(
                    TextConversion(
                        name=f"read.{name}",
                        message=message,
                        severity="error",
                        source_expression=tree,
                        converted_expression=converted,
                        source=source,
                        place=place,
                    )
                )


def _normalize_unit(unit: str | None) -> str | None:
    if unit is None:
        return None
    try:
        return units.canonicalize_unit(unit) or None
    except ValueError:
        return unit
