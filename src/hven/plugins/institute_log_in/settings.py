"""The settings of this package: providers of OpenID Connect, each in a section ``[identity.NAME]`` of hven.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProviderSettings:
    """A provider of OpenID Connect by whom readers log in: ``[identity.NAME]``."""

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [identity.NAME]", is_section_name=True)
    )
    issuer: str = field(
        metadata=build_setting_metadata(
            "address of the provider, as it appears in its tokens, for example https://aai.egi.eu/auth/realms/egi",
            pattern=r"^(https://|http://(localhost|127\.0\.0\.1)[:/])[^\s?#]+$",
            example="an address such as 'https://aai.example.org'",
        )
    )
    client_id: str = field(metadata=build_setting_metadata("the site's identifier at the provider"))
    client_secret: str | None = define_setting(
        None,
        (
            "$NAME, where the secret NAME contains the password that the provider assigned to this site. Omit this "
            "setting if the provider assigned no password"
        ),
        pattern="^\\$[A-Za-z_][A-Za-z0-9_]*$",
        example="'$NAME' of a secret",
    )
    title: str | None = define_setting(
        None, ("name of the provider on the page /login. Default: the name of the provider in hven.toml")
    )
    scope: str = define_setting("openid profile", "scope that Hven requests from the provider")
    audience: tuple[str, ...] = define_setting(
        (), ("audiences that Hven accepts in tokens from programs, in addition to client_id")
    )
    groups: str | None = define_setting(None, "claim that contains a person's groups")
    group_names: Mapping[str, str] = define_setting(
        dict,
        (
            "names of groups in policies, as `name at the provider = name in policies`. Other groups keep their names, "
            "except that Hven ignores groups whose names contain a colon"
        ),
    )
    account: str | None = define_setting(
        None,
        (
            "claim that contains the account name for a new person, for example preferred_username. Use it only if the "
            "provider never assigns the same name to two people. Default: Hven generates names"
        ),
    )
    accounts: Mapping[str, str] = define_setting(
        dict, "accounts of persons, as `identifier at the provider (sub) = name of the account`"
    )
    join: bool = define_setting(
        False,
        (
            "true: everyone who can log in at the provider gets an account at the first log-in. false: only the "
            "persons in `accounts` have accounts"
        ),
    )


IDENTITY_SECTION = SettingsSection(
    name="identity",
    settings_class=IdentityProviderSettings,
    doc="an OpenID Connect provider through which readers can log in. Each provider has its own name",
    is_repeated=True,
    previous_setting="login",
    example_text="""\
[identity.egi]
issuer = "https://aai.egi.eu/auth/realms/egi"
client_id = "hven"
client_secret = "$EGI_SECRET"
title = "EGI Check-in"
scope = "openid email profile"
audience = ["hven-programs"]
groups = "eduperson_entitlement"
group_names = {"urn:mace:egi.eu:group:spica" = "spica"}
account = "preferred_username"
accounts = {"a1b2c3@egi.eu" = "anna"}
join = true
""",
)


def get_identity_settings(settings: Settings) -> tuple[IdentityProviderSettings, ...]:
    """Return the providers of a site."""
    providers: tuple[IdentityProviderSettings, ...] = settings.brought.get(IDENTITY_SECTION.key, ())
    return providers
