"""Links of a table's rows (DataLink 1.1): templates and conditions over the row, and over the rows of another table that go with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as quoted

from hven.adql import parse_expression
from hven.adql.reserved import RESERVED
from hven.adql.text import literal, quote, write
from hven.adql.tree import Cast, ColumnRef, Ident, transform
from hven.adql.vocabularies import vocabularies
from hven.descriptor._column_expressions import Hole, expression, holes, inner, references
from hven.descriptor._columns import param
from hven.descriptor._derived_links import derived
from hven.descriptor._expression_names import written
from hven.descriptor._value_trees import formatted
from hven.descriptor.written import Written
from hven.model.errors import nearest
from hven.model.params import Param
from hven.model.resource import Setting
from hven.model.table import SITE as SITE_URL
from hven.model.table import TARGET, Input, Link, Service, drawn
from hven.model.table import Hole as Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Expr
    from hven.descriptor._inherited import Inherited
    from hven.descriptor.value_schema import Faults, Fields
    from hven.model.errors import Place
    from hven.model.table import Table, Template

SITE = ("url", "name", "title", "authority")


def links(what: str, fields: Fields, names: Sequence[str] | None, around: Inherited, faults: Faults) -> Iterator[Link]:
    """Read ``links`` of a table, whose columns may not be known yet (None); what has a fault is left out."""
    for number, item in enumerate(fields.get("links", ()), 1):
        where = f"{what}.links[{number}]"
        if sum(key in item for key in ("semantics", "derived", "series")) != 1:
            remedy = (
                "semantics: preview; derived: {by: [obs_id]} for what rows were made from; series: the id of a data set"
            )
            message = f"{where}: one of semantics, derived and series says what it is to the row"
            faults.error(message, item.place, remedy)
            continue
        if "series" in item:  # which their faces lead to
            for key in item.keys() - {"series"}:
                faults.error(f"{where}.{key}: series says it", item.places[key], "leave one of them out")
            continue
        name = what.partition(".")[2]
        every = derived(where, name, item, names, around, faults) if "derived" in item else [item]
        for one in every:
            made = _link(where, one, names, around, faults)
            if made is not None:
                yield made


def leading(table: Table, around: Inherited, place: Place) -> dict[str, Setting]:
    """Fill EPN-TAP's ``datalink_url`` and ``thumbnail_url``, where nothing else does: with the address of a row's links, and of the picture of its file."""
    key, base, made = table.identifier, around.site["url"], {}
    wanted = {one.name for one in table.columns} if table.links else set()
    if key is not None and "datalink_url" in wanted:
        value = f"CAST({TARGET}.{quote(key.name)} AS VARCHAR)"
        made["datalink_url"] = f"'{base}/datalink/{table.qualified}?ID=' || URL_ENCODE({value})"
    own = next(iter(table.own_files), None)
    if own is not None and "thumbnail_url" in wanted:
        made["thumbnail_url"] = _picture(own, f"{base}/collections/{quoted(table.schema)}/preview/")
    return {
        name: Setting(column=name, how="map", value=written(text, place), place=place) for name, text in made.items()
    }


def _picture(link: Link, begin: str) -> str:
    """Write the address of the picture of a file, for those whose names say that they can be drawn."""

    def text(part: str | Value) -> str:
        if isinstance(part, str):
            return literal(part)
        tree = parse_expression(part.text)
        return write(formatted(tree, part.spec) if part.spec else Cast(tree, "VARCHAR"))

    path = " || ".join(map(text, link.address))
    known = "|".join(map(re.escape, drawn()))
    shown = f"REGEXP_REPLACE(LOWER({path}), '^.*({known})$', '') = '' AND ({link.condition or '1 = 1'})"
    return f"CASE WHEN {shown} THEN {literal(begin)} || URL_PATH({path}) || '?size=200' END"


def only_targets(value: Written, tree: Any, where: str, names: Sequence[str], faults: Faults) -> None:
    """Refuse names in a condition that the table itself has not."""
    folded = {name.lower() for name in names}
    for prefix, name, node in references(tree):
        if prefix not in {"", TARGET} or name.lower() not in folded:
            hint = nearest(name, names) or "conditions here see the table's own columns"
            faults.error(f"{where}: the table has no column {name!r}", value.at(node.at), hint)


def _link(where: str, item: Fields, names: Sequence[str] | None, around: Inherited, faults: Faults) -> Link | None:
    before = len(faults.found)
    over = Over(names, item.get("from"), around)
    if sum(key in item for key in ("text", "file", "service")) != 1:
        faults.error(
            f"{where}: one of text, file and service says where it leads to",
            item.place,
            "text: an address; file: the path of a file of the collection; service: one that takes values of the row",
        )
    if "file" in item and not around.files:
        remedy = "add files: data/*, or write text: and an address"
        faults.error(f"{where}.file: the collection publishes no files", item.places["file"], remedy)
    for key in ("where", "order"):
        if over.alias is None and key in item:
            remedy = "name the other table: from: previews"
            faults.error(f"{where}.{key}: it goes with 'from'", item.places[key], remedy)
            return None
    if over.alias is not None and "where" not in item:
        faults.error(
            f"{where}.from: it is not said which of its rows go with a row",
            item.places["from"],
            f"where: {over.alias}.obs_id = target.obs_id",
        )
    said = {
        key: over.template(item[key], f"{where}.{key}", faults)
        for key in ("text", "file", "type", "size", "description", "qualifier", "local")
        if key in item
    }
    service = _service(item["service"], f"{where}.service", over, faults) if "service" in item else None
    conditions = {
        key: over.expression(item[key], f"{where}.{key}", faults, condition=key != "order")
        for key in ("if", "where", "order")
        if key in item
    }
    semantics = _semantics(item["semantics"], f"{where}.semantics", faults) if "semantics" in item else ""
    if said.get("qualifier"):
        said["qualifier"] = _qualifier(said["qualifier"], item["qualifier"], f"{where}.qualifier", faults)
    if len(faults.found) > before or not semantics:
        return None
    return Link(
        semantics=semantics,
        address=said.get("text", said.get("file", ())),
        file="file" in item,
        type=said.get("type", ()),
        size=said.get("size", ()),
        description=said.get("description", ()),
        qualifier=said.get("qualifier", ()),
        local=said.get("local", ()),
        condition=conditions.get("if"),
        source=over.source,
        alias=over.alias,
        where=conditions.get("where"),
        order=conditions.get("order"),
        service=service,
        places=dict(item.places),
    )


def _service(said: Fields, where: str, over: Over, faults: Faults) -> Service:
    """Read a service: its address, what is always sent to it, and what people fill in."""

    def filled(fields: Fields, key: str, what: str) -> Template:
        return over.template(fields[key], f"{what}.{key}", faults) if key in fields else ()

    inputs = []
    for name, one in said.get("params", {}).items():
        what = f"{where}.params.{name}"
        if "value" in one and not {"minimum", "maximum", "values", "example"}.isdisjoint(one):
            remedy = "leave out value, or the bounds, values and examples of what people fill in"
            faults.error(f"{what}: a value that is always sent has no bounds", one.places["value"], remedy)
        words = {key: one[key] for key in ("type", "unit", "ucd", "utype", "description") if key in one}
        made = param(str(name), words, what, faults)  # type: ignore[arg-type]
        inputs.append(
            Input(
                param=Param(
                    name=made.name,
                    type=made.type,
                    unit=made.unit,
                    ucd=made.ucd,
                    utype=made.utype,
                    description=made.description,
                    allowed=tuple(map(str, one.get("values", ()))),
                ),
                value=filled(one, "value", what),
                low=filled(one, "minimum", what),
                high=filled(one, "maximum", what),
                example=filled(one, "example", what),
            )
        )
    return Service(
        address=filled(said, "url", where),
        inputs=tuple(inputs),
        standard=str(said["standard"]) if "standard" in said else None,
        registered=str(said["registered"]) if "registered" in said else None,
    )


def _semantics(said: Written, where: str, faults: Faults) -> str:
    return _word(said, "datalink/core", f"{where}: DataLink's vocabulary has no", faults)


def _qualifier(made: Template, said: Written, where: str, faults: Faults) -> Template:
    """Read a word of the vocabulary of kinds of products; one that a row says is known when it is read."""
    whole = all(isinstance(part, str) for part in made)
    return (_word(said, "product-type", f"{where}: the vocabulary product-type has no", faults),) if whole else made


def _word(said: Written, vocabulary: str, wrong: str, faults: Faults) -> str:
    """Read a word of a vocabulary, with or without its ``#``, or the address of a word of another one."""
    text = str(said)
    if "://" in text:
        return text
    terms = vocabularies()[vocabulary]
    word = text.removeprefix("#")
    if word not in terms:
        hint = (
            nearest(word, terms) or f"known: {', '.join(terms)}; or the whole address of a word of another vocabulary"
        )
        faults.error(f"{wrong} {text!r}", said.place, hint)
    return f"#{word}"


