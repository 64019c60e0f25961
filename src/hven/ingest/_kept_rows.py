"""The rows that were pushed into a table, as they lie in its journal: found by key, and made anew by what is sent."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.tables import PUSH
from hven.ingest._casting import convert
from hven.ingest._filling import look
from hven.ingest._ledger import identity
from hven.ingest._pieces import Pieces
from hven.model import plugins
from hven.model.errors import Conflict, DescriptorError, NotFound, ParamError, SourceError, Unavailable, say
from hven.sources import GONE, Context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site

AT, ORDER = "hven:at", "hven:order"


class Taken(Conflict):
    """A key that is there, or a token that was used."""


class Kept:
    """The rows of a journal.

    Attributes
    ----------
    key
        The columns that name a row, in the order of the table's primary key.
    schema
        Columns as they are declared now, and `GONE`.
    ids
        The column whose values are given where a client sends none; None: there is none.
    top
        Largest number that was given.
    """

    def __init__(self, site: Site, resource: Resource, spec: TableSpec, source: SourceSpec) -> None:
        module = plugins.load("sources", PUSH)
        self._options = module.Options.model_validate(dict(source.options))
        self._cast, self._fold = module.cast, module.fold
        self.schema: pa.Schema = self._options.schema
        self.ids: str | None = self._options.ids
        journal = Pieces(site.store.pushes, spec.table.qualified)
        context = Context(directory=resource.path.parent, journal=journal)
        try:
            (entry,) = look(replace(spec, sources=(source,)), resource, context)
        except (SourceError, DescriptorError) as error:
            raise Unavailable(
                say("{table} takes no rows now: {message}", spec.table.qualified, error.message),
                remedy="its owner is to look at hven check",
            ) from error
        table = entry.mapping.table
        made = {column.name: column.origins for column in table.columns}
        known = {*identity(entry, table)}
        self.key = [name for name in dict.fromkeys(one for key in table.primary for one in made[key]) if name in known]
        self._pieces = [self._cast(piece, self._options) for piece in journal.pieces() or ()]
        self.top = site.store.pushes.top(spec.table.qualified)

    def folded(self, parts: Sequence[pa.Table], lowest: bool) -> pa.Table:
        """Make one piece of several; what went need not be kept in the lowest."""
        rows = self._fold([self._cast(part, self._options) for part in parts], self.key, self.schema)
        return rows.filter(pc.invert(rows.column(GONE))) if lowest else rows

    def there(self, keys: pa.Table) -> tuple[pa.Table, Any]:
        """Find the rows of some keys, in the order of the keys; and which keys have none."""
        first = self.key[0]
        values = keys.column(first).combine_chunks()
        some = [piece.filter(pc.is_in(piece.column(first), value_set=values)) for piece in self._pieces]
        rows = self._fold([piece for piece in some if piece.num_rows], self.key, self.schema)
        rows = rows.filter(pc.invert(rows.column(GONE)))
        found = rows.select(self.key).append_column(AT, pa.array(np.arange(rows.num_rows)))
        wanted = keys.select(self.key).append_column(ORDER, pa.array(np.arange(keys.num_rows)))
        at = wanted.join(found, self.key, join_type="left outer").sort_by(ORDER).column(AT).combine_chunks()
        return rows.take(at), np.asarray(pc.is_null(at))

    def listed(self, ids: Sequence[Any]) -> pa.Table:
        """Return keys as `ids` lists them."""
        columns = [ids] if len(self.key) == 1 else list(zip(*ids, strict=True))
        kinds = [self.schema.field(name).type for name in self.key]
        arrays = [_typed(values, kind) for values, kind in zip(columns, kinds, strict=True)]
        return pa.table(arrays, list(self.key))

    def addressed(self, texts: Sequence[str]) -> pa.Table:
        """Read a key of an address: a part for each of its columns."""
        if len(texts) == 1 and len(self.key) > 1:
            texts = texts[0].split("/")
        if len(texts) != len(self.key):
            raise NotFound(say("the key of a row has {count} parts here: {names}", len(self.key), "/".join(self.key)))
        arrays = []
        for name, text in zip(self.key, texts, strict=True):
            value, lost = convert(pa.array([text]), self.schema.field(name).type)
            if lost is not None or value.null_count:
                raise NotFound(say("there is no row {key!r:.120}", "/".join(texts)))
            arrays.append(value)
        return pa.table(arrays, list(self.key))

    def named(self, sent: pa.Table, *, largest: object = None, fresh: bool = False) -> pa.Table:
        """Return the keys of rows that were sent.

        Parameters
        ----------
        largest
            Value of the key in what is published.
        fresh
            Rows without a key get one, if the table gives any.
        """
        arrays = {name: sent.column(name) for name in self.key if name in sent.column_names}
        if fresh and self.ids in self.key:
            arrays[self.ids] = self._given(arrays.get(self.ids), self.ids, sent.num_rows, largest)
        for name in self.key:
            if name not in arrays or arrays[name].null_count:
                raise ParamError(
                    say("rows without {name} cannot be told apart", name), remedy="send a value of it for each row"
                )
        keys = pa.table([arrays[name] for name in self.key], list(self.key))
        if keys.group_by(list(self.key)).aggregate([]).num_rows < keys.num_rows:
            raise Taken("two rows of what was sent have one key", remedy="send each row once")
        return keys

    def _given(self, sent: pa.ChunkedArray | None, name: str, rows: int, largest: object) -> pa.Array:
        """Give rows that have none a key."""
        kind = self.schema.field(name).type
        values = pa.nulls(rows, kind) if sent is None else pa.concat_arrays(sent.chunks)
        missing = pc.is_null(values)
        count = int(pc.sum(missing).as_py() or 0)
        if not count:
            return values
        if pa.types.is_string(kind):
            given = pa.array([str(uuid.uuid4()) for _ in range(count)], kind)
        else:
            known = [largest, pc.max(values).as_py(), *(pc.max(one.column(name)).as_py() for one in self._pieces)]
            top = max([self.top, *(int(one) for one in known if isinstance(one, (int, float)))])
            self.top = top + count
            given = pa.array(np.arange(top + 1, self.top + 1)).cast(kind)
        return pc.replace_with_mask(values, missing, given)

    def whole(self, keys: pa.Table, sent: pa.Table | None, there: pa.Table | None) -> pa.Table:
        """Return whole rows: columns that are named as they were sent, others as they are."""
        arrays = []
        for item in self.schema:
            if item.name in self.key:
                arrays.append(keys.column(item.name))
            elif item.name == GONE:
                arrays.append(pa.array(np.zeros(keys.num_rows, bool)))
            elif sent is not None and item.name in sent.column_names:
                arrays.append(sent.column(item.name))
            else:
                arrays.append(pa.nulls(keys.num_rows, item.type) if there is None else there.column(item.name))
        return pa.table(arrays, schema=self.schema)

    def without(self, there: pa.Table) -> pa.Table:
        """Return rows as gone."""
        return there.set_column(there.column_names.index(GONE), GONE, pa.array(np.ones(there.num_rows, bool)))


def row_state(row: pa.Table) -> str:
    """Name the state of one row: equal rows have equal names."""
    return hashlib.sha256(orjson.dumps(row.to_pylist(), default=str)).hexdigest()[:32]


def shown(keys: pa.Table, at: Any) -> str:
    """Write the first of some keys for a person."""
    row = keys.slice(int(np.flatnonzero(at)[0]), 1).to_pylist()[0]
    return ", ".join(f"{name} = {value}" for name, value in row.items())


def _typed(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Read values as JSON has them, where times are texts."""
    return convert(pa.array(list(values)), kind)[0]
