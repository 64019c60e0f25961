"""What rows lead to: the links of their table, asked by the one road and written in the columns of DataLink (1.1, section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, product
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql.text import literal, write
from hven.adql.tree import ColumnRef, Compare, Ident, conjuncts, transform
from hven.formats.votable import Frame, gap, resource
from hven.model.errors import TooLarge, say
from hven.model.table import (
    DATALINK,
    SITE,
    Input,
    Link,
    Service,
    format_time,
    is_time_format,
    rooted,
    written_columns,
)
from hven.model.table import kind as kind_of
from hven.model.types import STRING
from hven.services import filed
from hven.services.address import FILE, SIGNS
from hven.services.face import Surroundings
from hven.site.auth import ANONYMOUS, alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Table, Template
    from hven.site import Holdings, Site
    from hven.site.auth import Policy, Reader

COLUMNS = written_columns("""
    ID                | string  |      | meta.id;meta.main   | Identifier of the row, as it was asked for
    access_url        | string  |      | meta.ref.url        | Where it leads to
    service_def       | string  |      | meta.ref            | XML ID of the descriptor of a service
    error_message     | string  |      | meta.code.error     | Why there is no link
    description       | string  |      | meta.note           | What is there
    semantics         | string  |      | meta.code           | What it is to the row
    content_type      | string  |      | meta.code.mime      | Media type of what is there
    content_length    | int64   | byte | phys.size;meta.file | Size of what is there
    content_qualifier | string  |      |                     | Kind of product
    local_semantics   | string  |      | meta.id.assoc       | What is alike in all rows of this table
    link_auth         | string  |      | meta.code           | Whether one must log in: false, optional, true
    link_authorized   | boolean |      | meta.code           | Whether you may take it
