"""The sections ``[targets.NAME]`` of hven.toml: the sites to which, and from which, collections are promoted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hven.model.errors import Fault, NotFoundError, TextPlace, UserError, suggest_spelling
from hven.model.settings import SETTINGS_FILE, SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings


LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionTarget:
    """A site to which or from which collections are promoted: ``[targets.NAME]``."""

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [targets.NAME]", is_section_name=True)
    )
    site: str = define_setting(
        "", "directory of the other site, on a disk of this machine. It may be relative to this site's directory"
    )
    url: str = define_setting(
        "",
        "address of the other site, from which `hven promote --from` fetches collections. Specify `site` or `url`. An "
        "address in a local network requires allow_private",
        example="'https://dev.example.org'",
    )
    token: str = define_setting(
        "",
        "secret that contains a token of the account that `account` names in the hven.toml of the other site",
        example="'$NAME' of a secret",
    )

    account: str = define_setting(
        "", "account of this site with whose token the other site may fetch whole collections, private rows included"
    )
    collections: tuple[str, ...] = define_setting(
        (),
        "names of the collections that `account` may fetch. If the list is empty, it may fetch all",
        example="a list of names such as ['stars']",
    )

    def locate_site(self, settings: Settings) -> Path:
        """Return the directory of the target.

        Parameters
        ----------
        settings
            Settings of the site that has this section.
        """
        return (settings.directory / Path(self.site).expanduser()).resolve()


TARGETS_SECTION = SettingsSection(
    name="targets",
    settings_class=PromotionTarget,
    doc="sites to which and from which `hven promote` copies collections",
    is_repeated=True,
    previous_setting="data",
    example_text="""\
[targets.gold]
site = "/srv/gold"

[targets.silver]
account = "silver"
collections = ["stars"]

[targets.dev]
url = "https://dev.example.org"
token = "$DEV_TOKEN"
""",
)


def list_targets(settings: Settings) -> tuple[PromotionTarget, ...]:
    """Return the sections ``[targets.NAME]``."""
    targets: tuple[PromotionTarget, ...] = settings.brought.get(TARGETS_SECTION.key, ())
    return targets


def find_target(settings: Settings, name: str) -> PromotionTarget:
    """Find a target by its name.

    Parameters
    ----------
    settings
        Settings of the site that has the section.
    name
        Name of the target.

    Raises
    ------
    NotFoundError
        There is no such section.
    UserError
        The target is no other site.
    """
    targets = {target.name: target for target in list_targets(settings)}
    place = TextPlace(file=str(settings.directory / SETTINGS_FILE))
    if name not in targets:
        remedy = (
            suggest_spelling(name, targets)
            or f'add [targets.{name}] with site = "DIR" or url = "https://..." to {place.file}'
        )
        raise NotFoundError(f"there is no target {name!r:.80}", remedy=remedy)
    problem = _find_site_problem(targets[name], settings)
    if targets[name].account:
        problem = (
            f"the other site fetches collections with the account {targets[name].account}",
            "run `hven promote NAME --from ...` there, or set `site` instead of `account`",
        )
    if problem is not None:
        raise UserError(f"{place.file}: [targets.{name}]: {problem[0]}", remedy=problem[1])
    return targets[name]


def find_target_faults(settings: Settings) -> Iterator[Fault]:
    """Find targets that are no other site.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    place = TextPlace(file=str(settings.directory / SETTINGS_FILE))
    for target in list_targets(settings):
        problem = _find_site_problem(target, settings)
        if problem is not None:
            yield Fault(message=f"targets.{target.name}: {problem[0]}", place=place, remedy=problem[1])


def _find_site_problem(target: PromotionTarget, settings: Settings) -> tuple[str, str] | None:
    """Return what is wrong with the place of a target, and the remedy; None: nothing is."""
    if bool(target.site) + bool(target.url) + bool(target.account) != 1:
        return "one of the settings `site`, `url` and `account` is needed", "set one of them"
    if target.collections and not target.account:
        return "the setting `collections` has no effect without `account`", "remove it, or set `account`"
    if target.account or target.url:
        return None if target.account else _find_address_problem(target)
    directory = target.locate_site(settings)
    if directory == settings.directory.resolve():
        remedy = "set site to the directory of the other site; for an earlier state of this site, run `hven rollback`"
        return "the target is this site itself", remedy
    if not (directory / SETTINGS_FILE).is_file():
        return f"{directory} is not a site: it has no {SETTINGS_FILE}", f"create one with `hven init {directory}`"
    return None


def _find_address_problem(target: PromotionTarget) -> tuple[str, str] | None:
    """Return what is wrong with the address of a target, and the remedy; None: nothing is."""
    try:
        parts = urlsplit(target.url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        return f"{target.url!r:.200} is not the address of a site", "write an address such as https://dev.example.org"
    if parts.username is not None or parts.query or parts.fragment:
        return (
            "the address contains a user name, ? or #",
            "write the address of the home page, and the token in `token`",
        )
    if parts.scheme == "http" and host not in LOOPBACK_HOSTS:
        return f"the token would be sent to {host} without encryption", "write https:// in the address"
    if not target.token.startswith("$"):
        return "the setting `token` is missing or is not $NAME", 'set token = "$NAME", and the secret NAME to the token'
    return None