class Over:
    """What expressions of a link may name: the row, and one of another table."""

    def __init__(self, names: Sequence[str] | None, source: Written | None, around: Inherited) -> None:
        self._names, self._around = names, around
        schema, _, name = ("", "", None) if source is None else str(source).rpartition(".")
        self.alias = name
        self.source = None if name is None else f"{schema or around.schema}.{name}"

    def template(self, said: Written, where: str, faults: Faults) -> Template:
        """Cut a template into texts and expressions; constants become text."""
        parts: list[str | Value] = []
        for part in holes(said, where, faults):
            if isinstance(part, str):
                parts.append(part)
                continue
            prefix, _, rest = part.text.partition(".")
            if part.name is not None and prefix == "site" and rest:
                if rest not in SITE:
                    hint = f"known: {', '.join('site.' + key for key in SITE)}"
                    faults.error(f"{where}: no {part.text}", said.at(part.offset), hint)
                # the address of the site is that at which it is asked
                parts.append(SITE_URL if rest == "url" else self._around.site.get(rest, ""))
            elif part.text in self._around.constants:
                parts.append(str(self._around.constants[part.text]))
            elif (tree := self._hole(said, part, where, faults)) is not None:
                parts.append(Value(write(tree), part.spec))
        return tuple(parts)

    def _hole(self, said: Written, hole: Hole, where: str, faults: Faults) -> Expr | None:
        if hole.name is not None and "." not in hole.name:
            known = [*self._around.constants, *(f"{TARGET}.{name}" for name in self._names or ())]
            hint = f"write {{target.{hole.text}}}" if hole.text in (self._names or ()) else nearest(hole.text, known)
            also = "" if self.alias is None else f", {{{self.alias}.column}}"
            faults.error(
                f"{where}: no {hole.text!r} here; links know {{target.column}}{also}, {{site.url}} and constants",
                said.at(hole.offset),
                hint,
            )
            return None
        tree = inner(said, hole, where, faults)
        return None if tree is None else self._checked(tree, said, where, faults, hole.offset)

    def expression(self, said: Written, where: str, faults: Faults, *, condition: bool) -> str | None:
        """Check an expression, and write it as it stands in a query over both tables."""
        way = "" if condition else next((word for word in (" DESC", " ASC") if said.upper().endswith(word)), "")
        text = Written(said[: len(said) - len(way)], said.page, said.start, said.end, said.style)
        tree = expression(text, where, faults, condition=condition)
        tree = None if tree is None else self._checked(tree, text, where, faults)
        return None if tree is None else write(tree) + way

    def _checked(self, tree: Expr, said: Written, where: str, faults: Faults, offset: int = 0) -> Expr | None:
        folded: Mapping[str, str] = {name.lower(): name for name in self._names or ()}
        wrong = False
        for prefix, name, node in references(tree):
            if prefix in {self.alias, self.source} - {None}:
                continue
            if prefix not in {"", TARGET}:
                known = [TARGET] if self.alias is None else [TARGET, self.alias]
                message = f"{where}: no {prefix!r} here; there is {' and '.join(known)}"
                faults.error(message, said.at(offset + node.at), nearest(prefix, known))
            elif self._names is not None and name.lower() not in folded:
                hint = nearest(name, self._names) or "links see the table's own columns"
                faults.error(f"{where}: the table has no column {name!r}", said.at(offset + node.at), hint)
            else:
                continue
            wrong = True
        return None if wrong else transform(tree, self._qualified)

    def _qualified(self, node: Any) -> Any:
        if not isinstance(node, ColumnRef):
            return node
        prefix = ".".join(part.name for part in node.qualifier)
        # in queries, other than here, a reserved word after a dot is quoted
        name = Ident(node.name.name, quoted=node.name.quoted or node.name.name.upper() in RESERVED)
        if prefix and prefix != self.source:
            return ColumnRef(name, node.qualifier, at=node.at)
        return ColumnRef(name, (Ident(self.alias if prefix and self.alias else TARGET, quoted=True),), at=node.at)
