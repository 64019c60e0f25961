"""What the key ``submissions`` contains."""

from typing import Literal

from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class SubmissionsSection(DescriptorSection, hints={"users": "submitters", "columns": "values"}):
    """Files that users submit with the rows of a table. The table needs the source `push`, and an entry in `files`."""

    path: Required[Text]
    "column that receives the path of each file"
    sha256: Required[Text]
    "column that receives the SHA-256 of each file, by which Hven recognises it"
    to: Text
    "folder for the files, beside the descriptor. Default: `submitted`"
    files: Text
    "what the files are: `fits` or `oifits`. Default: `fits`. CSV files are always tables of rows"
    profile: Literal["jmmc", "strict", "lenient"]
    "severity of broken `oifits` rules: as in JMMC's checker, all errors, or all information. Default: jmmc"
    values: dict[str, Text]
    "for each column: its name in CSV files or granules, or its keyword in FITS files. Default: the same name"
    submitters: OneOrMore[Text]
    "who can submit files: accounts, groups or `project:NAME:contributor`. Default: all accounts that see the table"
    moderated: bool
    "whether the `writers` of the source `push` decide on each submission. Default: false"
    errors: Literal["block", "show"]
    "whether errors in files block a submission, or are only shown to the author and the moderators. Default: block"
    warnings: Literal["note", "show", "block"]
    "whether warnings need a note from the author, are only shown, or block a submission. Default: note"
    shared: OneOrMore[Text]
    "columns in which all rows of a submission have the same value, such as the collection"
    identity: OneOrMore[Text]
    "columns that identify what a row is about. Rows with equal values in them are versions of each other"
    version: Text
    "column that receives the number of the version: 1, 2, ..."
