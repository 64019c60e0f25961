"""Turn rowmakers of resource descriptors into the mapping of a table."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hven.plugins.migration.moved_code import normalize_indentation
from hven.plugins.migration.python_expressions import (
    ExpressionTranslator,
    TranslatedExpression,
    UnsupportedExpressionError,
    build_text_expression,
    quote_name,
    quote_text,
    write_value,
)
from hven.plugins.migration.resource_xml import Element, get_raw_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.plugins.migration.grammar_conversion import ConvertedSource
    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.moved_code import MovedCodeFile
    from hven.plugins.migration.python_macros import MacroValues

NUMBER_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SIMPLE_PATTERN = re.compile(r"[\w.]+|\"[^\"]*\"|\w+\([^()]*\)|'[^']*'")
MISSING_VALUE_EXCEPTIONS = {"TypeError", "AttributeError", "KeyError"}  # of code that gets None
MAX_INLINED_CHARACTERS = 300  # of a variable; longer ones become entries of `let`
SKIPPED_PROCEDURES = {"procs#printRow", "procs#debug", "procs#fullQuery"}
META_PROCEDURES = {"siap#setMeta", "siap2#setMeta", "ssap#setMeta", "ssap#setMixcMeta", "ssap#fill-plainlocation"}
IMAGE_META_COLUMNS = {"title": "imageTitle", "instrument": "instId"}
PRODUCT_COLUMNS = {"accref": "accref", "owner": "owner", "embargo": "embargo", "mime": "mime", "fsize": "accsize"}


@dataclass(slots=True)
class RowMapping:
    """The mapping of a table, and what its source must know.

    Attributes
    ----------
    sections
        ``let``, ``set``, ``text`` and ``map``, as in descriptors.
    condition
        Of the rows that are taken.
    used_names
        Columns of the source that are read.
    text_names
        Those that are used as texts.
    filled_columns
        Columns of the table that have a value, in lower case.
    product
        What ``//products#define`` says of the file of a row.
    """

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    condition: str = ""
    used_names: set[str] = field(default_factory=set)
    text_names: set[str] = field(default_factory=set)
    filled_columns: set[str] = field(default_factory=set)
    product: dict[str, TranslatedExpression] = field(default_factory=dict)
    lines: dict[str, Element] = field(default_factory=dict)


class RowMapper:
    """Converts the rowmaker of one table.

    Parameters
    ----------
    columns
        Types of the table's columns by their names; of a standard, the type may be empty.
    null_literals
        Texts that mean a missing value, by the names of columns in lower case.
    source
        The source of its rows.
    procedures
        Elements ``procDef`` by their ids.
    macros
        Values of macros.
    table_name
        Name of the table.
    code_file
        Python that is moved beside the descriptor.
    report
        Where it notes what it did.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, str],
        null_literals: Mapping[str, str],
        source: ConvertedSource,
        procedures: Mapping[str, Element],
        macros: MacroValues,
        table_name: str,
        code_file: MovedCodeFile,
        report: MigrationReport,
    ) -> None:
        self._columns = columns
        self._columns_by_lower = {name.lower(): name for name in columns}
        self._null_literals = null_literals
        self._source = source
        self._procedures = procedures
        self._macros = macros
        self._table_name = table_name
        self._code_file = code_file
        self._report = report
        self._variables: dict[str, TranslatedExpression] = {}
        self._targets: dict[str, tuple[TranslatedExpression, Element]] = {}
        self._variable_elements: dict[str, Element] = {}
        self._translator = ExpressionTranslator(self._resolve_variable, source.list_path_parts())
        self._mapping = RowMapping()

    def convert_rowmaker(self, rowmaker: Element | None, grammar: Element | None) -> RowMapping:
        """Convert a rowmaker and the row filters of the grammar."""
        if grammar is not None:
            for row_filter in grammar.list_children("rowfilter"):
                self._convert_product_row_filter(row_filter)
            self._convert_ignore_condition(grammar)
        if rowmaker is not None:
            self._convert_rules(rowmaker)
        for name, expression in self._mapping.product.items():
            column = PRODUCT_COLUMNS.get(name, "")
            if column in self._columns and column.lower() not in self._targets:
                self._set_target(column, expression, grammar or Element("grammar", {}, 0))
        self._add_file_facts(grammar)
        identity_maps = "*" if rowmaker is None else rowmaker.get_value("idmaps")
        self._finish_identity_maps(identity_maps, rowmaker)
        for target, (expression, element) in self._targets.items():
            self._add_setting(target, expression, element)
        self._set_other_columns_to_null(rowmaker)
        self._mapping.text_names = self._translator.text_names
        return self._mapping

    def _add_file_facts(self, grammar: Element | None) -> None:
        """Fill the columns of ``//products#table`` as DaCHS does if the resource descriptor says nothing."""
        if not self._source.is_file or "accref" not in self._columns:
            return
        facts = {
            "accref": build_text_expression(self._source.list_path_parts()),
            "accsize": TranslatedExpression("file.size", "number"),
            "mime": TranslatedExpression("file.media_type", "string"),
        }
        for column, value in facts.items():
            if column in self._columns and column not in self._targets:
                self._set_target(column, value, grammar or Element("grammar", {}, 0))
                self._mapping.used_names.discard(column)

    def _convert_rules(self, rowmaker: Element) -> None:
        self._convert_ignore_condition(rowmaker)
        # in this order, whatever that of the document, DaCHS runs them
        for tag, convert in (
            ("var", self._convert_variable),
            ("apply", self._convert_procedure),
            ("map", self._convert_map),
        ):
            for element in rowmaker.list_children(tag):
                convert(element)
        for pair in re.split(r"[,\n]", rowmaker.get_value("simplemaps")):
            target, separator, name = pair.partition(":")
            if separator:
                self._set_target(target.strip(), self._resolve_parsed_value(name.strip(), target.strip()), rowmaker)

    def _resolve_variable(self, name: str) -> TranslatedExpression:
        value = self._variables.get(name)
        if value is None:
            source_name = self._source.find_source_name(name)
            self._mapping.used_names.add(name)
            return TranslatedExpression(quote_name(source_name), "any")
        if value.is_constant or value.parts or _SIMPLE_PATTERN.fullmatch(value.adql):
            return value
        return TranslatedExpression(f"({value.adql})", value.kind)

    def _resolve_parsed_value(self, name: str, target: str) -> TranslatedExpression:
        """Resolve a variable that DaCHS parses for a column: a text that is the `nullLiteral` of the column is missing.

        DaCHS compares the value as the grammar yields it, so a number of a binary file differs from each literal.
        """
        value = self._resolve_variable(name)
        literal = self._null_literals.get(target.lower(), "")
        column_type = self._columns.get(self._columns_by_lower.get(target.lower(), ""), "")
        is_text = value.kind == "string" or (value.kind == "any" and (self._source.is_text or column_type == "string"))
        if not literal or not is_text or value.is_constant:
            return value
        is_number = column_type.startswith(("int", "float")) and NUMBER_PATTERN.fullmatch(literal)
        null = (
            TranslatedExpression(literal, "number")
            if is_number
            else TranslatedExpression(quote_text(literal), "string")
        )
        return self._set_null(value, null, name, column_type)

    def _set_null(
        self, value: TranslatedExpression, null: TranslatedExpression, name: str, column_type: str
    ) -> TranslatedExpression:
        """Write an expression that is null if it has a given value; the name is that of the variable, if it is one."""
        adql, kind = value.adql, value.kind
        if null.kind == "number" and kind in {"any", "string"}:
            is_whole = column_type.startswith("int") and "." not in null.adql
            adql, kind = f"CAST({adql} AS {'BIGINT' if is_whole else 'DOUBLE PRECISION'})", "number"
        elif null.kind == "string" and kind == "any":
            self._translator.text_names.add(name)
            adql, kind = f"trim({adql})", "string"
        return TranslatedExpression(f"nullif({adql}, {null.adql})", kind)

    def _translate(self, code: str, element: Element) -> TranslatedExpression | None:
        """Translate Python; if that is not possible, move it into a function."""
        text = self._macros.replace_text_macros(code, self._table_name)
        try:
            return self._translator.translate(text)
        except UnsupportedExpressionError as error:
            reason = str(error)
        except (RecursionError, ValueError, IndexError, AttributeError, TypeError):
            reason = "it is written in an unusual way"
        return self._move_expression(code, element, reason, element.get_value("nullExcs"))

    def _move_expression(
        self, code: str, element: Element, reason: str, exceptions: str = ""
    ) -> TranslatedExpression | None:
        """Move an expression into a function, where some exceptions may mean that the value is missing."""
        name = element.get_value("key", "name", "dest") or "value"
        body = "@hven_result = (" + self._macros.replace_text_macros(code, self._table_name).strip() + ")"
        if exceptions:  # sources read empty texts as missing values, which cause other exceptions
            names = ", ".join(dict.fromkeys([*re.findall(r"[\w.]+", exceptions), "AttributeError", "TypeError"]))
            body = f"try:\n    {body}\nexcept ({names}):\n    @hven_result = None"
        functions = self._move_code(f"{self._table_name}_{name}", body, element, ["hven_result"], reason=reason)
        return functions.get("hven_result")

    def _move_code(
        self, base_name: str, code: str, element: Element, outputs: list[str], *, reason: str, setup: str = ""
    ) -> dict[str, TranslatedExpression]:
        """Move code into a function, and return the expressions that call it, by the variables that it sets."""
        code_name, facts = self._code_file.add_row_code(base_name, code, element.line, setup)
        file = self._code_file.file_name
        if not facts.is_valid:
            self._report.add_decision(element, f"{base_name}: {facts.fault}; the code is in {file} as a comment")
            return {}
        arguments: list[str] = []
        parameters: list[str] = []
        for variable in facts.variables:
            if variable in facts.assigned_variables and variable not in self._variables and variable in outputs:
                continue
            value = self._resolve_variable(variable)
            if value.kind == "any" and self._source.is_text:  # grammars of text give texts to the code
                self._translator.text_names.add(variable)
            arguments.append(value.adql)
            parameters.append(variable)
        for file_property in facts.properties:
            arguments.append(file_property.replace("__", "."))
            parameters.append(file_property)
        if not parameters:
            arguments, parameters = ["source.row"], ["source__row"]
        expressions: dict[str, TranslatedExpression] = {}
        for output in outputs or facts.assigned_variables:
            target = element.get_value("key", "name", "dest") if output == "hven_result" else output
            result_type = self._columns.get(self._columns_by_lower.get(target.lower(), ""), "") or "string"
            if result_type in {"point", "polygon", "circle", "moc"}:
                result_type = "string"
            function = self._code_file.add_value_function(code_name, output, parameters, result_type)
            kind = "string" if result_type == "string" else "number"
            kind = "time" if result_type == "timestamp" else kind
            expressions[output] = TranslatedExpression(f"{function}({', '.join(arguments)})", kind)
        unknown_names = ", ".join(facts.unknown_names[:6])
        if unknown_names:
            self._report.add_decision(
                element, f"{base_name}() in {file} uses names of DaCHS ({unknown_names}): replace them"
            )
        else:
            self._report.add_result(element, f"{base_name}: moved to {file}, because {reason}")
        return expressions

    def _convert_variable(self, element: Element) -> None:
        name = element.get_value("key", "name", "dest")
        source_name = element.get_value("source")
        value: TranslatedExpression | None
        if source_name:
            value = self._resolve_variable(source_name)
        else:
            value = self._translate(element.text, element)
        if value is None:
            return
        if len(value.adql) > MAX_INLINED_CHARACTERS and not value.parts and not value.is_constant:
            let_name = f"{re.sub(r'[^a-z0-9_]', '_', name.lower())}_value"
            self._mapping.sections.setdefault("let", {})[let_name] = value.adql
            value = TranslatedExpression(let_name, value.kind)
        self._variables[name] = value
        self._variable_elements[name] = element

    def _convert_map(self, element: Element) -> None:
        target = element.get_value("key", "dest", "name")
        source_name = element.get_value("source", "src")
        value: TranslatedExpression | None
        if element.text and not source_name:
            exceptions = element.get_value("nullExcs")
            if set(re.findall(r"\w+", exceptions)) <= MISSING_VALUE_EXCEPTIONS:  # as do expressions of Hven
                value = self._translate(element.text, element)
            else:
                reason = f"{exceptions} there means that the value is missing"
                value = self._move_expression(element.text, element, reason, exceptions)
        else:
            value = self._resolve_parsed_value(source_name or target, target)
        null_code = element.get_value("nullExpr")
        if value is not None and null_code:
            null = self._translate(null_code, element)
            if null is not None and null.kind != "null":
                column_type = self._columns.get(self._columns_by_lower.get(target.lower(), ""), "")
                value = self._set_null(value, null, source_name or target, column_type)
        if value is not None:
            self._set_target(target, value, element)

    def _set_target(self, target: str, value: TranslatedExpression, element: Element) -> None:
        self._targets[target.lower()] = (value, element)

    def _list_arguments(self, element: Element) -> dict[str, Element]:
        return {bind.get_value("key", "name"): bind for bind in element.list_children("bind")}

    def _convert_procedure(self, element: Element) -> None:
        reference = element.get_value("procDef").removeprefix("//")
        arguments = self._list_arguments(element)
        if reference in SKIPPED_PROCEDURES:
            self._report.add_omission(element, f"{reference} is for the search for faults")
        elif reference.startswith("epntap2#populate"):
            for name, bind in arguments.items():
                value = self._translate(bind.text, bind)
                if value is not None:
                    self._set_target(name, value, bind)
        elif reference in META_PROCEDURES:
            self._convert_meta_procedure(reference, arguments)
        elif reference == "procs#dictMap":
            self._convert_dictionary(element, arguments)
        elif reference == "siap#computePGS":
            self._convert_image_position(element)
        elif not reference or reference.rpartition("#")[2] in self._procedures:
            self._convert_own_code(element, reference, arguments)
        else:
            self._report.add_decision(element, f"apply {reference} has no equivalent")

    def _convert_meta_procedure(self, reference: str, arguments: Mapping[str, Element]) -> None:
        is_spectrum = reference.startswith("ssap#")
        if is_spectrum and {"alpha", "delta"} <= arguments.keys() and "ssa_location" in self._columns_by_lower:
            position = [self._translate(arguments[name].text, arguments[name]) for name in ("alpha", "delta")]
            values = [
                f"CAST({value.adql} AS DOUBLE PRECISION)" if value.kind == "any" else value.adql
                for value in position
                if value is not None
            ]
            if len(values) == len(position):
                point = TranslatedExpression(f"POINT({', '.join(values)})", "region")
                self._set_target("ssa_location", point, arguments["alpha"])
            arguments = {name: bind for name, bind in arguments.items() if name not in {"alpha", "delta"}}
        for name, bind in arguments.items():
            if is_spectrum:
                column = name if name.startswith("ssa_") else f"ssa_{name}"
            else:
                column = IMAGE_META_COLUMNS.get(name, name)
            if column.lower() not in self._columns_by_lower:
                self._report.add_omission(bind, f"{reference}: the table has no column for {name}")
                continue
            value = self._translate(bind.text, bind)
            if value is not None:
                if name == "dateObs":
                    value = self._convert_observation_date(value, is_spectrum=is_spectrum)
                self._set_target(column, value, bind)

    def _convert_observation_date(self, value: TranslatedExpression, *, is_spectrum: bool) -> TranslatedExpression:
        """Write a time as the modified Julian date that setMeta of DaCHS makes of it; for spectra, also of texts."""
        is_text = value.kind == "string" or (
            value.kind == "any" and (self._source.is_text or self._source.is_header) and "JD" not in value.adql.upper()
        )
        if value.kind == "time":
            return TranslatedExpression(f"mjd({value.adql})", "number")
        if is_spectrum and is_text:
            return TranslatedExpression(f"mjd(parse_time({value.adql}))", "number")
        return value

    def _convert_image_position(self, element: Element) -> None:
        expressions = {
            "centeralpha": "COORD1(CENTROID(wcs_footprint()))",
            "centerdelta": "COORD2(CENTROID(wcs_footprint()))",
            "naxes": "NAXIS",
            "coverage": "wcs_footprint()",
        }
        for column, expression in expressions.items():
            if column in self._columns_by_lower:
                if expression.isupper():
                    self._mapping.used_names.add(expression)
                self._set_target(column, TranslatedExpression(expression, "any"), element)
        self._report.add_result(
            element, "computePGS: the outline is wcs_footprint(), and the centre is that of the outline"
        )

    def _convert_dictionary(self, element: Element, arguments: Mapping[str, Element]) -> None:
        """Convert a look-up of a constant dictionary to CASE."""
        values: Any = None
        with suppress(KeyError, ValueError, SyntaxError):
            name = str(ast.literal_eval(arguments["key"].text.strip()))
            default = ast.literal_eval(arguments["default"].text.strip()) if "default" in arguments else None
            values = ast.literal_eval(arguments["mapping"].text.strip())
        if not isinstance(values, dict) or not values:
            self._report.add_decision(element, "dictMap has computed arguments: write a `lookup`")
            return
        if isinstance(default, str) and default == "@key":
            default = None
        key = self._resolve_variable(name)
        if all(isinstance(member, str) for member in values) and key.kind == "any":
            self._translator.text_names.add(name)
        branches = " ".join(
            f"WHEN {_write_literal(before)} THEN {_write_literal(after)}" for before, after in values.items()
        )
        adql = f"CASE {key.adql} {branches} ELSE {_write_literal(default)} END"
        kind = "string" if all(isinstance(after, str) for after in values.values()) else "number"
        self._variables[name] = TranslatedExpression(adql, kind)
        self._variable_elements[name] = element

    def _convert_own_code(self, element: Element, reference: str, arguments: Mapping[str, Element]) -> None:
        definition = self._procedures.get(reference.rpartition("#")[2], element) if reference else element
        code = "\n".join(
            normalize_indentation(self._macros.replace_text_macros(get_raw_text(item), self._table_name))
            for item in definition.list_children("code")
        )
        if not code.strip():
            self._report.add_decision(element, f"apply {reference or element.get_value('name')} has no code here")
            return
        setup = "\n".join(
            normalize_indentation(get_raw_text(item))
            for part in definition.list_children("setup")
            for item in part.list_children("code")
        )
        parameters = {
            par.get_value("key", "name"): par.text
            for part in definition.list_children("setup")
            for par in part.list_children("par")
        }
        parameters |= {name: bind.text for name, bind in arguments.items()}
        lines = [
            f"{name} = {self._macros.replace_text_macros(text, self._table_name).strip()}"
            for name, text in parameters.items()
            if text.strip()
        ]
        base_name = f"{self._table_name}_{element.get_value('name') or reference.rpartition('#')[2] or 'apply'}"
        body = "\n".join([*lines, code])
        expressions = self._move_code(
            base_name, body, element, [], reason="it is code of several statements", setup=setup
        )
        if not expressions:
            self._report.add_decision(element, f"{base_name} sets no variable that can be found by reading the code")
        for name, expression in expressions.items():
            self._variables[name] = expression
            self._variable_elements[name] = element

    def _convert_product_row_filter(self, element: Element) -> None:
        reference = element.get_value("procDef").removeprefix("//")
        if reference == "products#define":
            for name, bind in self._list_arguments(element).items():
                if name in {"table", "sourceTable"}:
                    continue
                value = self._translate(_replace_row_items(bind.text), bind)
                if value is not None:
                    self._mapping.product[name] = self._move_to_next_day(value, bind) if name == "embargo" else value
            self._report.add_result(element, "products#define: owner, embargo, type and previews of files")
        elif reference.startswith("procs#expand"):
            self._report.add_decision(element, f"{reference} makes several rows of one: write `for_each` or `granules`")
        else:
            self._report.add_decision(
                element, f"rowfilter {reference or element.get_value('name')}: write `where`, `granules` or `for_each`"
            )

    def _move_to_next_day(self, value: TranslatedExpression, bind: Element) -> TranslatedExpression:
        """Return the beginning of the day after a date: until the end of that date, DaCHS keeps a file closed."""
        if value.kind == "null":
            return value
        self._report.add_result(bind, "embargo: the day after this date, because DaCHS opens the file then")
        is_text = value.kind == "string" or (value.kind == "any" and (self._source.is_text or self._source.is_header))
        time = f"parse_time({value.adql})" if is_text else value.adql
        return TranslatedExpression(f"from_mjd(FLOOR(mjd({time})) + 1)", "time")

    def _convert_ignore_condition(self, element: Element) -> None:
        conditions: list[str] = []
        for trigger in element.list_children("ignoreOn"):
            for test in trigger.elements:
                condition = self._write_condition_of_kept_rows(test)
                if condition is None:
                    self._report.add_decision(test, f"ignoreOn {test.tag}: write it as `where`")
                else:
                    conditions.append(condition)
        if conditions:
            self._mapping.condition = " AND ".join(filter(None, [self._mapping.condition, *conditions]))

    def _write_condition_of_kept_rows(self, test: Element, *, is_negated: bool = False) -> str | None:
        """Return the condition of the rows that stay."""
        if test.tag == "not" and len(test.elements) == 1:
            return self._write_condition_of_kept_rows(test.elements[0], is_negated=not is_negated)
        name = test.get_value("key", "name")
        column = self._resolve_variable(name).adql if name else ""
        if test.tag in {"keyMissing", "keyNull"}:
            return f"{column} IS {'' if is_negated else 'NOT '}NULL"
        if test.tag == "keyPresent":
            return f"{column} IS {'NOT ' if is_negated else ''}NULL"
        if test.tag == "keyIs":
            self._translator.text_names.add(name)
            text = quote_text(test.get_value("value"))
            if text == "''":  # sources read empty texts as missing values
                return f"{column} IS {'' if is_negated else 'NOT '}NULL"
            return f"{column} = {text}" if is_negated else f"({column} <> {text} OR {column} IS NULL)"
        return None

    def _finish_identity_maps(self, identity_maps: str, rowmaker: Element | None) -> None:
        patterns = [pattern.strip() for pattern in re.split(r"[,\s]+", identity_maps) if pattern.strip()]
        for lower_name, name in self._columns_by_lower.items():
            if lower_name in self._targets:
                continue
            variable = next((item for item in self._variables if item.lower() == lower_name), None)
            if not any(fnmatchcase(name, pattern) for pattern in patterns):
                continue
            if variable is not None:
                element = self._variable_elements[variable]
                self._set_target(name, self._resolve_parsed_value(variable, name), element)
            elif self._columns[name] and not self._source.has_column(self._source.find_source_name(name)):
                continue
            elif self._columns[name] or name in self._source.code_words:
                self._mapping.used_names.add(name)
                self._mapping.filled_columns.add(lower_name)
                value = self._resolve_parsed_value(name, name)
                if value.adql.strip('"').lower() != lower_name:
                    self._set_target(name, value, rowmaker or Element("", {}, 0))
        for name in self._variables:
            if name.lower() in self._columns_by_lower and name.lower() not in self._targets:
                self._set_target(name, self._variables[name], self._variable_elements[name])

    def _set_other_columns_to_null(self, rowmaker: Element | None) -> None:
        """Set columns to null that have no value in DaCHS either, so that no column of the source gets into them."""
        null_names = [
            name
            for lower_name, name in self._columns_by_lower.items()
            if self._columns[name] and lower_name not in self._mapping.filled_columns
        ]
        if null_names:
            self._mapping.sections.setdefault("set", {}).update(dict.fromkeys(null_names))
            listed = ", ".join(null_names[:6]) + (" ..." if len(null_names) > 6 else "")
            self._report.add_omission(rowmaker, f"{self._table_name}: nothing sets {listed}, so they are null")

    def _add_setting(self, target: str, expression: TranslatedExpression, element: Element) -> None:
        column = self._columns_by_lower.get(target)
        if column is None:
            if target not in self._variables:
                self._report.add_omission(element, f"{target}: the table has no such column")
            return
        if expression.kind == "null" or expression.constant == "":
            return
        self._mapping.filled_columns.add(target)
        sections = self._mapping.sections
        self._mapping.lines[column] = element
        if expression.is_constant:
            is_time = self._columns[column] == "timestamp" or column in {
                "creation_date",
                "modification_date",
                "release_date",
            }
            constant = _format_date(expression.constant) if is_time else expression.constant
            sections.setdefault("set", {})[column] = constant
            return
        template = expression.write_template()
        if template is not None:
            sections.setdefault("text", {})[column] = template
            return
        adql = write_value(expression)
        if adql.strip('"').lower() == target and adql.strip('"') == self._source.find_source_name(adql.strip('"')):
            return
        if self._columns[column] == "string" and expression.kind == "number":
            adql = f"CAST({adql} AS VARCHAR)"
        sections.setdefault("map", {})[column] = adql


def _replace_row_items(code: str) -> str:
    """Write values of the row of the grammar, as row filters name them, as variables."""
    code = re.sub(r"""\brow\[\s*(['"])([A-Za-z_]\w*)\1\s*\]""", r"@\2", code)
    return re.sub(r"""\brow\.get\(\s*(['"])([A-Za-z_]\w*)\1\s*(?:,([^()]*))?\)""", _replace_row_get, code)


def _replace_row_get(match: re.Match[str]) -> str:
    return f"(@{match[2]} or {match[3].strip()})" if match[3] else f"@{match[2]}"


def _write_literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return repr(value)
    return quote_text(str(value))


def _format_date(value: Any) -> Any:
    """Write a date such as 2017-7-9 with two digits for month and day."""
    match = re.match(r"(\d{4})-(\d{1,2})-(\d{1,2})(.*)", str(value))
    return f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}{match[4]}" if match else value
