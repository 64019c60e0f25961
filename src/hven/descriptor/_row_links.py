"""Links of a table's rows (DataLink 1.1).

Templates and conditions over the row, and over the rows of another table that go with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

from hven.adql import parse_expression
from hven.adql.adql_writer import quote_adql_name, write_adql, write_adql_literal
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import CastExpression, ColumnRef, Ident, transform_tree
from hven.adql.vocabularies import load_vocabularies
from hven.descriptor._column_expressions import (
    TemplatePlaceholder,
    iterate_column_references,
    parse_placeholder,
    parse_written_expression,
    split_template,
)
from hven.descriptor._columns import build_constant
from hven.descriptor._derived_links import expand_derived_link
from hven.descriptor._expression_trees import build_number_format_expression
from hven.descriptor._name_resolution import with_place
from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.model import plugins
from hven.model.errors import suggest_spelling
from hven.model.params import Param
from hven.model.resource import ColumnMapping
from hven.model.table import (
    SITE_URL_EXPRESSION,
    TARGET_ALIAS,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    list_drawable_extensions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import Expr
    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.model.errors import TextPlace
    from hven.model.table import Table, Template

SITE_KEYS = ("url", "name", "title", "authority")


def read_row_links(
    key_path: str,
    fields: LocatedKeyValues,
    column_names: Sequence[str] | None,
    collection_context: InheritedCollectionKeys,
    faults: FaultCollector,
) -> Iterator[LinkTemplate]:
    """Read ``links`` of a table, whose columns may not be known yet (None); what has a fault is left out."""
    for number, item in enumerate(fields.get("links", ()), 1):
        where = f"{key_path}.links[{number}]"
        if sum(key in item for key in ("semantics", "derived", "series")) != 1:
            remedy = (
                "write `semantics: preview`, or `derived: {by: [obs_id]}` to link the data from which the rows were "
                "made, or `series:` with the id of a data set"
            )
            message = f"{where}: a link needs one of 'semantics', 'derived' and 'series'"
            faults.add_error(message, item.place, remedy)
            continue
        if "series" in item:  # which their faces lead to
            for key in item.keys() - {"series"}:
                faults.add_error(
                    f"{where}.{key}: `series` already sets this key", item.places[key], "remove this key or `series`"
                )
            continue
        name = key_path.partition(".")[2]
        link_entries = (
            expand_derived_link(where, item, column_names, collection_context, faults, table_name=name)
            if "derived" in item
            else [item]
        )
        for link_fields in link_entries:
            link = _read_row_link(where, link_fields, column_names, collection_context, faults)
            if link is not None:
                yield link


def build_link_column_defaults(
    table: Table, collection_context: InheritedCollectionKeys, place: TextPlace
) -> dict[str, ColumnMapping]:
    """Fill EPN-TAP's ``datalink_url`` and ``thumbnail_url``, where nothing else does.

    With the address of a row's links, and of the picture of its file.
    """
    identifier_column = table.identifier_column
    site_url = collection_context.site["url"]
    expressions = {}
    if table.links:
        column_names = {column.name for column in table.columns}
    else:
        column_names = set()
    if identifier_column is not None and "datalink_url" in column_names:
        value = f"CAST({TARGET_ALIAS}.{quote_adql_name(identifier_column.name)} AS VARCHAR)"
        expressions["datalink_url"] = f"'{site_url}/datalink/{table.qualified_name}?ID=' || URL_ENCODE({value})"
    file_link = next(iter(table.row_file_links), None)
    if file_link is not None and "thumbnail_url" in column_names:
        collection_url = f"{site_url}/collections/{percent_encode(table.schema)}/"
        expressions["thumbnail_url"] = _write_thumbnail_expression(file_link, collection_url)
    return {
        name: ColumnMapping(column=name, how="map", value=with_place(text, place), place=place)
        for name, text in expressions.items()
    }


def _write_thumbnail_expression(link: LinkTemplate, collection_url: str) -> str:
    """Write the address of the thumbnail of a file, for those whose names say that they can be drawn.

    It is null if no plug-in package in use draws files.
    """
    pictures = plugins.find_file_picture_addresses()
    if pictures is None:
        return "CAST(NULL AS VARCHAR)"
    url_begin, url_end = pictures.thumbnail.split("{path}")

    def write_template_part(part: str | TemplateExpression) -> str:
        if isinstance(part, str):
            return write_adql_literal(part)
        tree = parse_expression(part.expression)
        return write_adql(
            build_number_format_expression(tree, part.format_spec)
            if part.format_spec
            else CastExpression(tree, "VARCHAR")
        )

    path = " || ".join(map(write_template_part, link.address))
    drawable_pattern = "|".join(map(re.escape, list_drawable_extensions()))
    can_be_drawn = (
        f"REGEXP_REPLACE(LOWER({path}), '^.*({drawable_pattern})$', '') = '' AND ({link.condition or '1 = 1'})"
    )
    prefix = write_adql_literal(f"{collection_url}{url_begin}")
    return f"CASE WHEN {can_be_drawn} THEN {prefix} || URL_PATH({path}) || {write_adql_literal(url_end)} END"


def check_condition_columns(
    value: LocatedYamlScalar, tree: Any, key_path: str, column_names: Sequence[str], faults: FaultCollector
) -> None:
    """Refuse names in a condition that the table itself has not."""
    lower_case_names = {name.lower() for name in column_names}
    for prefix, name, node in iterate_column_references(tree):
        if prefix not in {"", TARGET_ALIAS} or name.lower() not in lower_case_names:
            hint = suggest_spelling(name, column_names) or "use the table's own columns in this condition"
            faults.add_error(
                f"{key_path}: the table has no column {name!r}", value.locate_character(node.text_offset), hint
            )


def _read_row_link(
    key_path: str,
    link_fields: LocatedKeyValues,
    column_names: Sequence[str] | None,
    collection_context: InheritedCollectionKeys,
    faults: FaultCollector,
) -> LinkTemplate | None:
    fault_count = len(faults.faults)
    link_expressions = LinkExpressionParser(column_names, link_fields.get("from"), collection_context)
    if sum(key in link_fields for key in ("text", "file", "service")) != 1:
        faults.add_error(
            f"{key_path}: a link needs exactly one of 'text', 'file' and 'service'",
            link_fields.place,
            (
                "write `text` with an address, `file` with the path of one of the collection's files, or `service` "
                "with a service that takes values from the row"
            ),
        )
    if "file" in link_fields and not collection_context.publishes_files:
        remedy = "add `files: data/*`, or write `text` with an address"
        faults.add_error(f"{key_path}.file: the collection publishes no files", link_fields.places["file"], remedy)
    for key in ("where", "order"):
        if link_expressions.alias is None and key in link_fields:
            remedy = "specify the other table, for example `from: previews`"
            faults.add_error(f"{key_path}.{key}: this key needs 'from'", link_fields.places[key], remedy)
            return None
    if link_expressions.alias is not None and "where" not in link_fields:
        faults.add_error(
            f"{key_path}.from needs 'where', which selects the rows of the other table",
            link_fields.places["from"],
            f"write `where: {link_expressions.alias}.obs_id = target.obs_id`",
        )
    templates = {
        key: link_expressions.parse_template(link_fields[key], f"{key_path}.{key}", faults)
        for key in ("text", "file", "type", "size", "description", "qualifier", "local")
        if key in link_fields
    }
    if "service" in link_fields:
        service = _read_service_descriptor(link_fields["service"], f"{key_path}.service", link_expressions, faults)
    else:
        service = None
    conditions = {
        key: link_expressions.parse_expression_text(
            link_fields[key], f"{key_path}.{key}", faults, is_condition=key != "order"
        )
        for key in ("if", "where", "order")
        if key in link_fields
    }
    if "semantics" in link_fields:
        semantics = _read_semantics(link_fields["semantics"], f"{key_path}.semantics", faults)
    else:
        semantics = ""
    if templates.get("qualifier"):
        templates["qualifier"] = _read_content_qualifier(
            templates["qualifier"], link_fields["qualifier"], f"{key_path}.qualifier", faults
        )
    if len(faults.faults) > fault_count or not semantics:
        return None
    address = templates.get("text", templates.get("file", ()))
    return LinkTemplate(
        semantics=semantics,
        address=address,
        is_file="file" in link_fields,
        type=templates.get("type", ()),
        size=templates.get("size", ()),
        description=templates.get("description", ()),
        content_qualifier=templates.get("qualifier", ()),
        local_semantics=templates.get("local", ()),
        condition=conditions.get("if"),
        source=link_expressions.source,
        alias=link_expressions.alias,
        where=conditions.get("where"),
        order=conditions.get("order"),
        service=service,
        places=dict(link_fields.places),
    )


def _read_service_descriptor(
    service_fields: LocatedKeyValues, key_path: str, link_expressions: LinkExpressionParser, faults: FaultCollector
) -> ServiceDescriptor:
    """Read a service: its address, what is always sent to it, and what people fill in."""

    def read_template(fields: LocatedKeyValues, key: str, key_path: str) -> Template:
        if key in fields:
            return link_expressions.parse_template(fields[key], f"{key_path}.{key}", faults)
        return ()

    inputs = []
    for name, parameter_fields in service_fields.get("params", {}).items():
        parameter_key_path = f"{key_path}.params.{name}"
        if "value" in parameter_fields and not {"minimum", "maximum", "values", "example"}.isdisjoint(parameter_fields):
            remedy = "remove 'value', or remove 'minimum', 'maximum', 'values' and 'example'"
            faults.add_error(
                f"{parameter_key_path}: a parameter that is always sent cannot have bounds, allowed values or examples",
                parameter_fields.places["value"],
                remedy,
            )
        attributes = {
            key: parameter_fields[key]
            for key in ("type", "unit", "ucd", "utype", "description")
            if key in parameter_fields
        }
        parameter_column = build_constant(str(name), attributes, parameter_key_path, faults)  # type: ignore[arg-type]
        param = Param(
            name=parameter_column.name,
            type=parameter_column.type,
            unit=parameter_column.unit,
            ucd=parameter_column.ucd,
            utype=parameter_column.utype,
            description=parameter_column.description,
            allowed=tuple(map(str, parameter_fields.get("values", ()))),
        )
        inputs.append(
            ServiceParameter(
                param=param,
                value=read_template(parameter_fields, "value", parameter_key_path),
                low=read_template(parameter_fields, "minimum", parameter_key_path),
                high=read_template(parameter_fields, "maximum", parameter_key_path),
                example=read_template(parameter_fields, "example", parameter_key_path),
            )
        )
    address = read_template(service_fields, "url", key_path)
    return ServiceDescriptor(
        address=address,
        inputs=tuple(inputs),
        standard_id=str(service_fields["standard"]) if "standard" in service_fields else None,
        ivoid=str(service_fields["registered"]) if "registered" in service_fields else None,
    )


def _read_semantics(term: LocatedYamlScalar, key_path: str, faults: FaultCollector) -> str:
    return _read_vocabulary_term(term, "datalink/core", f"{key_path}: the DataLink vocabulary has no term", faults)


def _read_content_qualifier(
    template: Template, term: LocatedYamlScalar, key_path: str, faults: FaultCollector
) -> Template:
    """Read a word of the vocabulary of kinds of products; one that a row says is known when it is read."""
    has_only_text = all(isinstance(part, str) for part in template)
    if has_only_text:
        vocabulary_term = _read_vocabulary_term(
            term, "product-type", f"{key_path}: the vocabulary product-type has no term", faults
        )
        return (vocabulary_term,)
    return template


def _read_vocabulary_term(term: LocatedYamlScalar, vocabulary: str, message_start: str, faults: FaultCollector) -> str:
    """Read a word of a vocabulary, with or without its ``#``, or the address of a word of another one."""
    text = str(term)
    if "://" in text:
        return text
    terms = load_vocabularies()[vocabulary]
    word = text.removeprefix("#")
    if word not in terms:
        hint = (
            suggest_spelling(word, terms)
            or f"use one of {', '.join(terms)}; or give the full address of a word from another vocabulary"
        )
        faults.add_error(f"{message_start} {text!r}", term.place, hint)
    return f"#{word}"


