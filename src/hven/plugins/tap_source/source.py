"""Read tables from any TAP service page by page, with the service's types, units, UCDs and descriptions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from hven.plugins.tap_source.tap_client import TapClient, list_tap_tables
from hven.plugins.tap_source.tap_rows import TapSource
from hven.sources import ServiceUrlSignature, SourceKindTraits
from hven.sources.api.rows import Texts
from hven.sources.api.services import (
    AttemptCount,
    Login,
    PageRows,
    RequestRate,
    RunBudget,
    RunBudgetOptions,
    ServiceClient,
    SilenceSeconds,
    Token,
    resolve_token_or_login,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import AvailableTable, Source, SourceContext

SERVICE = ServiceUrlSignature(
    url_pattern=r"(?P<url>https?://[^?#]*/tap(?:/(?:sync|async|tables|capabilities))?/?)", table_option="table"
)
# the service limits the rows of one answer
TRAITS = SourceKindTraits(is_read_by_key=True, is_read_from_watermark=True, has_cached_pages=True)
_ENDPOINT_PATH_PATTERN = re.compile(r"/(sync|async|tables|capabilities|availability|examples)/?$")


class Options(RunBudgetOptions):
    """What a descriptor may state about a TAP service."""

    url: str = Field(
        pattern=r"^https?://",
        description="Address of the service, without /sync.",
        examples=["https://archive.example/tap"],
    )
    table: str | None = Field(
        None, description=("The table's name in the service's TAP_SCHEMA."), examples=["ivoa.obscore"]
    )
    adql: str | None = Field(
        None,
        description="Instead of `table`: an ADQL query.",
        examples=["SELECT main_id, ra, dec FROM basic WHERE otype = 'Star'"],
    )
    columns: Texts | None = Field(
        None, description=("Hven copies only these columns."), examples=[["obs_id", "t_min", "t_max"]]
    )
    key: Texts = Field(
        default_factory=list,
        description=(
            "Columns that Hven uses to page through the rows. Preferably, choose columns that are indexed, have many "
            "different values, and are never null. Default: the table's primary key, if its columns are copied "
            "unchanged, or else an indexed column with the UCD `meta.id;meta.main`."
        ),
        examples=["obs_id"],
    )
    page: PageRows = None
    mode: Literal["sync", "async", "auto"] = Field(
        "auto",
        description=(
            "How Hven sends queries. `sync`: as synchronous requests. `async`: as jobs. `auto` (default): "
            "as synchronous requests, or as a job if a query takes too long."
        ),
        examples=["async"],
    )
    token: Token = None
    login: Login = None
    rate: RequestRate = None
    seconds: SilenceSeconds = 300.0
    tries: AttemptCount = 6
    format: str = Field(
        "votable",
        description="Value of RESPONSEFORMAT in requests: VOTable, in any serialization.",
        examples=["votable/b2"],
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        if (self.table is None) == (self.adql is None):
            raise ValueError("give either `table` or `adql`")
        if self.token is not None and self.login is not None:
            raise ValueError("give `token` or `login`, not both")
        return self


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a table or query; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    client = _build_client(options, context)
    return TapSource(
        client,
        context,
        table=options.table,
        adql=options.adql,
        selected_columns=options.columns,
        key_columns=options.key,
        page_option=options.page,
    )


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables of the service, except those about itself.

    Raises
    ------
    SourceError
        It is no TAP service, or does not respond.
    """
    tap = _build_client(Options.model_validate({**options, "table": "-", "adql": None}), context)
    return list_tap_tables(tap)


def _build_client(options: Options, context: SourceContext) -> TapClient:
    secret = resolve_token_or_login(options.token, options.login, context)
    url = _ENDPOINT_PATH_PATTERN.sub("", options.url.rstrip("/"))
    service = ServiceClient(url, context, options=options, authorization=secret)
    service.budget = RunBudget(options, service.host, "or request less")
    return TapClient(service, mode=options.mode, answer_format=options.format)