""")
SCHEMA = pa.schema([column.arrow for column in COLUMNS])
THIS = "#this"
Value = Any  # of a link: an array, or what is the same in each row: text, truth, number, None
_WHOLE = {
    **{field.name: field.type for field in SCHEMA},
    **dict.fromkeys(("_at", "_link", "_row"), pa.int32()),
    "_path": pa.string(),
}
_MISSING = "NotFoundFault: no row of {table} has this identifier"
_GONE = "NotFoundFault: the collection has no such file (any more)"
_KEY = "_id"
_ENDING = re.compile(r"\.([^./?]+)(?:\?[^?]*)?$")
_PLAIN = {safe: rf"\A[A-Za-z0-9._~{re.escape(safe)}-]*\z" for safe in (SIGNS, "", "/")}  # what an address has as it is
PORTION = 200_000  # characters of identifiers in a query
# with their types: for a literal without one Arrow looks for pandas, each time anew, for a tenth of a millisecond
_NOTHING, _ONE = pa.scalar(None, pa.string()), pa.scalar(1, pa.int32())
_TRUE, _FALSE = (pa.scalar(one, pa.bool_()) for one in (True, False))
_TOLD = ("access_url", "error_message", "content_type", "content_length", "link_auth", "link_authorized")
_HERE = "service_here"  # XML ID in a descriptor that has none yet


def rows(
    table: Table,
    ids: Sequence[str],
    *,
    who: Reader,
    site: Site,
    policies: Sequence[Policy],
    holdings: Holdings,
    base: str,
    more: Sequence[Link] = (),
    numbered: bool = False,
) -> pa.Table:
    """Ask what rows lead to.

    Parameters
    ----------
    table
        Whose rows they are.
    ids
        Values of its identifier, or publisher's dataset identifiers (``ivo://authority/collection?value``).
    who, site, policies, holdings
        As of `hven.query.run`.
    base
        Address of the site, without a final slash.
    more
        Links besides those of the table: of faces.
    numbered
        True: with a column ``_link`` besides, the number of a link among those of the table.

    Returns
    -------
    rows
        Of `SCHEMA`; those of an identifier together and in the order of the links. Identifiers without a row, or whose row the reader
        may not know of, have one with an error. ``service_def`` is the whole descriptor, for `described`.

    Raises
    ------
    HvenError
        As of a query.
    """
    # 7 and 007 are one
    first: dict[object, tuple[str, str | int | None]] = {}
    for one in ids:
        key = _key(table, one)
        first.setdefault(("none", one) if key is None else key, (one, key))
    asked = [one for one, _ in first.values()]
    known = [key for _, key in first.values() if key is not None]
    places = {str(key): at for at, (_, key) in enumerate(first.values()) if key is not None}

    def answered(text: str, by: Reader = who) -> pa.Table:
        most = site.settings.limits.maxrec_hard
        with query.run(text, by, site=site, policies=policies, holdings=holdings, maxrec=most) as result:
            batches = [*result.batches()]
            if result.overflow:  # never a part of what a row leads to
                raise TooLarge(
                    say("there are more than {most:,} links", result.rows), remedy="ask for fewer identifiers at a time"
                )
            if not batches:
                return pa.schema([column.arrow for column in result.columns]).empty_table()
            return pa.Table.from_batches(batches)

    was = {
        one.path[:-1]: one.to.removeprefix(files)[:-1]
        for files in (f"/collections/{table.schema}/files/",)
        for one in site.settings.alias
        if one.path.endswith("/*") and one.to.startswith(files)
    }
    found: list[pa.RecordBatch] = []
    serving: list[_Serving] = []
    seen: set[int] = set()
    links = (*table.leads, *more)
    numbers = {id(link): at for at, link in enumerate(links)}
    rights = _rights(table, who, public=alike(table, who, policies))
    path = () if table.policy is None or table.policy.path is None else (f"target.{adql.quote(table.policy.path)}",)
    groups = [list(group) for _, group in groupby(sorted(links, key=_together), _together)]
    if not groups or groups[0][0].source is not None:
        groups.insert(0, [])
    for some, keys in product(groups, _portions(known)):
        names: dict[str, str] = {}
        there = _There(answered(_query(table, some, keys, names, (*rights, *path))), names, base)
        at = pa.array([places.get(str(key)) for key in there.rows[_KEY].to_pylist()], pa.int32())
        visible = None
        if not some or some[0].source is None:
            seen.update(at.to_pylist())
        else:
            visible = pc.is_in(at, value_set=pa.array(sorted(seen), pa.int32()))
        columns = []
        rows_of = pa.array(range(len(at)), pa.int32())
        for link in some:
            made = _made(link, there, (table.schema, was)) | _locks(link, there, rights, table)
            made |= {"_link": numbers[id(link)], "_at": at, "_row": rows_of}
            if path and "link_auth" in made and not link.file:
                made["_path"] = there.column(path[0])
            if link.service is not None:  # by the files that there are, which are not known yet
                serving.append(_Serving(link, link.service, there, made, at, visible))
                continue
            columns.append(made)
        if columns:
            whole = _whole(columns, len(at))
            kept = _kept(columns, len(at), visible)
            if kept.true_count:
                found.append(whole if kept.true_count == len(kept) else whole.filter(kept))
    every = None
    if found:
        (joined,) = pa.Table.from_batches(found).combine_chunks().to_batches()
        every, own = _given(joined, table, links, Surroundings.of(site, who, policies), who, holdings, base)
        served = _served(serving, own)
        if served:
            every = pa.concat_batches([*([] if every is None else [every]), *served])
    missing = [at for at in range(len(asked)) if at not in seen]
    at = pa.array(missing, pa.int32())
    lost = {
        "error_message": _MISSING.format(table=table.qualified),
        "semantics": THIS,
        "_at": at,
        "_link": 0,
        "_row": 0,
    }
    parts = [_whole([lost], len(missing))] if missing or every is None else []
    whole = pa.Table.from_batches([*parts, *([] if every is None else [every])])
    order = whole["_link"].to_pylist()
    if len(asked) > 1 or order != sorted(order):
        whole = whole.sort_by([("_at", "ascending"), ("_link", "ascending"), ("_row", "ascending")])
    said = pa.array(asked, pa.string()).take(whole["_at"].combine_chunks())
    whole = whole.set_column(whole.schema.get_field_index("ID"), "ID", said)
    return whole if numbered else pa.table([whole[name] for name in SCHEMA.names], schema=SCHEMA)


def described(found: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Take the descriptors of services out of rows, each once.

    Parameters
    ----------
    found
        As `rows` gives them, or some of them.

    Returns
    -------
    rows, resources
        With the XML IDs of descriptors as ``service_def``; and these.
    """
    services = found["service_def"].combine_chunks().dictionary_encode()
    if not len(services.dictionary):
        return found, ()
    named = [f"service_{number}" for number in range(1, len(services.dictionary) + 1)]
    every = zip(services.dictionary.to_pylist(), named, strict=True)
    return (
        found.set_column(2, SCHEMA.field("service_def"), pa.array(named, pa.string()).take(services.indices)),
        tuple(text.replace(_HERE, name, 1) for text, name in every),
    )


