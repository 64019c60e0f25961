"""Read a public table of another Hven site: first the rows through TAP, then their changes from the site's feed.

The feed ``/changes/<table>`` costs as much as there are changes.

The feed is a VOTable: the columns of the key, `change` (``added``, ``changed``, ``removed``), and perhaps `columns`,
which is not needed here; an INFO called ``snapshot`` or ``state`` names the state that it leads to. Without ``since``
it has no rows. 404: there is no feed; 410: that state is not kept any more; then everything is read by TAP.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from hven.model import plugins
from hven.model.errors import SourceError
from hven.plugins.tap_source.tap_client import TapClient, has_overflow, list_tap_tables
from hven.plugins.tap_source.tap_rows import TapSource
from hven.sources import (
    AvailableTable,
    ServiceUrlSignature,
    Source,
    SourceChanges,
    SourceContext,
    SourceKindTraits,
)
from hven.sources.api.rows import Texts
from hven.sources.api.services import (
    AttemptCount,
    BrokenAnswerError,
    PageRows,
    RequestRate,
    RunBudget,
    RunBudgetOptions,
    ServiceBusyError,
    ServiceClient,
    SilenceSeconds,
    Token,
    extract_error_text,
    resolve_authorization,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hven.formats import TableMetadata
    from hven.model.resource import SourceSpec

STATE_INFO_NAMES, CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN = {"snapshot", "state"}, "change", "columns"
CHANGE_KINDS = {"added", "changed", "removed"}
FEED_FORMAT = "votable"
_TAP_PATH_PATTERN = re.compile(r"/tap(/(sync|async|tables))?/?$")


SERVICE = ServiceUrlSignature(table_option="table")


class Options(RunBudgetOptions):
    """What a descriptor may state about a table of another Hven."""

    url: str = Field(
        pattern=r"^https?://",
        description="Address of the other site: https://host, followed by the site's path, if it has one.",
        examples=["https://other.example"],
    )
    table: str = Field(min_length=1, description="Name of the table on the other site.", examples=["omega.epn_core"])
    columns: Texts | None = Field(
        None,
        description="Hven copies only these columns. They must include the primary key.",
        examples=[["granule_uid", "time_min"]],
    )
    key: Texts = Field(
        default_factory=list,
        description="Columns that Hven uses to page through the rows, as for `tap`.",
        examples=["granule_uid"],
    )
    page: PageRows = None
    mode: Literal["sync", "async", "auto"] = Field(
        "auto", description="How Hven requests rows, as for `tap`.", examples=["sync"]
    )
    token: Token = None
    rate: RequestRate = None
    seconds: SilenceSeconds = 300.0
    tries: AttemptCount = 6


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a table; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return RemoteHvenSource(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables of the site that this user may see.

    Raises
    ------
    SourceError
        The server does not respond, or is no Hven.
    """
    return list_tap_tables(RemoteHvenSource(Options.model_validate({**options, "table": "-"}), context).tap)


