"""Serve ``/notifications``, where accounts choose what they get, and the pages of signed links in mails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import ForbiddenError, HvenError, TooManyRequestsError, UnauthenticatedError, format_message
from hven.plugins.notifications.choice_store import NONE, AccountChoices, ChoiceStore
from hven.plugins.notifications.email_addresses import parse_email_address
from hven.plugins.notifications.event_kinds import load_event_kinds
from hven.plugins.notifications.message_texts import PAGE_PATH
from hven.plugins.notifications.outbox import CONFIRMATION_KIND, Outbox
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.notifications.store_tables import notification_messages
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
)
from hven.services.addresses import is_cross_site_change_request
from hven.site.api.account_users import TOKEN_SCOPE_GROUPS
from hven.site.api.events import SiteEvent
from hven.sources.http_client import resolve_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.params import RequestParams
    from hven.services.face import ServiceContext

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
MAX_FORM_BYTES = 64 * 1024
MAX_CONFIRMATIONS_PER_DAY = 5  # of an account: the address may belong to somebody else
MAX_WEBHOOK_CHARACTERS = 1000
SHOWN_MESSAGES = 20
DAY_SECONDS = 86_400.0
UNSUBSCRIBE, CONFIRM = "unsubscribe", "confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationChoicesPage(TemplateContext):
    """The page of an account's choices.

    Attributes
    ----------
    choices
        What the account chose.
    kinds
        Name -> title of each kind of events.
    channels
        The channels that the site has.
    secret
        The secret of the webhook; empty: the account has no webhook, or shows a token that may only read.
    messages
        The last messages: time, channel, text, state and error.
    problem
        What is wrong with the request.
    """

    template = "notifications/choices.html"
    choices: AccountChoices
    kinds: Mapping[str, str]
    channels: Sequence[str]
    secret: str
    messages: Sequence[Mapping[str, object]]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedLinkPage(TemplateContext):
    """The page of a signed link in a mail.

    Attributes
    ----------
    action
        ``unsubscribe`` or ``confirm``.
    word
        The title of the kind of events, or the address.
    form_url
        Address to which the button of the page posts; empty: it is done.
    """

    template = "notifications/signed_link.html"
    action: str
    word: str
    form_url: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the pages."""
    pages = _ChoicePages(context)
    signed_path = f"{PAGE_PATH}/{{action}}"
    return [
        Route(PAGE_PATH, build_page_endpoint(pages.show_choices, context)),
        Route(PAGE_PATH, build_page_endpoint(pages.change_choices, context), methods=["POST"]),
        Route(signed_path, build_page_endpoint(pages.show_signed_link, context)),
        Route(signed_path, build_page_endpoint(pages.follow_signed_link, context), methods=["POST"]),
    ]