def lists(found: pa.Table, base: str) -> dict[str, dict[str, int]]:
    """Find rows that lead to lists of links here, as those of observations do.

    Parameters
    ----------
    found
        As `rows` gives them.
    base
        Address of the site, as its views write it.

    Returns
    -------
    lists
        Table, as addresses name it -> identifier -> the row.
    """
    begin, led = f"{base}/datalink/", dict[str, dict[str, int]]()
    pairs = zip(*(found[name].to_pylist() for name in ("access_url", "content_type")), strict=True)
    for at, (address, kind) in enumerate(pairs):
        if kind == DATALINK and (address or "").startswith(begin):
            table, _, ident = address.removeprefix(begin).partition("?ID=")
            led.setdefault(unquote(table), {})[unquote(ident)] = at
    return led


def followed(found: pa.Table, base: str, ask: Callable[[str, list[str]], pa.Table]) -> pa.Table:
    """Put in place of rows that lead to a list of links what stands in it, so that nobody is sent from one list to the next.

    Parameters
    ----------
    found, base
        As of `lists`.
    ask
        Asks what rows of a table lead to.

    Returns
    -------
    rows
        With the identifiers that were asked for.
    """
    led = lists(found, base)
    places = pa.array([at for some in led.values() for at in some.values()], pa.int32())
    order = pa.array(range(found.num_rows), pa.int32())
    kept = pc.invert(pc.is_in(order, value_set=places))
    parts = [found.append_column("_at", order).filter(kept)]
    for name, some in led.items():
        there = ask(name, list(some))
        at = pa.array([some.get(one) for one in there["ID"].to_pylist()], pa.int32())
        there = there.set_column(there.schema.get_field_index("ID"), "ID", found["ID"].combine_chunks().take(at))
        parts.append(there.append_column("_at", at))
    whole = pa.concat_tables(parts)
    whole = whole.append_column("_nth", pa.array(range(whole.num_rows), pa.int32()))
    return whole.sort_by([("_at", "ascending"), ("_nth", "ascending")]).select(found.column_names)


class _There:
    """What was asked for some links: rows, the names of their columns by what these were asked as, and the texts that are made of them."""

    def __init__(self, rows: pa.Table, names: Mapping[str, str], base: str) -> None:
        self.rows, self.names, self.base = rows, names, base
        self._each: dict[tuple[str, str, str | None], pa.Array] = {}  # several links have the same file

    def column(self, text: str) -> pa.Array:
        return self.rows[self.names[text]].combine_chunks()

    def value(self, template: Template, *, address: bool = False) -> Value:
        """Fill a template: one text, if it is the same for all rows."""
        fixed = _fixed(template, self.base)
        return fixed if fixed is not None or not template else self.texts(template, address=address)

    def texts(self, template: Template, *, address: bool = False) -> pa.Array:
        """Fill a template for each row; null where one of its values is."""
        fixed = _fixed(template, self.base)
        if fixed is not None or not template:
            return pa.array([fixed] * self.rows.num_rows, pa.string())
        parts: list[Any] = []
        query = False
        for at, part in enumerate(template):
            if isinstance(part, str):
                parts.append(_said(part))
                query = query or "?" in part
            elif part == SITE:
                parts.append(_said(self.base))
            else:
                key = part.text, part.spec, None if not address else SIGNS if at == 0 else "" if query else "/"
                if key not in self._each:
                    self._each[key] = _each(self.column(part.text), *key[1:])
                parts.append(self._each[key])
        if len(parts) == 1:
            return parts[0]
        return pc.binary_join_element_wise(*parts, _said(""))