class RemoteHvenSource(TapSource):
    """A table of another Hven."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        base = _TAP_PATH_PATTERN.sub("", options.url.rstrip("/"))
        secret = resolve_authorization(options.token, context, "Bearer")
        service = ServiceClient(
            f"{base}/tap",
            context,
            options=options,
            authorization=secret,
        )
        service.budget = self._budget = RunBudget(options, service.host, "or request less")
        tap = TapClient(service, mode=options.mode, answer_format=FEED_FORMAT)
        super().__init__(
            tap,
            context,
            table=options.table,
            selected_columns=options.columns,
            key_columns=options.key,
            page_option=options.page,
        )
        self.feed_url = f"{base}/changes/{percent_encode(options.table)}"

    def read_state_name(self) -> str | None:
        """Name the snapshot that is published now."""
        feed_answer = self._request_feed(None)
        if feed_answer is None:
            return None
        return _find_state_name(feed_answer[0], self.source_name)

    def list_changes(self, since_state: str) -> SourceChanges | None:
        """Fetch the changes since a snapshot; the rows are read by their keys."""
        feed_answer = self._request_feed(since_state)
        if feed_answer is None:
            return None
        head, table = feed_answer
        key = [column.name for column in head.columns if column.name not in {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN}]
        if CHANGE_COLUMN not in table.column_names or not key:
            raise SourceError(
                f"the feed of {self.source_name} lacks the column `{CHANGE_COLUMN}` or the key columns",
                remedy="check which version of Hven the other site runs",
            )
        kinds = table.column(CHANGE_COLUMN)
        unknown_kinds = set(pc.unique(kinds).to_pylist()) - CHANGE_KINDS
        if unknown_kinds:
            raise SourceError(
                f"the feed of {self.source_name} contains changes of unknown kinds: "
                f"{', '.join(map(repr, sorted(map(str, unknown_kinds))))}",
                remedy="check which version of Hven the other site runs",
            )
        missing = [name for name in key if name not in self._columns]
        if missing:
            raise SourceError(
                f"`columns` lacks the key column {missing[0]!r}; without it, Hven cannot follow the changes of "
                f"{self.source_name}",
                remedy=f"add {', '.join(missing)} to `columns`",
            )
        typed = pa.table({name: table.column(name).cast(self._columns[name].type.arrow) for name in key})
        is_removed = pc.equal(kinds, "removed")
        touched = typed.filter(pc.invert(is_removed))
        state = _find_state_name(head, self.source_name)
        return SourceChanges(
            state=state,
            key_columns=tuple(key),
            rows=self.select_keys(key, touched),
            changed_keys=touched,
            removed_keys=typed.filter(is_removed),
        )

    def _request_feed(self, since_state: str | None) -> tuple[TableMetadata, pa.Table] | None:
        """Request the feed; None if there is none, or it does not know that state."""
        params = {"RESPONSEFORMAT": FEED_FORMAT, **({"since": since_state} if since_state is not None else {})}

        def request_once() -> tuple[TableMetadata, pa.Table] | None:
            with self.tap.service.request("GET", f"{self.feed_url}?{urlencode(params)}") as answer:
                if answer.status in {404, 405, 410}:
                    return None
                if answer.status >= 500:
                    raise ServiceBusyError(f"the feed returned status {answer.status}: {extract_error_text(answer)}")
                if answer.status != 200:
                    raise SourceError(
                        f"the feed of {self.source_name} returned status {answer.status}: {extract_error_text(answer)}"
                    )
                data = self._budget.read_answer_within_limit(answer.parts)
            try:
                plugin = plugins.load_plugin("formats", FEED_FORMAT)
                read = plugin.FORMAT.read(io.BytesIO(data))
                rows = list(read.batches)
            except SourceError as error:
                raise BrokenAnswerError(f"its feed cannot be read: {error.message}") from error
            if has_overflow(read.metadata):  # a part of the changes is useless
                return None
            schema = pa.schema([column.arrow_field.with_nullable(True) for column in read.metadata.columns])
            return read.metadata, pa.Table.from_batches(rows, schema)

        return self.tap.service.retry(request_once)


def _find_state_name(metadata: TableMetadata, source_name: str) -> str:
    for info in metadata.infos:
        if info.name.lower() in STATE_INFO_NAMES and info.value:
            return info.value
    raise SourceError(
        f"the feed of {source_name} does not name its last snapshot",
        remedy="check which version of Hven the other site runs",
    )


def find_mirrored_site(source: SourceSpec, table_name: str) -> str:
    """Find the site whose table of the same name the source reads."""
    if source.options.get("table") != table_name:
        return ""
    return str(source.options.get("url", "")).rstrip("/")


# the service limits the rows of one answer
TRAITS = SourceKindTraits(is_read_by_key=True, has_cached_pages=True, find_mirrored_site=find_mirrored_site)
