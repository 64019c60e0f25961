"""The sections ``[targets.NAME]`` of hven.toml: the sites to which collections are promoted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import Fault, NotFoundError, TextPlace, UserError, suggest_spelling
from hven.model.settings import SETTINGS_FILE, SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionTarget:
    """A site to which collections are promoted: ``[targets.NAME]``."""

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [targets.NAME]", is_section_name=True)
    )
    site: str = define_setting(
        "", "directory of the other site, on a disk of this machine. It may be relative to this site's directory"
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
    doc="sites to which `hven promote` copies collections",
    is_repeated=True,
    previous_setting="data",
    example_text="""\
[targets.gold]
site = "/srv/gold"
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
        remedy = suggest_spelling(name, targets) or f'add [targets.{name}] with site = "DIR" to {place.file}'
        raise NotFoundError(f"there is no target {name!r:.80}", remedy=remedy)
    problem = _find_site_problem(targets[name], settings)
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
    """Return what is wrong with the directory of a target, and the remedy; None: nothing is."""
    if not target.site:
        return "the setting `site` is missing", "set site to the directory of the other site"
    directory = target.locate_site(settings)
    if directory == settings.directory.resolve():
        return "the target is this site itself", "set site to the directory of the other site"
    if not (directory / SETTINGS_FILE).is_file():
        return f"{directory} is not a site: it has no {SETTINGS_FILE}", f"create one with `hven init {directory}`"
    return None
