"""Make the tables and files of a paper a collection: ``hven new --paper``.

They are copied beside the descriptor, which takes title, authors and abstract from a ReadMe or BibTeX.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hven.descriptor.api.yaml_text import format_yaml_flow_value, format_yaml_folded_text, format_yaml_scalar
from hven.model import plugins
from hven.model.errors import NotFoundError, SourceError, TooLargeError, UsageError
from hven.model.resource import parse_work_identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE_EXTENSIONS = (".csv", ".tsv", ".vot", ".parquet", ".fits", ".fit", ".xml", ".dat")  # likeliest table first
COMPANION_FILE_PATTERN = re.compile(r"readme.*|.*\.(md|txt|bib|pdf)", re.IGNORECASE)  # files that describe tables
MAX_COPIED_BYTES = 2 * 1024**3
MAX_LISTED_FILES = 5
CREATORS_PLACEHOLDER = (
    '# creators: [{name: "Brahe, T.", orcid: ..}]  # to fill: who made the data, in the order of citation'
)
SUBJECTS_PLACEHOLDER = "# subjects: [..]  # to fill: terms from the Unified Astronomy Thesaurus"
LICENCE_PLACEHOLDER = "# licence: CC-BY-4.0  # to fill: what the authors allow"
README_KEYWORDS_PATTERN = re.compile(r"^Keywords\s*:\s*((?:.+\n)(?:[ \t]+\S.*\n)*)", re.MULTILINE)
BIBTEX_FIELDS = (("title", "title"), ("author", "authors"), ("abstract", "abstract"), ("keywords", "keywords"))


def copy_paper_files(directory: Path, source: str) -> tuple[Path, list[Path]]:
    """Copy the files of a paper into ``data/`` beside the descriptor.

    Parameters
    ----------
    directory
        Directory of the descriptor.
    source
        The table, or the folder that has it.

    Returns
    -------
    table, files
        Paths of the copies; the table is one of the files.

    Raises
    ------
    NotFoundError, UsageError
        The source does not exist or has no table; several files may be the table.
    TooLargeError
        The files are too large to be copied.
    """
    source_path = Path(source).expanduser()
    if not source_path.exists():
        raise NotFoundError(
            f"{source} does not exist",
            remedy="write --from FILE, or --from FOLDER to use the folder that contains the paper's files",
        )
    folder = source_path.parent
    if source_path.is_dir():
        folder = source_path
    paper_files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if source_path.is_file():
        table = source_path
    else:
        table = _choose_table_file(paper_files, source)
    size = sum(path.stat().st_size for path in paper_files)
    if size > MAX_COPIED_BYTES:
        raise TooLargeError(
            f"the total size of the files in {folder} is {size:,} bytes; Hven copies at most "
            f"{MAX_COPIED_BYTES:,} bytes",
            remedy="run `hven new --from FILE` without `--paper`; then Hven reads the files where they are",
        )
    data_folder = directory / "data"
    data_folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in paper_files:
        copy = data_folder / path.name
        if path.resolve() != copy.resolve():
            shutil.copy2(path, copy)
        copies.append(copy)
    return data_folder / table.name, copies


def _choose_table_file(files: Sequence[Path], source: str) -> Path:
    data_files = [path for path in files if not COMPANION_FILE_PATTERN.fullmatch(path.name)]
    for extension in TABLE_EXTENSIONS:
        table_files = [path for path in data_files if path.name.lower().removesuffix(".gz").endswith(extension)]
        if len(table_files) > 1:
            names = ", ".join(path.name for path in table_files[:MAX_LISTED_FILES])
            if len(table_files) > MAX_LISTED_FILES:
                names += ", .."
            raise UsageError(
                f"{source} has several files that could be the table: {names}",
                remedy=f"choose one: --from {table_files[0]}",
            )
        if table_files:
            return table_files[0]
    raise NotFoundError(
        f"{source} contains no table",
        remedy=f"write --from FILE, or add a file with one of these extensions: {', '.join(TABLE_EXTENSIONS)}",
    )


def parse_paper_identifiers(papers: Sequence[str]) -> tuple[str | None, list[str]]:
    """Sort identifiers of papers into the bibcode and the others.

    Parameters
    ----------
    papers
        Identifiers as given.

    Returns
    -------
    bibcode, other_identifiers
        The first bibcode, and the DOIs and further bibcodes.

    Raises
    ------
    UsageError
        A text is neither a DOI nor a bibcode.
    """
    bibcode = None
    other_identifiers = []
    for text in papers:
        identifier = parse_work_identifier(text)
        if identifier is None:
            raise UsageError(
                f"{text!r:.80} is neither a DOI nor a bibcode",
                remedy="write a DOI or a bibcode, for example --paper 10.1051/0004-6361/201834520 or "
                "--paper 2019A&A...622A..60C",
            )
        identifier_kind, normalized_identifier = identifier
        if identifier_kind == "bibcode" and bibcode is None:
            bibcode = normalized_identifier
        else:
            other_identifiers.append(normalized_identifier)
    return bibcode, other_identifiers


def add_paper_metadata(
    text: str, papers: Sequence[str], files: Sequence[Path], table: Path, licence: str | None
) -> str:
    """Write the metadata of a paper into a first descriptor.

    Parameters
    ----------
    text
        Text of the descriptor as `hven new` drafts it.
    papers
        Identifiers of the paper.
    files
        Copied files of the paper.
    table
        The file of them that is the table.
    licence
        Name of the licence; None: nobody named one.

    Returns
    -------
    text
        Text of the descriptor with the metadata.
    """
    bibcode, other_identifiers = parse_paper_identifiers(papers)
    paper_metadata = _read_paper_metadata(files)
    if not re.search(r"^# description:", text, re.MULTILINE):  # the draft has it already
        paper_metadata.pop("abstract", None)
    if bibcode:
        paper_metadata["bibcode"] = bibcode
    lines = []
    if "title" in paper_metadata:
        lines.append(f"title: {format_yaml_scalar(paper_metadata['title'])}")
    if "abstract" in paper_metadata:
        lines += format_yaml_folded_text("description", paper_metadata["abstract"])
    lines += _write_credit_lines(text, paper_metadata, licence)
    if "bibcode" in paper_metadata:
        lines.append(f"bibcode: {format_yaml_scalar(paper_metadata['bibcode'])}")
    if other_identifiers:
        lines.append(f"related: {format_yaml_flow_value(other_identifiers)}")
    lines += ["type: [Catalog]", "registry: {publish: true}"]
    other_files = [f"data/{path.name}" for path in files if path != table]
    if other_files:
        lines.append(f"files: {format_yaml_flow_value(other_files)}")
    remaining_lines = [line for line in text.splitlines() if not _is_replaced_line(line, paper_metadata)]
    line_numbers = [number for number, line in enumerate(remaining_lines, 1) if line.startswith("collection:")]
    insertion_index = line_numbers[0]
    lines_before, lines_after = remaining_lines[:insertion_index], remaining_lines[insertion_index:]
    return "\n".join([*lines_before, *lines, *lines_after]) + "\n"


def _write_credit_lines(text: str, paper_metadata: dict[str, str], licence: str | None) -> list[str]:
    """Write creators, subjects and licence, or the comments that ask for them."""
    lines = []
    readme = plugins.load_plugin("sources", "fixed").readme
    creators = readme.split_authors(paper_metadata.get("authors", ""))
    if creators:
        lines.append(f"creators: {format_yaml_flow_value(creators)}")
    elif not re.search(r"^creators:", text, re.MULTILINE):  # the draft may have them
        lines.append(CREATORS_PLACEHOLDER)
    keywords = re.split(r"\s+-+\s+|;", paper_metadata.get("keywords", ""))
    subjects = [keyword.strip(" .").lower() for keyword in keywords if keyword.strip(" .")]
    if subjects:
        lines.append(f"subjects: {format_yaml_flow_value(subjects)}")
    else:
        lines.append(SUBJECTS_PLACEHOLDER)
    if licence:
        lines.append(f"licence: {format_yaml_scalar(licence)}")
    else:
        lines.append(LICENCE_PLACEHOLDER)
    return lines


_PLACEHOLDER_LINE_PATTERN = re.compile(r"# (creators|licence|description):")


def _is_replaced_line(line: str, paper_metadata: dict[str, str]) -> bool:
    """Return whether the paper's metadata replaces a line of the draft."""
    if line.startswith("creators:"):
        return "authors" in paper_metadata
    if line.startswith("bibcode:"):
        return "bibcode" in paper_metadata
    if line.startswith("title:"):
        return "title" in paper_metadata
    if line.startswith("# description"):
        return "abstract" in paper_metadata and line.startswith("# description:")
    return _PLACEHOLDER_LINE_PATTERN.match(line) is not None