class LinkExpressionParser:
    """What expressions of a link may name: the row, and one of another table."""

    def __init__(
        self,
        column_names: Sequence[str] | None,
        source: LocatedYamlScalar | None,
        collection_context: InheritedCollectionKeys,
    ) -> None:
        self._column_names = column_names
        self._collection_context = collection_context
        if source is None:
            schema, _, name = ("", "", None)
        else:
            schema, _, name = str(source).rpartition(".")
        self.alias = name
        if name is None:
            self.source = None
        else:
            self.source = f"{schema or collection_context.schema}.{name}"

    def parse_template(self, template: LocatedYamlScalar, key_path: str, faults: FaultCollector) -> Template:
        """Cut a template into texts and expressions; constants become text.

        Parameters
        ----------
        template
            The template as it is written.
        key_path
            Path of the key, for messages.
        faults
            Collects faults of the template.

        Returns
        -------
        template
            Texts and expressions, in their order.
        """
        parts: list[str | TemplateExpression] = []
        for part in split_template(template, key_path, faults):
            if isinstance(part, str):
                parts.append(part)
                continue
            prefix, _, site_key = part.expression_text.partition(".")
            if part.name is not None and prefix == "site" and site_key:
                if site_key not in SITE_KEYS:
                    hint = f"use one of {', '.join('site.' + key for key in SITE_KEYS)}"
                    faults.add_error(
                        f"{key_path}: there is no '{part.expression_text}'",
                        template.locate_character(part.offset),
                        hint,
                    )
                # the address of the site is that at which it is asked
                parts.append(
                    SITE_URL_EXPRESSION if site_key == "url" else self._collection_context.site.get(site_key, "")
                )
            elif part.expression_text in self._collection_context.constants:
                parts.append(str(self._collection_context.constants[part.expression_text]))
            elif (tree := self._parse_placeholder(template, part, key_path, faults)) is not None:
                parts.append(TemplateExpression(write_adql(tree), part.format_spec))
        return tuple(parts)

    def _parse_placeholder(
        self, template: LocatedYamlScalar, placeholder: TemplatePlaceholder, key_path: str, faults: FaultCollector
    ) -> Expr | None:
        if placeholder.name is not None and "." not in placeholder.name:
            known_names = [
                *self._collection_context.constants,
                *(f"{TARGET_ALIAS}.{name}" for name in self._column_names or ()),
            ]
            if placeholder.expression_text in (self._column_names or ()):
                hint = f"write {{target.{placeholder.expression_text}}}"
            else:
                hint = suggest_spelling(placeholder.expression_text, known_names)
            if self.alias is None:
                other_table_hint = ""
            else:
                other_table_hint = f", {{{self.alias}.column}}"
            faults.add_error(
                f"{key_path}: a link cannot use {placeholder.expression_text!r}; it can use "
                f"{{target.column}}{other_table_hint}, {{site.url}} and constants",
                template.locate_character(placeholder.offset),
                hint,
            )
            return None
        tree = parse_placeholder(template, placeholder, key_path, faults)
        if tree is None:
            return None
        return self._check_and_qualify_names(tree, template, key_path, faults, placeholder.offset)

    def parse_expression_text(
        self, expression_text: LocatedYamlScalar, key_path: str, faults: FaultCollector, *, is_condition: bool
    ) -> str | None:
        """Check an expression, and write it as it stands in a query over both tables.

        Parameters
        ----------
        expression_text
            The expression as it is written.
        key_path
            Path of the key, for messages.
        faults
            Collects faults of the expression.
        is_condition
            Whether it must be a condition.

        Returns
        -------
        adql
            None: it has a fault.
        """
        if is_condition:
            sort_direction = ""
        else:
            sort_direction = next((word for word in (" DESC", " ASC") if expression_text.upper().endswith(word)), "")
        text = LocatedYamlScalar(
            expression_text[: len(expression_text) - len(sort_direction)],
            expression_text.page,
            expression_text.start,
            expression_text.end,
            expression_text.style,
        )
        tree = parse_written_expression(text, key_path, faults, is_condition=is_condition)
        if tree is None:
            tree = None
        else:
            tree = self._check_and_qualify_names(tree, text, key_path, faults)
        if tree is None:
            return None
        return write_adql(tree) + sort_direction

    def _check_and_qualify_names(
        self, tree: Expr, expression_text: LocatedYamlScalar, key_path: str, faults: FaultCollector, offset: int = 0
    ) -> Expr | None:
        names_by_lower_case: Mapping[str, str] = {name.lower(): name for name in self._column_names or ()}
        has_faults = False
        for prefix, name, node in iterate_column_references(tree):
            if prefix in {self.alias, self.source} - {None}:
                continue
            if prefix not in {"", TARGET_ALIAS}:
                if self.alias is None:
                    known_prefixes = [TARGET_ALIAS]
                else:
                    known_prefixes = [TARGET_ALIAS, self.alias]
                message = f"{key_path}: {prefix!r} is not known here; use {' or '.join(known_prefixes)}"
                faults.add_error(
                    message,
                    expression_text.locate_character(offset + node.text_offset),
                    suggest_spelling(prefix, known_prefixes),
                )
            elif self._column_names is not None and name.lower() not in names_by_lower_case:
                hint = suggest_spelling(name, self._column_names) or "use the table's own columns"
                faults.add_error(
                    f"{key_path}: the table has no column {name!r}",
                    expression_text.locate_character(offset + node.text_offset),
                    hint,
                )
            else:
                continue
            has_faults = True
        if has_faults:
            return None
        return transform_tree(tree, self._qualify_column)

    def _qualify_column(self, node: Any) -> Any:
        if not isinstance(node, ColumnRef):
            return node
        prefix = ".".join(part.name for part in node.qualifier)
        # in queries, other than here, a reserved word after a dot is quoted
        name = Ident(node.name.name, quoted=node.name.quoted or node.name.name.upper() in RESERVED_WORDS)
        if prefix and prefix != self.source:
            return ColumnRef(name, node.qualifier, text_offset=node.text_offset)
        return ColumnRef(
            name,
            (Ident(self.alias if prefix and self.alias else TARGET_ALIAS, quoted=True),),
            text_offset=node.text_offset,
        )