@dataclass(frozen=True, slots=True)
class _Serving:
    """A service of rows: it is described when it is known which files of theirs may be had."""

    link: Link
    service: Service
    there: _There
    made: dict[str, Value]
    at: pa.Array
    visible: pa.Array | None


def _served(serving: Sequence[_Serving], own: Mapping[int, tuple[str, str]]) -> list[pa.RecordBatch]:
    """Make the rows of services; `own`: the row's own file and whether one must log in for it, by the place of its identifier."""
    looked: dict[str, Any] = {}
    found = []
    for _, group in groupby(serving, key=lambda one: id(one.there)):
        some = list(group)
        for one in some:
            if one.link.narrowed is not None:
                auth = [own[at][1] if at in own else None for at in one.at.to_pylist()]
                one.made.update(link_auth=pa.array(auth, pa.string()), link_authorized=True)
            one.made["service_def"] = _services(one, own, looked)
        columns = [one.made for one in some]
        kept = _kept(columns, len(some[0].at), some[0].visible)
        if kept.true_count:
            found.append(_whole(columns, len(some[0].at)).filter(kept))
    return found


def _services(serving: _Serving, own: Mapping[int, tuple[str, str]], looked: dict[str, Any]) -> pa.Array:
    """Describe a service for each row; null where an address, or what is always sent, is not known."""
    link, service, made, at = serving.link, serving.service, serving.made, serving.at
    there, base = serving.there, serving.there.base

    def filled(template: Template, *, address: bool = False) -> list[str | None]:
        return _listed(there.value(template, address=address), there.rows.num_rows)

    addresses = filled(service.address, address=True)
    own_values = service.varying
    values = {at: [filled(template) for template in _values(service.inputs[at])] for at in own_values}
    name = link.semantics.rpartition("#")[2]
    if all(isinstance(part, str) for part in link.local):  # the name is the descriptor's, not the row's
        name = "".join(map(str, link.local)) or name
    steady = _fixed(service.address, base) is not None
    told_of = (_listed(made[name], len(at)) for name in ("description", "content_type"))
    about = zip(*told_of, at.to_pylist(), strict=True)
    frames: dict[tuple[bool, ...], Frame] = {}
    found: list[str | None] = []
    for row, (address, (description, kind, place_of_row)) in enumerate(zip(addresses, about, strict=True)):
        inputs, told = list(service.inputs), [description or "", kind or ""]
        lost = address is None
        for place in own_values:
            one, here = service.inputs[place], [column[row] for column in values[place]]
            lost = lost or bool(one.value and here[0] is None)
            told += [text or "" for text in here]
            inputs[place] = _filled(one, here)
        # written out: `replace` costs a list of a thousand rows a tenth of its time
        fit = None if lost else Service(address=(str(address),), inputs=tuple(inputs), standard=service.standard, registered=service.registered)  # fmt: skip
        if fit is not None and link.narrowed is not None:
            fit = link.narrowed(fit, own[place_of_row][0] if place_of_row in own else None, looked)
        if fit is None:
            found.append(None)
            continue
        if not (
            steady and len(fit.inputs) == len(inputs) and all(map(is_, fit.inputs, inputs))
        ):  # it has bounds of its own
            found.append(resource(fit, ident=_HERE, name=name, description=told[0], kind=told[1]))
            continue
        form = tuple(map(bool, told))
        frame = frames.get(form)
        if frame is None:
            gaps = [gap(number) if text else None for number, text in enumerate(told)]
            for number, place in enumerate(own_values):
                inputs[place] = _filled(service.inputs[place], gaps[2 + 4 * number : 6 + 4 * number])
            text = resource(replace(fit, inputs=tuple(inputs)), ident=_HERE, name=name, description=gaps[0] or "", kind=gaps[1] or "")  # fmt: skip
            frame = frames[form] = Frame(text)
        found.append(frame.filled(told))
    return pa.array(found, pa.string())


