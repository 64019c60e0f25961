"""Make the columns, expressions, groups and code lists of the quantities of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import ColumnRef, transform_tree, walk_tree
from hven.descriptor.api.keys import parse_written_expression
from hven.descriptor.value_schema import FaultCollector, choose_value_reader
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar
from hven.model import units
from hven.model.errors import suggest_spelling
from hven.model.table import LocalizedText
from hven.plugins.quantities.quantity_section_keys import (
    ORIGINS_KEY,
    QUANTITIES_KEY,
    OriginSection,
    QuantitySection,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.syntax_tree import Expr, SyntaxNode
    from hven.descriptor.value_schema import LocatedKeyValues

ORIGIN_ENUM, CONFIDENCE_ENUM = "origins", "confidences"
CONFIDENCE_WORDS = ("none", "low", "medium", "high")  # by their codes, the lowest first
COMPUTED_TITLE = "computed"
FIRST_ORDER = "first order"
TARGET = "target"
ATTRIBUTE_KEYS = ("type", "unit", "ucd", "utype", "description", "label", "display", "section")
MAX_PROPAGATED_INPUTS = 16  # each doubles the expression of a first-order error

# role -> pattern of the name of the column, and of its description
COLUMN_NAMES_BY_ROLE = {
    "value": "{name}",
    "error": "e_{name}",
    "lower": "{name}_lower",
    "upper": "{name}_upper",
    "origin": "{name}_origin",
    "confidence": "{name}_confidence",
}
DESCRIPTIONS_BY_ROLE = {
    "error": "Error of {name}",
    "lower": "Lower bound of {name}",
    "upper": "Upper bound of {name}",
    "origin": "Origin of {name}",
    "confidence": "Confidence in {name}",
}
CODE_RANK = 25  # of the columns with codes: cone searches return them only with VERB=3


def expand_quantities(table: LocatedYamlMap, key_path: str, faults: FaultCollector) -> LocatedYamlMap:
    """Add what the quantities of a table stand for to its other keys.

    Parameters
    ----------
    table
        The table as written. Its own keys have precedence over what a quantity makes.
    key_path
        Path of the table, for messages.
    faults
        Collects faults of the expressions.

    Returns
    -------
    table
        The table with the columns, expressions, groups and code lists of its quantities.
    """
    quantities = _read_value(table, QUANTITIES_KEY, dict[str, QuantitySection])
    if not quantities:
        return table
    origins = _read_value(table, ORIGINS_KEY, dict[str, OriginSection]) or {}
    titles_by_code = {str(code): str(fields.get("title", code)) for code, fields in origins.items()}
    columns: dict[LocatedYamlScalar, Any] = {}
    expressions: dict[LocatedYamlScalar, Any] = {}
    groups: dict[LocatedYamlScalar, Any] = {}
    used_enums: set[str] = set()
    names = {str(name) for name in quantities}
    expansions: dict[str, _QuantityExpansion] = {}
    for name, fields in quantities.items():
        expansion = _QuantityExpansion(
            name=name,
            fields=fields,
            key_path=f"{key_path}.{QUANTITIES_KEY}.{name}",
            faults=faults,
            inputs=_find_inputs(name, fields, names, f"{key_path}.{QUANTITIES_KEY}.{name}", faults),
            titles_by_code=titles_by_code,
        )
        expansions[str(name)] = expansion
    for expansion in expansions.values():
        expansion.add_expressions(expansions, expressions)
        expansion.add_columns(columns)
        groups[expansion.name] = expansion.build_group()
        used_enums |= expansion.roles & {"origin", "confidence"}
    place = table.find_key(QUANTITIES_KEY)
    enums: dict[LocatedYamlScalar, Any] = {}
    if "origin" in used_enums:
        enums[place.copy_with_text(ORIGIN_ENUM)] = _build_map(titles_by_code, place)
    if "confidence" in used_enums:
        words = {str(code): word for code, word in enumerate(CONFIDENCE_WORDS)}
        enums[place.copy_with_text(CONFIDENCE_ENUM)] = _build_map(words, place)
    made_keys = {"columns": columns, "map": expressions, "groups": groups, "enums": enums}
    return _add_made_keys(table, made_keys, place)


def _read_value(table: LocatedYamlMap, key: str, value_type: Any) -> dict[LocatedYamlScalar, LocatedKeyValues] | None:
    """Read the value of a key; its faults are reported when the table is read."""
    if key not in table:
        return None
    value: dict[LocatedYamlScalar, LocatedKeyValues] | None
    value = choose_value_reader(value_type)(table[table.find_key(key)], key, FaultCollector())
    return value


def _find_inputs(
    name: LocatedYamlScalar, fields: LocatedKeyValues, names: set[str], key_path: str, faults: FaultCollector
) -> tuple[str, ...]:
    """Find the quantities from which a value is computed: those in `from`, and those in its expression."""
    inputs: dict[str, None] = {}
    for input_name in fields.get("from", ()):
        if str(input_name) not in names or input_name == name:
            message = f"{key_path}.from: there is no other quantity {str(input_name)!r}"
            other_names = sorted(names - {str(name)})
            remedy = suggest_spelling(input_name, other_names) or f"use one of {', '.join(other_names)}"
            faults.add_error(message, input_name.place, remedy if other_names else "declare it under `quantities`")
        else:
            inputs[str(input_name)] = None
    if "value" in fields:
        tree = parse_written_expression(fields["value"], f"{key_path}.value", faults)
        for node in () if tree is None else walk_tree(tree):
            target_name = _find_target_name(node)
            if target_name in names and target_name != name:
                inputs[str(target_name)] = None
    return tuple(inputs)


def _find_target_name(node: SyntaxNode) -> str | None:
    """Return the column of the table that a part of an expression names: ``target.x``."""
    is_target = isinstance(node, ColumnRef) and [part.name.lower() for part in node.qualifier] == [TARGET]
    if is_target and isinstance(node, ColumnRef):
        return node.name.name
    return None


@dataclass(kw_only=True, slots=True)
class _QuantityExpansion:
    """What one quantity stands for."""

    name: LocatedYamlScalar
    fields: LocatedKeyValues
    key_path: str
    faults: FaultCollector
    inputs: Sequence[str]
    titles_by_code: Mapping[str, str]

    @property
    def roles(self) -> set[str]:
        """Roles that the quantity has columns for."""
        roles = {"value", *(COLUMN_NAMES_BY_ROLE.keys() & self.fields.keys())}
        if self.inputs:
            roles |= {"origin", "confidence"}
        return roles

    def name_column(self, role: str) -> str:
        return COLUMN_NAMES_BY_ROLE[role].format(name=self.name)

    def write_reference(self, role: str) -> str:
        return f"{TARGET}.{quote_adql_name(self.name_column(role))}"

    def add_expressions(
        self, expansions: Mapping[str, _QuantityExpansion], expressions: dict[LocatedYamlScalar, Any]
    ) -> None:
        """Add the expressions of the columns."""
        for role in COLUMN_NAMES_BY_ROLE:
            if role in {"origin", "confidence"}:
                expression = None
                if role in self.roles:
                    expression = self._write_code_expression(role, expansions)
            elif role == "error" and str(self.fields.get("error", "")).strip().lower() == FIRST_ORDER:
                expression = self._write_first_order_error(expansions)
            else:
                expression = self._write_number_expression(role)
            if expression is not None:
                expressions[self.name.copy_with_text(self.name_column(role))] = expression

    def _write_number_expression(self, role: str) -> LocatedYamlScalar | None:
        """Write a value, error or bound; it is null if an input is null."""
        expression: LocatedYamlScalar | None = self.fields.get(role)
        if expression is None and role == "value" and self.inputs:  # the source has a column with this name
            expression = self.name.copy_with_text(quote_adql_name(self.name))
        if expression is None or not self.inputs:
            return expression
        conditions = " AND ".join(f"{TARGET}.{quote_adql_name(name)} IS NOT NULL" for name in self.inputs)
        return expression.copy_with_text(f"CASE WHEN {conditions} THEN {expression} END")

    def _write_first_order_error(self, expansions: Mapping[str, _QuantityExpansion]) -> LocatedYamlScalar | None:
        """Write the error of a computed value: half of its change over one error to each side, summed in quadrature."""
        place: LocatedYamlScalar = self.fields["error"]
        inputs = [name for name in self.inputs if "error" in expansions[name].roles]
        value = self.fields.get("value")
        tree = None
        if value is not None:
            tree = parse_written_expression(value, self.key_path, FaultCollector())
        if tree is None or not inputs or len(inputs) > MAX_PROPAGATED_INPUTS:
            message = f"{self.key_path}.error: Hven cannot compute this error from other errors"
            remedy = (
                f"use 1 to {MAX_PROPAGATED_INPUTS} quantities that have an error in `value`, each as target.NAME, or "
                "write an expression for the error"
            )
            self.faults.add_error(message, place.place, remedy)
            return None
        terms = []
        for name in inputs:
            error = expansions[name].write_reference("error")
            upper, lower = (_write_shifted_value(tree, name, f"{sign} {error}") for sign in "+-")
            terms.append(f"POWER((({upper}) - ({lower})) / 2, 2)")
        return place.copy_with_text(f"SQRT({' + '.join(terms)})")

    def _write_code_expression(
        self, role: str, expansions: Mapping[str, _QuantityExpansion]
    ) -> LocatedYamlScalar | None:
        """Write the code of the origin or of the confidence: null if the value is null."""
        place: LocatedYamlScalar = self.fields.get(role, self.name)
        code = None
        if role in self.fields:
            code = self.find_constant_code(role)
        if code is None and role in self.fields:
            code = str(self.fields[role])
        elif code is None and role == "origin":
            code = self._find_code(self.titles_by_code, COMPUTED_TITLE)
            if code is None:
                message = (
                    f"{self.key_path}: the value is computed, but no entry of `origins` has the title "
                    f"{COMPUTED_TITLE!r}"
                )
                remedy = f"add an entry such as `2: {COMPUTED_TITLE}` to `origins`, or write `origin`"
                self.faults.add_error(message, self.name.place, remedy)
                return None
        elif code is None:
            code = _write_lowest_confidence([expansions[name] for name in self.inputs])
        return place.copy_with_text(f"CASE WHEN {self.write_reference('value')} IS NOT NULL THEN {code} END")

    def find_constant_code(self, role: str) -> str | None:
        """Return the code of a word, or a code as written; None for an expression."""
        text = str(self.fields[role]).strip().strip("'")
        if role == "confidence":
            choices = {str(code): word for code, word in enumerate(CONFIDENCE_WORDS)}
        else:
            choices = dict(self.titles_by_code)
        code = text if text in choices else self._find_code(choices, text)
        if code is None and text.lstrip("-").isdecimal():
            message = f"{self.key_path}.{role}: there is no code {text}"
            remedy = f"use one of {', '.join(choices)}" if choices else "list the codes and their titles in `origins`"
            self.faults.add_error(message, self.fields[role].place, remedy)
        return code

    @staticmethod
    def _find_code(choices: Mapping[str, str], title: str) -> str | None:
        return next((code for code, word in choices.items() if word.lower() == title.lower()), None)

    def add_columns(self, columns: dict[LocatedYamlScalar, Any]) -> None:
        """Add the descriptions of the columns."""
        for role in COLUMN_NAMES_BY_ROLE:
            if role in self.roles:
                name = self.name.copy_with_text(self.name_column(role))
                columns[name] = LocatedYamlMap(self._describe_column(role), self.fields.place)

    def _describe_column(self, role: str) -> dict[LocatedYamlScalar, Any]:
        def make_text(text: str) -> LocatedYamlScalar:
            return self.name.copy_with_text(text)

        written = {key: self.fields[key] for key in ATTRIBUTE_KEYS if key in self.fields}
        attributes = {make_text(key): _to_yaml(value, self.name) for key, value in written.items()}
        if "type" not in self.fields:
            attributes[make_text("type")] = make_text("float64")
        if role == "value":
            return attributes
        if role in {"origin", "confidence"}:
            kept_keys = {"section"}
        else:
            kept_keys = {"type", "unit", "display", "section"}
        attributes = {key: value for key, value in attributes.items() if str(key) in kept_keys}
        ucd = str(self.fields.get("ucd", "")).removesuffix(";meta.main")
        attributes[make_text("ucd")] = make_text(_derive_ucd(role, ucd))
        attributes[make_text("description")] = make_text(DESCRIPTIONS_BY_ROLE[role].format(name=self.name))
        if role in {"origin", "confidence"}:
            attributes[make_text("type")] = make_text("int32")
            attributes[make_text("enum")] = make_text(ORIGIN_ENUM if role == "origin" else CONFIDENCE_ENUM)
            attributes[make_text("rank")] = make_text(str(CODE_RANK))
        return attributes

    def build_group(self) -> LocatedYamlMap:
        """Build the group of the columns by their roles."""
        members = {role: self.name_column(role) for role in COLUMN_NAMES_BY_ROLE if role in self.roles}
        group: dict[LocatedYamlScalar, Any] = dict(_build_map(members, self.name))
        for key in ("description", "ucd"):
            if key in self.fields:
                group[self.name.copy_with_text(key)] = self.name.copy_with_text(str(self.fields[key]))
        return LocatedYamlMap(group, self.fields.place)


def _write_shifted_value(tree: Expr, input_name: str, shift: str) -> str:
    """Write an expression with another value of an input: ``target.x`` becomes ``(target.x + target.e_x)``."""
    placeholder = "hven_shifted_input"

    def replace_input(node: SyntaxNode) -> SyntaxNode:
        if _find_target_name(node) == input_name and isinstance(node, ColumnRef):
            return ColumnRef(type(node.name)(placeholder))
        return node

    text = write_adql(transform_tree(tree, replace_input))
    return text.replace(placeholder, f"({TARGET}.{quote_adql_name(input_name)} {shift})")


def _write_lowest_confidence(inputs: Sequence[_QuantityExpansion]) -> str:
    """Write the lowest confidence of the inputs; an input without confidence has none."""
    constants, references = [], []
    for expansion in inputs:
        code = None
        if "confidence" in expansion.fields:
            code = expansion.find_constant_code("confidence")
        elif not expansion.inputs:
            code = "0"
        if code is None:
            references.append(f"COALESCE({expansion.write_reference('confidence')}, 0)")
        else:
            constants.append(int(code))
    terms = [*(str(code) for code in [min(constants, default=None)] if code is not None), *references]
    if len(terms) == 1:
        return terms[0]
    return f"LEAST({', '.join(terms)})"


def _derive_ucd(role: str, ucd: str) -> str:
    """Derive the UCD of a column from that of the value; the word of the role alone if they do not combine."""
    word = {"error": "stat.error", "origin": "meta.ref", "confidence": "meta.code.qual"}.get(role)
    if word is None:
        word = {"lower": "stat.min", "upper": "stat.max"}[role]
        return f"{ucd};{word}" if ucd else f"stat.value;{word}"
    combined_ucd = f"{word};{ucd}"
    if ucd and not units.list_ucd_problems(combined_ucd):
        return combined_ucd
    return word


def _to_yaml(value: Any, place: LocatedYamlScalar) -> LocatedYamlScalar | LocatedYamlMap:
    """Return a value that was read as it was written: a text, or one in several languages."""
    if isinstance(value, LocalizedText):
        return _build_map(value.texts, place)
    if isinstance(value, LocatedYamlScalar):
        return value
    return place.copy_with_text(str(value))


def _build_map(texts: Mapping[str, str], place: LocatedYamlScalar) -> LocatedYamlMap:
    entries = {place.copy_with_text(key): place.copy_with_text(text) for key, text in texts.items()}
    return LocatedYamlMap(entries, place.place)


def _add_made_keys(
    table: LocatedYamlMap, made_keys: Mapping[str, Mapping[LocatedYamlScalar, Any]], place: LocatedYamlScalar
) -> LocatedYamlMap:
    """Add entries to the keys of a table; what is written there has precedence, attribute by attribute."""
    entries: dict[LocatedYamlScalar, Any] = dict(table)
    assigned_names = {
        str(name)
        for key in ("set", "text", "lookup")
        if isinstance(table.get(key), LocatedYamlMap)  # type: ignore[call-overload]
        for name in table[table.find_key(key)]
    }
    if not {"columns", "standard", "follow"} & {str(key) for key in table}:
        entries[place.copy_with_text("follow")] = LocatedYamlScalar("true", place.page, place.start, place.end)
    for key, made_entries in made_keys.items():
        written = table.get(key)  # type: ignore[call-overload]
        if written is not None and not isinstance(written, LocatedYamlMap):
            continue
        joined: dict[LocatedYamlScalar, Any] = dict(written or {})
        for name, value in made_entries.items():
            if key == "map" and str(name) in assigned_names:
                continue
            if name not in joined:
                joined[name] = value
            elif isinstance(value, LocatedYamlMap) and isinstance(joined[name], LocatedYamlMap):
                joined[name] = LocatedYamlMap({**value, **joined[name]}, joined[name].place)
        if joined:
            if written is None:
                key_name = place.copy_with_text(key)
            else:
                key_name = table.find_key(key)
            entries[key_name] = LocatedYamlMap(joined, place.place if written is None else written.place)
    return LocatedYamlMap(entries, table.place)
