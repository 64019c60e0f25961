"""A public table of another Hven: its rows by TAP, and what changed by its feed ``/changes/<table>``, which costs as much as there are changes.

The feed is a VOTable: the columns of the key, `change` (``added``, ``changed``, ``removed``), and perhaps `columns`, which is not needed here; an
INFO called ``snapshot`` or ``state`` names the state that it leads to. Without ``since`` it has no rows. 404: there is no feed; 410: that state is not kept any more; then everything is read by TAP.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote as percent
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from hven.model import plugins
from hven.model.errors import SourceError
from hven.sources import Changes, Context, Offer, ServiceKind, Source
from hven.sources._reading.files import Texts  # noqa: TC001  (pydantic reads it)
from hven.sources._reading.service import Broken, Budget, BudgetOptions, Secret, Service, authorization, words
from hven.sources._reading.taprows import TapRows
from hven.sources._reading.tapservice import TapService, overflows
from hven.sources._reading.tapservice import offers as listed
from hven.sources._turns import Busy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hven.formats import Head

STATES, CHANGE, COLUMNS = {"snapshot", "state"}, "change", "columns"
KINDS = {"added", "changed", "removed"}
FORMAT = "votable"
_TAP = re.compile(r"/tap(/(sync|async|tables))?/?$")


SERVICE = ServiceKind(table="table")


class Options(BudgetOptions):
    """What a descriptor may say of a table of another Hven."""

    url: str = Field(
        pattern=r"^https?://", description="Address of the site: https://host, or with the path below which it is."
    )
    table: str = Field(min_length=1, description="The table there: schema.table.")
    columns: Texts | None = Field(None, description="Only these columns.")
    key: Texts = Field(
        default_factory=list, description="Columns by which rows are asked for page by page: as for `tap`."
    )
    page: int | None = Field(None, ge=1, le=10_000_000, description="Rows of a page (50,000); `sync: page` wins.")
    mode: Literal["sync", "async", "auto"] = Field("auto", description="How rows are asked for: as for `tap`.")
    token: Secret | None = Field(None, description="`$NAME` of a secret that lets us in as a bearer token.")
    rate: float | None = Field(None, gt=0, le=1000, description="Requests a second at most.")
    seconds: float = Field(300.0, gt=0, le=86_400, description="Without a byte for that long, an answer is given up.")
    tries: int = Field(6, ge=1, le=20, description="How often something is tried that a pause may mend.")


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a table; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return HvenRows(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the tables of the site that we may see.

    Raises
    ------
    SourceError
        It does not answer, or is no Hven.
    """
    return listed(HvenRows(Options.model_validate({**options, "table": "-"}), context).tap)


class HvenRows(TapRows):
    """A table of another Hven."""

    def __init__(self, options: Options, context: Context) -> None:
        base = _TAP.sub("", options.url.rstrip("/"))
        secret = authorization(options.token, context, "Bearer")
        service = Service(
            f"{base}/tap", context, seconds=options.seconds, tries=options.tries, rate=options.rate, secret=secret
        )
        service.budget = self._budget = Budget(options, service.host, "or ask for less")
        tap = TapService(service, mode=options.mode, wanted=FORMAT)
        super().__init__(tap, context, table=options.table, columns=options.columns, key=options.key, page=options.page)
        self.feed = f"{base}/changes/{percent(options.table)}"

    def state(self) -> str | None:
        """Name the snapshot that is published there now."""
        found = self._fed(None)
        return None if found is None else _state_of(found[0], self.what)

    def changes(self, since: str) -> Changes | None:
        """Fetch what has changed since a snapshot; the rows themselves are asked for by their keys."""
        found = self._fed(since)
        if found is None:
            return None
        head, table = found
        key = [column.name for column in head.columns if column.name not in {CHANGE, COLUMNS}]
        if CHANGE not in table.column_names or not key:
            raise SourceError(
                f"the feed of {self.what} has no column `{CHANGE}`, or no key",
                remedy="that site may have another version",
            )
        kinds = table.column(CHANGE)
        odd = set(pc.unique(kinds).to_pylist()) - KINDS
        if odd:
            raise SourceError(
                f"the feed of {self.what} tells of {', '.join(map(repr, sorted(map(str, odd))))}",
                remedy="that site may have another version",
            )
        missing = [name for name in key if name not in self._columns]
        if missing:
            raise SourceError(
                f"{self.what} is followed by its key, and {missing[0]} is not among `columns`",
                remedy=f"add {', '.join(missing)}",
            )
        typed = pa.table({name: table.column(name).cast(self._columns[name].type.arrow) for name in key})
        gone = pc.equal(kinds, "removed")
        touched = typed.filter(pc.invert(gone))
        return Changes(
            state=_state_of(head, self.what),
            key=tuple(key),
            rows=self.pick(key, touched),
            touched=touched,
            removed=typed.filter(gone),
        )

    def _fed(self, since: str | None) -> tuple[Head, pa.Table] | None:
        """Ask the feed; None if there is none, or it does not know that state."""
        params = {"RESPONSEFORMAT": FORMAT, **({"since": since} if since is not None else {})}

        def ask() -> tuple[Head, pa.Table] | None:
            with self.tap.service.asked("GET", f"{self.feed}?{urlencode(params)}") as answer:
                if answer.status in {404, 405, 410}:
                    return None
                if answer.status >= 500:
                    raise Busy(f"its feed answers {answer.status}: {words(answer)}")
                if answer.status != 200:
                    raise SourceError(f"the feed of {self.what} answers {answer.status}: {words(answer)}")
                data = self._budget.read(answer.parts)
            try:
                read = plugins.load("formats", FORMAT).FORMAT.read(io.BytesIO(data))
                rows = list(read.batches)
            except SourceError as error:
                raise Broken(f"its feed cannot be read: {error.message}") from error
            if overflows(read.head):  # a part of the changes is no use
                return None
            schema = pa.schema([column.arrow.with_nullable(True) for column in read.head.columns])
            return read.head, pa.Table.from_batches(rows, schema)

        return self.tap.service.tried(ask)


def _state_of(head: Head, what: str) -> str:
    for info in head.infos:
        if info.name.lower() in STATES and info.value:
            return info.value
    raise SourceError(
        f"the feed of {what} does not say to which snapshot it leads", remedy="that site may have another version"
    )


__all__ = ["Options", "open", "tables"]