def _values(one: Input) -> tuple[Template, ...]:
    return one.value, one.low, one.high, one.example


def _filled(one: Input, texts: Sequence[str | None]) -> Input:
    value, low, high, example = (() if text is None else (str(text),) for text in texts)
    return Input(param=one.param, value=value, low=low, high=high, example=example)


def _together(link: Link) -> tuple[str, str, str]:
    return link.source or "", link.where or "", link.order or ""


def _key(table: Table, asked: str) -> str | int | None:
    """Read an identifier; None: no row can have it."""
    kind = table.identifier.type if table.identifier is not None else STRING
    text = asked.partition("?")[2] if asked.startswith("ivo://") and f"/{table.schema}?" in asked else asked
    if kind.is_string:
        return text
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 19 else None


def _portions(keys: Sequence[Any]) -> list[list[Any]]:
    """Cut identifiers into as many queries as their texts need."""
    found: list[list[Any]] = []
    left = 0
    for key in keys:
        if left <= 0:
            found.append([])
            left = PORTION
        found[-1].append(key)
        left -= len(str(key)) + 4
    return found


def _rights(table: Table, who: Reader, *, public: bool) -> tuple[str, str]:
    """Write whether everybody, and whether a reader, may take a row's files, as 1 or 0."""
    if table.rights is None:
        return "1" if public else "0", "1"
    found = []
    for one in (ANONYMOUS, who):
        condition = table.rights.takes(one)
        found.append("1" if condition is None else _truth(write(transform(condition, _of_target))))
    return found[0], found[1]


def _of_target(node: Any) -> Any:
    return ColumnRef(Ident(node.name.name, quoted=True), (Ident("target"),)) if isinstance(node, ColumnRef) else node


def _locks(link: Link, there: _There, rights: tuple[str, str], table: Table) -> dict[str, Value]:
    """Say of links to the row's own files whether one must log in, and whether this reader may take them."""
    if not link.file and link.narrowed is None:
        said = (link.address, *(() if link.service is None else link.service.templates))
        taken = {hole.text.replace('"', "") for template in said for hole in template if not isinstance(hole, str)}
        if taken.isdisjoint(f"target.{name}" for name in table.telling):
            return {}
    everybody, theirs = (pc.equal(there.column(text), _ONE) if text in there.names else text == "1" for text in rights)
    if isinstance(everybody, bool):
        return {"link_auth": "false" if everybody else "true", "link_authorized": theirs}
    return {"link_auth": pc.if_else(everybody, _said("false"), _said("true")), "link_authorized": theirs}