def _read_paper_metadata(files: Sequence[Path]) -> dict[str, str]:
    """Read title, authors, bibcode, abstract and keywords from a ReadMe of CDS, or from BibTeX."""
    metadata: dict[str, str] = {}
    readme = plugins.load_plugin("sources", "fixed").readme
    for path in files:
        if path.suffix.lower() == ".bib":
            bibtex = _parse_bibtex(path.read_text("utf-8", "replace"))
            metadata = {**bibtex, **metadata}
        elif re.match(r"readme", path.name, re.IGNORECASE):
            try:
                readme_contents = readme.read_readme(path)
            except SourceError:
                continue
            readme_fields = {
                "title": readme_contents.title,
                "authors": "; ".join(readme_contents.authors),
                "bibcode": readme_contents.bibcode,
                "abstract": readme_contents.abstract,
            }
            keywords = README_KEYWORDS_PATTERN.search(path.read_text("latin-1"))
            if keywords:
                readme_fields["keywords"] = keywords[1]
            metadata |= {key: " ".join(value.split()) for key, value in readme_fields.items() if value}
    return metadata


def _parse_bibtex(text: str) -> dict[str, str]:
    """Read the fields of the first entry of BibTeX that a collection has, too."""
    bibtex_fields = {}
    flags = re.MULTILINE | re.DOTALL | re.IGNORECASE
    for bibtex_name, name in BIBTEX_FIELDS:
        match = re.search(rf"^\s*{bibtex_name}\s*=\s*[{{\"](.*?)[}}\"]\s*,?\s*$", text, flags)
        if match:
            plain_text = re.sub(r"[{}]|\\[a-z]+\s*", "", match[1])
            bibtex_fields[name] = " ".join(plain_text.split())
    return bibtex_fields
