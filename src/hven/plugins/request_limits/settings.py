"""The sections ``[request_limits.NAME]`` of hven.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated

from hven.model.settings import SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from pydantic import AfterValidator

    from hven.model.settings import Settings


def _normalize_network(text: str) -> str:
    return str(ip_network(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimit:
    """Limits of some users and services: ``[request_limits.NAME]``.

    A user fits if one of `accounts`, `groups`, `networks`, `user_agents` or `anonymous` names it, or if all are empty.
    """

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [request_limits.NAME]", is_section_name=True)
    )
    accounts: tuple[str, ...] = define_setting((), "names of accounts to which the limits apply")
    groups: tuple[str, ...] = define_setting((), "names of groups. The limits apply to the members of these groups")
    networks: tuple[Annotated[str, AfterValidator(_normalize_network)], ...] = define_setting(
        (), "addresses or networks to which the limits apply"
    )
    user_agents: tuple[str, ...] = define_setting(
        (),
        'parts of the header User-Agent, in upper or lower case, for example "bot". Programs can send any header, so '
        "this setting only limits programs that say who they are",
    )
    anonymous: bool = define_setting(False, "true: the limits apply to all users without an account")
    services: tuple[str, ...] = define_setting(
        (),
        "names of the services to which the limits apply, as in descriptors. Default: all services and pages, except "
        "health checks and log-in",
    )
    together: bool = define_setting(
        False,
        "true: Hven counts all users of this section as one user, also when it shares its time among users. Default: "
        "it counts each user separately",
    )
    searches: bool = define_setting(
        False,
        "true: the limits apply only to requests with parameters, such as searches on pages, and not to the pages that "
        "search engines index",
    )
    concurrent: int | None = define_setting(
        None, "maximum number of requests that Hven answers at once. Default: no limit", ge=0
    )
    requests_per_minute: int | None = define_setting(
        None, "maximum number of requests in a minute. Default: no limit", ge=0
    )
    rows_per_day: int | None = define_setting(
        None,
        "maximum number of rows in a day (UTC). Hven completes the answer that exceeds this number, and refuses the "
        "next requests. Default: no limit",
        ge=0,
    )

    @property
    def fits_all_users(self) -> bool:
        """Whether it names no users, and so applies to all."""
        return not (self.accounts or self.groups or self.networks or self.user_agents or self.anonymous)

    @property
    def has_limits(self) -> bool:
        """Whether it limits anything; if not, it exempts its users from the sections behind it."""
        return (self.concurrent, self.requests_per_minute, self.rows_per_day) != (None, None, None)


LIMITS_SECTION = SettingsSection(
    name="request_limits",
    settings_class=RequestLimit,
    doc="how much of the site a user may use. Hven uses the first section that applies to the user and the service",
    is_repeated=True,
    previous_setting="limits",
    example_text="""\
[request_limits.partners]            # no limits for the partners
networks = ["192.0.2.0/24"]
accounts = ["anna"]
groups = ["survey-team"]

[request_limits.crawlers]
user_agents = ["bot", "crawler", "spider"]
together = true
concurrent = 2
requests_per_minute = 120

[request_limits.page-searches]
anonymous = true
services = ["portal"]
searches = true
together = true
concurrent = 1

[request_limits.visitors]
anonymous = true
services = ["tap", "cone"]
concurrent = 8
requests_per_minute = 600
rows_per_day = 50_000_000
""",
)


def get_request_limits(settings: Settings) -> tuple[RequestLimit, ...]:
    """Return the sections in the order of hven.toml."""
    limits: tuple[RequestLimit, ...] = settings.brought.get(LIMITS_SECTION.key, ())
    return limits