@lru_cache(maxsize=64)
def _ours(bases: frozenset[str]) -> Callable[[str], re.Match[str] | None]:
    """Return what finds the parts of addresses of files here."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(bases)))}){FILE}").match


def _given(
    every: pa.RecordBatch,
    table: Table,
    links: Sequence[Link],
    around: Surroundings,
    who: Reader,
    holdings: Holdings,
    base: str,
) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
    """Ask of each file that is led to, or that something is made of, what its address asks: nothing else is offered than what can be had.

    Returns
    -------
    rows
        Without those to files that the reader may not know of; with media types and sizes, whether one must log in, whether they may take it, and an
        error in place of the address of what is not there.
    own
        Place of an identifier -> the path of the row's own file, that the reader may take, and its ``link_auth``.
    """
    made = dict(zip(every.schema.names, every.columns, strict=True))
    match = _ours(holdings.written | {base, around.site.settings.url})
    addresses, hints = made["access_url"].to_pylist(), made["_path"].to_pylist()
    matches = [None if one is None else match(one) for one in addresses]
    if not any(matches) and made["_path"].null_count == every.num_rows:
        return every, {}
    # the file of each row: its collection and path
    files = [
        (table.schema, hint) if one is None else (_unquoted(one["collection"]), _unquoted(one["path"]))
        for one, hint in zip(matches, hints, strict=True)
    ]
    wanted: dict[str, dict[str, None]] = {}
    for name, path in files:
        if path is not None:
            wanted.setdefault(name, {})[path] = None
    known = {
        (name, path): state
        for name, some in wanted.items()
        for path, state in _states(around, who, name, [*some], holdings)
    }
    states = [known.get(one) for one in files]
    columns = {name: made[name].to_pylist() for name in _TOLD}
    kept, own, faces, filed_at = [True] * len(files), dict[int, tuple[str, str]](), len(table.leads), set[int]()
    numbers, places = made["_link"].to_pylist(), made["_at"].to_pylist()
    for row, (one, state) in enumerate(zip(matches, states, strict=True)):
        if state is None:
            continue
        if one is not None and state.auth is None:
            # of what is made of a file that is lost this is not told once more
            kept[row] = not state.hidden and numbers[row] < faces
            columns["access_url"][row], columns["error_message"][row] = None, _GONE
            continue
        if state.auth is not None:
            columns["link_auth"][row], columns["link_authorized"][row] = state.auth, state.may
        if one is not None and one["what"] == "files":
            columns["content_type"][row] = columns["content_type"][row] or state.kind
            if columns["content_length"][row] is None:
                columns["content_length"][row] = state.size
            columns["access_url"][row] = state.direct or columns["access_url"][row]
        link = links[numbers[row]]
        if link.file and state.may:
            filed_at.add(places[row])
            if link.semantics == THIS:
                own.setdefault(places[row], (files[row][1], str(state.auth)))
    for row in (row for row, number in enumerate(numbers) if links[number].packed):
        kept[row] = kept[row] and places[row] in filed_at
    made |= {name: pa.array(columns[name], _WHOLE[name]) for name in _TOLD}
    batch = pa.RecordBatch.from_arrays([made[name] for name in _WHOLE], names=list(_WHOLE))
    return batch if all(kept) else batch.filter(pa.array(kept)), own


class _State(NamedTuple):
    """What there is of a file for a reader: ``auth`` None: nothing, or it is hidden from them."""

    auth: str | None
    may: bool
    hidden: bool
    kind: str | None = None
    size: int | None = None
    direct: str | None = None


def _states(
    around: Surroundings, who: Reader, name: str, paths: Sequence[str], holdings: Holdings
) -> Iterator[tuple[str, _State]]:
    """Yield of files of a collection what they are, where they are if another server gives them, who may take them, and know of them."""
    known = everybodys = filed.told(around, who, name, paths, holdings)
    if not who.anonymous and (known.named or not known.listed or not alike(known.listed[0][0], who, around.policies)):
        everybodys = filed.told(around, ANONYMOUS, name, paths, holdings)
    free = {path for _, rows_of in everybodys.listed for path in rows_of["path"].to_pylist()}
    for files, rows_of in known.listed:
        facts = (rows_of[column].to_pylist() for column in ("path", "media_type", "bytes", "url"))
        elsewhere = any(root.direct for root in files.roots)
        for path, kind, size, url in zip(*facts, strict=True):
            direct = url if elsewhere and rooted(path, files.roots)[0].direct else None
            yield path, _State("false" if path in free else "true", True, False, kind, size, direct)
    there = {path for _, rows_of in known.listed for path in rows_of["path"].to_pylist()}
    for path in paths:
        if path not in there:
            yield path, _State("true" if path in known.shut else None, False, path in known.unseen)


def _unquoted(text: str) -> str:
    return text if "%" not in text else unquote(text)


def _query(
    table: Table, links: Sequence[Link], keys: Sequence[str | int], names: dict[str, str], rights: Sequence[str]
) -> str:
    """Write what asks for all that some links are made of; `names` takes expression -> column."""
    assert table.identifier is not None  # noqa: S101  (tables without one have no links)
    key = f"target.{adql.quote(table.identifier.name)}"
    items = [f'{key} AS "{_KEY}"']

    def item(text: str) -> None:
        if text not in names:
            names[text] = f"_{len(names)}"
            items.append(f'{text} AS "{names[text]}"')

    for text in rights:
        if text not in {"0", "1"}:  # which nobody need compute
            item(text)
    for link in links:
        for text in link.asked:
            item(text)
        if link.condition is not None:
            item(_truth(link.condition))
    first = links[0] if links else None
    listed = f"= {literal(keys[0])}" if len(keys) == 1 else f"IN ({', '.join(map(literal, keys))})"
    text, where = f" FROM {_named(table.qualified, table)} AS target", f"{key} {listed}"
    if first is not None and first.source is not None and first.where is not None:
        other = f"{_named(first.source)} AS {adql.quote(first.alias or '')}"
        equal, rest = _equal(first.where, table.identifier.name)
        if equal and not rest and not any("target." in item for item in (*items[1:], first.order or "")):
            # the row is asked for by other links: nothing is to be joined
            items[0], text, where = f'{equal[0]} AS "{_KEY}"', f" FROM {other}", f"{equal[0]} {listed}"
        else:
            # said of the other table as well, whose index then finds its rows
            text += f" JOIN {other} ON {first.where}"
            where = " AND ".join([where, *(f"{column} {listed}" for column in equal)])
    text = f"SELECT {', '.join(items)}{text} WHERE {where}"
    return text + (f" ORDER BY {first.order}" if first is not None and first.order else "")


@lru_cache(maxsize=1024)
def _equal(where: str, key: str) -> tuple[list[str], bool]:
    """List columns of the other table that are the row's identifier, by the condition that joins them; and whether it says more."""
    found, rest = [], False
    for part in conjuncts(adql.parse_condition(where)):
        sides = (part.left, part.right) if isinstance(part, Compare) and part.op == "=" else ()
        columns = [write(side) for side in sides if isinstance(side, ColumnRef)]
        others = [column for column in columns if column.replace('"', "") != f"target.{key}"]
        if len(columns) == 2 and len(others) == 1 and not others[0].replace('"', "").startswith("target."):
            found.append(others[0])
        else:
            rest = True
    return found, rest or len(found) > 1