class _ChoicePages:
    def __init__(self, context: ServiceContext) -> None:
        self._site = context.site
        self._choice_store = context.site.store.get_or_create(ChoiceStore)
        self._outbox = context.site.store.get_or_create(Outbox)

    # --- the page of an account -------------------------------------------------------------------------------

    async def show_choices(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(self._build_choices_page, page_context)

    async def change_choices(self, page_context: PageContext) -> PageContent:
        self._find_account(page_context)
        if is_cross_site_change_request(page_context.request, self._site.settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the form of this site")
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        return await anyio.to_thread.run_sync(self._change_choices, page_context, params)

    def _find_account(self, page_context: PageContext) -> str:
        principal = page_context.principal
        if principal.name is None:
            raise UnauthenticatedError("only users with an account get notifications", remedy="log in at /login")
        if principal.impersonator:
            raise ForbiddenError("you cannot see the choices of another user", remedy="return to your own account")
        if not self._site.store.users.has_account(principal.name):
            raise ForbiddenError(
                "only users with an account at this site get notifications", remedy="ask the operators for an account"
            )
        return principal.name

    def _build_choices_page(self, page_context: PageContext, error: HvenError | None = None) -> PageContent:
        account = self._find_account(page_context)
        choices = self._choice_store.find_choices(account) or AccountChoices(account=account)
        translate = page_context.translator
        can_see_secret = bool(choices.webhook) and TOKEN_SCOPE_GROUPS["read"] not in page_context.principal.groups
        page = NotificationChoicesPage(
            choices=choices,
            kinds={name: kind.title for name, kind in sorted(load_event_kinds().items())},
            channels=get_notification_settings(self._site.settings).channels,
            secret=choices.build_webhook_secret(self._site.store) if can_see_secret else "",
            messages=self._list_messages(account, page_context),
            problem="" if error is None else f"{translate(error.message)}; {translate(error.remedy)}",
        )
        json_content = {
            "address": choices.address,
            "confirmed": choices.confirmed,
            "webhook": choices.webhook,
            "webhook_problem": choices.problem,
            "webhook_secret": page.secret,
            "channels": {name: choices.channels.get(name, NONE) for name in page.kinds},
            "messages": page.messages,
            "problem": page.problem,
        }
        status = 200
        if error is not None:
            status = services.find_http_status(error)
        return PageContent(page=page, json_content=json_content, status=status, headers=PRIVATE_HEADERS)

    def _list_messages(self, account: str, page_context: PageContext) -> list[dict[str, object]]:
        is_own = notification_messages.c.account == account
        return [
            {
                "channel": message.channel,
                "message": page_context.translator(message.event.message),
                "state": message.state,
                "error": message.error,
                "url": f"{page_context.base}{message.event.path}" if message.event.path else "",
            }
            for message in self._outbox.list_messages(is_own, newest_first=True, limit=SHOWN_MESSAGES)
            if message.event.kind != CONFIRMATION_KIND
        ]

    def _change_choices(self, page_context: PageContext, params: RequestParams) -> PageContent:
        account = self._find_account(page_context)
        try:
            self._save_choices(account, page_context.language, params)
        except HvenError as error:
            return self._build_choices_page(page_context, error)
        if is_json_requested(page_context.request):
            return self._build_choices_page(page_context)
        return build_redirect(f"{page_context.base}{PAGE_PATH}")

    def _save_choices(self, account: str, language: str, params: RequestParams) -> None:
        enabled_channels = get_notification_settings(self._site.settings).channels
        address_text = params.read_one("ADDRESS", "") or ""
        address = ""
        if address_text.strip():
            address = parse_email_address(address_text)
        webhook = (params.read_one("WEBHOOK", "") or "").strip()
        old_choices = self._choice_store.find_choices(account) or AccountChoices(account=account)
        if webhook and webhook != old_choices.webhook:
            self._check_webhook(webhook)
        is_new_address = bool(address) and address != old_choices.address
        if is_new_address:
            self._check_confirmation_count(account)
        channels = {}
        for kind in load_event_kinds():
            channel = params.read_one(f"CHANNEL.{kind}".upper(), NONE)
            channels[kind] = channel if channel in enabled_channels else NONE

        def change(old: AccountChoices) -> AccountChoices:
            is_confirmed = old.confirmed and address == old.address
            return replace(
                old,
                address=address,
                confirmed=is_confirmed,
                webhook=webhook,
                problem="",
                language=language,
                channels=channels,
            )

        self._choice_store.change_choices(account, change)
        if is_new_address:
            site_name = self._site.settings.title or self._site.settings.name
            message = format_message("confirm that {site} may send mail to this address", site_name)
            self._outbox.add_confirmation_mail(SiteEvent(kind=CONFIRMATION_KIND, accounts=(account,), message=message))

    def _check_webhook(self, url: str) -> None:
        is_private_allowed = get_notification_settings(self._site.settings).private_webhooks
        if len(url) > MAX_WEBHOOK_CHARACTERS or not (url.startswith("https://") or is_private_allowed):
            raise ForbiddenError(
                "a webhook needs an https address", remedy="enter an address such as https://host/path"
            )
        resolve_url(url, allow_private=is_private_allowed)

    def _check_confirmation_count(self, account: str) -> None:
        count = self._outbox.count_messages_about(account, CONFIRMATION_KIND, DAY_SECONDS)
        if count >= MAX_CONFIRMATIONS_PER_DAY:
            message = format_message("you can enter at most {count} addresses per day", MAX_CONFIRMATIONS_PER_DAY)
            raise TooManyRequestsError(message, remedy="try again tomorrow")

    # --- signed links in mails --------------------------------------------------------------------------------

    async def show_signed_link(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(self._open_signed_link, page_context, False)

    async def follow_signed_link(self, page_context: PageContext) -> PageContent:
        """Do what a link says. Programs that look at links send GET, which changes nothing."""
        return await anyio.to_thread.run_sync(self._open_signed_link, page_context, True)

    def _open_signed_link(self, page_context: PageContext, should_act: bool) -> PageContent:
        request = page_context.request
        action = request.path_params["action"].removesuffix(".json")
        account, word, signature = (request.query_params.get(name, "") for name in ("account", "word", "signature"))
        choices = self._choice_store.find_choices(account)
        is_valid = action in {UNSUBSCRIBE, CONFIRM} and choices is not None
        if choices is None or not is_valid or not choices.is_signature_valid(self._site.store, signature, action, word):
            raise ForbiddenError("this link is not valid", remedy="open /notifications, and make your choices there")
        if action == CONFIRM and word != choices.address:
            raise ForbiddenError("the address of the account has changed", remedy="open the link in the latest mail")
        if should_act and action == CONFIRM:
            self._choice_store.change_choices(
                account, lambda old: replace(old, confirmed=old.confirmed or old.address == word)
            )
        elif should_act:
            self._choice_store.store_channel_choice(account, word, NONE)
        kinds = load_event_kinds()
        page = SignedLinkPage(
            action=action,
            word=kinds[word].title if word in kinds else word,
            form_url="" if should_act else f"{page_context.base}{PAGE_PATH}/{action}?{request.url.query}",
        )
        json_content = {"action": action, "done": should_act}
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)


def _has_choices_link(request: Request, context: ServiceContext) -> bool | None:
    """Return True if pages link to the choices, else None: for accounts, if the site has channels."""
    if context.identify_principal(request).name is None:
        return None
    return bool(get_notification_settings(context.site.settings).channels) or None


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu_link.html"},
    compute_frame_value=_has_choices_link,
)
