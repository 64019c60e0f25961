"""The settings of this package in hven.toml: ``[submissions]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import URL_PATTERN, SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings

MAX_CATALOGUE_SECONDS = 3_600  # which the setting may allow


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSettings:
    """From where Hven fetches what users submit by name."""

    vizier: str = define_setting(
        "https://cdsarc.cds.unistra.fr/ftp",
        (
            "address of the directories of VizieR's catalogues, or of a mirror. Hven fetches a catalogue when a user "
            "submits it"
        ),
        pattern=URL_PATTERN,
        example="an address such as 'https://cdsarc.cds.unistra.fr/ftp'",
    )
    vizier_seconds: int = define_setting(
        600, "time limit in seconds for fetching a catalogue", ge=1, le=MAX_CATALOGUE_SECONDS
    )


SUBMISSIONS_SECTION = SettingsSection(
    name="submissions",
    settings_class=SubmissionSettings,
    doc="from where Hven fetches catalogues that users submit",
    previous_setting="jobs",
    example_text="""\
[submissions]
vizier = "https://mirror.example.org/ftp"
vizier_seconds = 120
""",
)


def get_submission_settings(settings: Settings) -> SubmissionSettings:
    """Return ``[submissions]``.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    submission_settings: SubmissionSettings = settings.brought.get(SUBMISSIONS_SECTION.key, SubmissionSettings())
    return submission_settings