def _truth(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


def _named(qualified: str, table: Table | None = None) -> str:
    schema, _, name = (table.schema, "", table.name) if table is not None else qualified.rpartition(".")
    return f"{adql.quote(schema)}.{adql.quote(name)}"


def _made(link: Link, there: _There, files: tuple[str, Mapping[str, str]]) -> dict[str, Value]:
    """Make the columns of a link; `files`: the collection of its files, what old addresses of them begin with -> what their paths do."""
    address: Value
    if link.file:
        file = _renamed(there.texts(link.address), files[1])
        begin = f"{there.base}/collections/{quote(files[0])}/files/"
        address = pc.binary_join_element_wise(begin, _each(file, "", "/"), "")
    else:
        address = there.value(link.address, address=True)
    kind = there.value(link.type)
    if link.endings:  # fewer steps than in Arrow, where each is dear for a row
        known, texts = dict(link.endings), _listed(address, there.rows.num_rows)
        ends = (None if text is None else _ENDING.search(text.lower()) for text in texts)
        kind = [None if end is None else known.get(end[1]) for end in ends]
        address = pa.array([text if one else None for text, one in zip(texts, kind, strict=True)], pa.string())
        kind = pa.array(kind, pa.string())
    if link.suits is not None:
        texts = _listed(address, there.rows.num_rows)
        suited = zip(texts, link.suits(texts), strict=True)
        address = pa.array([text if suits else None for text, suits in suited], pa.string())
    made = {
        "access_url": address,
        "description": there.value(link.description),
        "semantics": link.semantics,
        "content_type": kind,
        "content_length": _numbers(there.texts(link.size)) if link.size else None,
        "content_qualifier": _kinds(there.value(link.qualifier)),
        "local_semantics": there.value(link.local),
    }
    if link.condition is not None:
        made["_if"] = pc.equal(there.column(_truth(link.condition)), _ONE)
    return made


def _kinds(texts: Value) -> Value:
    """Say kinds of products in DataLink's words, each distinct one once."""
    if texts is None or isinstance(texts, str):
        return kind_of(texts)
    if texts.null_count == len(texts):
        return None
    coded = texts.dictionary_encode()
    return pa.array([kind_of(text) for text in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)


def _renamed(files: pa.Array, was: Mapping[str, str]) -> pa.Array:
    """Make paths of old addresses of files (`alias`), each distinct one once."""
    if not was:
        return files
    coded = files.dictionary_encode()

    def path(text: str) -> str:
        begin = max((one for one in was if text.startswith(one)), key=len, default=None)
        return text if begin is None else was[begin] + unquote(text[len(begin) :])

    return pa.array([None if text is None else path(text) for text in coded.dictionary.to_pylist()], pa.string()).take(
        coded.indices
    )


def _kept(columns: Sequence[Mapping[str, Value]], rows: int, visible: pa.Array | None) -> pa.Array:
    """Tell which rows of some links there are: they lead somewhere, their condition is met, and the reader may know of their row (None: of all)."""
    leads = _joined([made.get("service_def", made["access_url"]) for made in columns], rows, pa.string())
    meets = [made.get("_if", True) for made in columns]
    kept = pc.is_valid(leads)
    if visible is not None:
        kept = pc.and_(kept, pa.concat_arrays([visible] * len(columns)))
    if all(one is True for one in meets):
        return kept
    return pc.fill_null(pc.and_(kept, _joined(meets, rows, pa.bool_())), _FALSE)


def _listed(value: Value, rows: int) -> list[Any]:
    return value.to_pylist() if isinstance(value, pa.Array) else [value] * rows


def _array(value: Value, rows: int, kind: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array):
        return value if value.type == kind else value.cast(kind)
    return pa.nulls(rows, kind) if value is None else pa.array([value] * rows, kind)


def _joined(values: Sequence[Value], rows: int, kind: pa.DataType) -> pa.Array:
    """Put the column of some links below each other; what is the same in all rows of a link costs next to nothing."""
    if len(values) == 1:
        return _array(values[0], rows, kind)
    if not any(isinstance(one, pa.Array) for one in values):
        return pa.array([one for one in values for _ in range(rows)], kind)
    return pa.concat_arrays([_array(one, rows, kind) for one in values])


@lru_cache(maxsize=4096)
def _fixed(template: Template, base: str) -> str | None:
    """Return the text of a template that is the same for all rows; None: it is not, or there is none."""
    if not template or not all(isinstance(part, str) or part == SITE for part in template):
        return None
    return "".join(part if isinstance(part, str) else base for part in template)


@lru_cache(maxsize=1024)
def _said(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.string())


def _numbers(texts: pa.Array) -> pa.Array:
    """Read whole numbers; what is none is not known."""
    return pc.cast(pc.if_else(pc.match_substring_regex(texts, r"^\d{1,18}$"), texts, _NOTHING), pa.int64())


def _each(values: pa.Array, spec: str, safe: str | None) -> pa.Array:
    """Write values as text, each distinct one once; `safe`: as a part of an address, with these characters left as they are."""
    if (
        not spec
        and pa.types.is_string(values.type)
        and (safe is None or pc.all(pc.match_substring_regex(values, _PLAIN[safe]), min_count=0).as_py())
    ):
        return values
    coded = values.dictionary_encode()

    def written(value: Any) -> str | None:
        text: str | None
        if spec and is_time_format(spec):
            text = format_time(value, spec)
        elif spec:
            text = format(value, spec)
        else:
            text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
        return text if safe is None or text is None else quote(text, safe=safe)

    words = [None if value is None else written(value) for value in coded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(coded.indices)


def _whole(links: Sequence[Mapping[str, Value]], rows: int) -> pa.RecordBatch:
    """Put the rows of some links below each other: with the columns that are missing, in one order and type."""
    nulls: dict[pa.DataType, pa.Array] = {}
    columns = []
    for name, kind in _WHOLE.items():
        values = [one.get(name) for one in links]
        if all(one is None for one in values):
            nulls[kind] = column = nulls[kind] if kind in nulls else pa.nulls(rows * len(links), kind)
        else:
            column = _joined(values, rows, kind)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=list(_WHOLE))
