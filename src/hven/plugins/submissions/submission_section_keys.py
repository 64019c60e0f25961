"""What the key ``submissions`` of tables and the section ``[submissions]`` of hven.toml contain."""

from dataclasses import dataclass
from typing import Literal

from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Text
from hven.model.settings import URL_PATTERN, Settings, SettingsSection, define_setting

MAX_CATALOGUE_SECONDS = 3_600  # which the setting may allow


class SubmissionsSection(DescriptorSection, empty=True, hints={"users": "submitters", "columns": "values"}):
    """Files that users submit with the rows of a table. The table needs the source `push`, and an entry in `files`."""

    path: Text
    "column that receives the path of each file. Without it, users submit only rows, as CSV or JSON"
    sha256: Text
    "column that receives the SHA-256 of each file, by which Hven recognises files that the table already has"
    to: Text
    "folder for the files, beside the descriptor. Default: `submitted`"
    files: Text
    "format of the files: `fits` or `oifits`. Default: `fits`. Hven always reads CSV files as tables of rows"
    profile: Literal["jmmc", "strict", "lenient"]
    "severity of broken `oifits` rules. jmmc (default): as in JMMC's checker; strict: error; lenient: information"
    values: dict[str, Text]
    (
        "for each column: the name of the CSV column, FITS keyword or granule column that contains its values. "
        "Default: the same name"
    )
    submitters: OneOrMore[Text]
    "who can submit files: accounts, groups or `project:NAME:contributor`. Default: all accounts that see the table"
    moderated: bool
    "whether the `writers` of the source `push` decide on each submission. Default: false"
    errors: Literal["block", "show"]
    "block: Hven leaves out files with errors; show: it only shows the errors to author and moderators. Default: block"
    level: Text
    "column with the calibration level. With it, errors block only rows whose level is not 0"
    warnings: Literal["note", "show", "block"]
    (
        "note: the author must explain warnings in a note; show: the author only sees them; block: the author can't "
        "submit. Default: note"
    )
    shared: OneOrMore[Text]
    "columns in which all rows of a submission have the same value, such as the collection"
    identity: OneOrMore[Text]
    "columns that identify what a row is about. Rows with equal values in these columns are versions of each other"
    version: Text
    "column that receives the number of the version: 1, 2, ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSettings:
    """What users may submit, and from where Hven fetches what they submit by name."""

    vizier: str = define_setting(
        "https://cdsarc.cds.unistra.fr/ftp",
        (
            "address of the directories of VizieR's catalogues, or of a mirror. Hven fetches a catalogue when a user "
            "submits it"
        ),
        pattern=URL_PATTERN,
        example="an address such as 'https://cdsarc.cds.unistra.fr/ftp'",
    )
    upload: int | None = define_setting(
        None,
        "maximum size in bytes of the files of a request, also unpacked. Default: `limits.upload`",
        ge=1,
        size=True,
    )
    vizier_seconds: int = define_setting(
        600, "time limit in seconds for fetching a catalogue", ge=1, le=MAX_CATALOGUE_SECONDS
    )


SUBMISSIONS_SECTION = SettingsSection(
    name="submissions",
    settings_class=SubmissionSettings,
    doc="how much users may submit, and from where Hven fetches catalogues that they submit",
    previous_setting="jobs",
    example_text="""\
[submissions]
vizier = "https://mirror.example.org/ftp"
vizier_seconds = 120
upload = "2 GB"
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


def get_upload_limit(settings: Settings) -> int:
    """Return the largest size of the files of a request, in bytes.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    return get_submission_settings(settings).upload or settings.limits.upload
