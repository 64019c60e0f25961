"""Create watches from requests: the parameters of the form and of programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hven import query, services
from hven.engines import Snapshot
from hven.model.errors import ForbiddenError, ParamError, format_message
from hven.plugins.changes.row_definitions import RowDefinition
from hven.plugins.notifications.choice_store import MAIL, WEBHOOK, ChoiceStore
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.watches.settings import get_watch_settings
from hven.plugins.watches.watch_definitions import (
    check_table_watchable,
    parse_targets,
    parse_watched_query,
    parse_watched_rows,
)
from hven.plugins.watches.watch_store import ALL, NEW, NO_CHANNEL, Watch, WatchStore
from hven.sources.http_client import resolve_url

if TYPE_CHECKING:
    from hven.model.params import RequestParams
    from hven.model.table import Table
    from hven.portal.api.pages import PageContext

MAX_TITLE_CHARACTERS = 200
MAX_WEBHOOK_CHARACTERS = 1000


@dataclass(frozen=True, kw_only=True)
class WatchRequest:
    """The parameters of a request for a watch, with the page and the account that it comes from."""

    page_context: PageContext
    params: RequestParams
    account: str

    def create_watch(self) -> Watch:
        """Create the watch, and return it.

        Raises
        ------
        UserError
            A parameter is not valid, the table cannot be watched, or the account has too many watches.
        """
        table, definition = self._read_definition()
        published_state = self.page_context.published_state
        check_table_watchable(table, published_state)
        if definition.condition:
            self._check_query(definition.condition)
        relation = published_state.tables_by_name[table.qualified_name].relation
        tells = self._read_choice("CHANGES", (NEW, ALL))
        channel, webhook = self._read_channel()
        title = " ".join((self.params.read_one("TITLE", "") or "").split()) or table.title or table.qualified_name
        watch = Watch(
            account=self.account,
            table_name=table.qualified_name,
            title=title[:MAX_TITLE_CHARACTERS],
            definition_text=definition.to_json(),
            tells=tells,
            channel=channel,
            webhook=webhook,
            language=self.page_context.language,
            snapshot=relation.id if isinstance(relation, Snapshot) else "",
        )
        site = self.page_context.context.site
        max_count = get_watch_settings(site.settings).per_account
        return site.store.get_or_create(WatchStore).add_watch(watch, max_count)

    def _read_definition(self) -> tuple[Table, RowDefinition]:
        max_count = get_watch_settings(self.page_context.context.site.settings).targets
        query_text = self.params.read_one("QUERY", "") or ""
        targets_text = self.params.read_one("TARGETS", "") or ""
        keys = [key for key in self.params.read_all("ROW") if key.strip()]
        definition = RowDefinition()
        name = self.params.read_one("TABLE", "") or ""
        if query_text:
            table, definition = parse_watched_query(query_text, self.page_context.catalogue)
            named_table = table
            if name:
                named_table = services.find_table(name, self.page_context.catalogue)
            if named_table.qualified_name != table.qualified_name:
                raise ParamError("TABLE is not the table of the query", name="TABLE", remedy="leave out TABLE")
        else:
            table = services.find_table(name, self.page_context.catalogue)
        check_table_watchable(table, self.page_context.published_state)
        if targets_text.strip():
            if definition.targets:
                raise ParamError(
                    "the query already contains a circle", name="TARGETS", remedy="leave out the circle, or the targets"
                )
            near_targets = parse_targets(targets_text, self.params.read_number("RADIUS"), table, max_count)
            definition = replace(definition, targets=near_targets.targets, radius=near_targets.radius)
        elif self.params.read_one("RADIUS") and "TARGETS" not in self.params.values:  # the form sends it empty
            raise ParamError("RADIUS needs targets", name="TARGETS", remedy="send TARGETS, or leave out RADIUS")
        if keys:
            definition = replace(definition, keys=parse_watched_rows(keys, table, max_count).keys)
        return table, definition

    def _check_query(self, text: str) -> None:
        """Plan the query with the rights of the account: names, types and rights are checked."""
        page_context = self.page_context
        context = page_context.context
        principal, policies = page_context.principal, context.policies
        with query.run_query(text, principal, site=context.site, policies=policies, maxrec=0) as result:
            if result.volatile:
                raise ParamError(
                    "this query cannot be watched: its result can differ each time, because it contains a random "
                    "number or the name of an object",
                    name="QUERY",
                    remedy="write conditions on columns, and positions in degrees",
                )

    def _read_choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = (self.params.read_one(name, "") or choices[0]).lower()
        if value not in choices:
            message = format_message("{name}={value!r} is not valid", name, value[:40])
            remedy = format_message("use one of {choices}", ", ".join(choices))
            raise ParamError(message, name=name, remedy=remedy)
        return value

    def _read_channel(self) -> tuple[str, str]:
        """Return the channel, and the address of the webhook, which is looked up now and before each call."""
        site = self.page_context.context.site
        settings = get_notification_settings(site.settings)
        channel = self._read_choice("CHANNEL", (NO_CHANNEL, *settings.channels))
        if channel == MAIL:
            choices = site.store.get_or_create(ChoiceStore).find_choices(self.account)
            if choices is None or not choices.confirmed or not choices.address:
                raise ParamError(
                    "your account has no confirmed e-mail address",
                    name="CHANNEL",
                    remedy="enter an address at /notifications, and open the link in the mail that you get",
                )
        if channel != WEBHOOK:
            return channel, ""
        url = (self.params.read_one("WEBHOOK", "") or "").strip()
        is_private_allowed = settings.private_webhooks
        if len(url) > MAX_WEBHOOK_CHARACTERS or not (url.startswith("https://") or is_private_allowed):
            raise ForbiddenError(
                "a webhook needs an https address", remedy="enter an address such as https://host/path"
            )
        resolve_url(url, allow_private=is_private_allowed)
        return channel, url
