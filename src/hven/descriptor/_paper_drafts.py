"""``hven new --paper``: the tables and files of a paper as a collection.

Copied beside the descriptor, with title, authors and abstract of its ReadMe or BibTeX.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hven.descriptor._yaml_text import format_flow_value, format_folded_text, format_scalar
from hven.model import plugins
from hven.model.errors import NotFoundError, SourceError, TooLargeError, UsageError
from hven.model.resource import parse_work_identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE_EXTENSIONS = (
    ".csv",
    ".tsv",
    ".vot",
    ".parquet",
    ".fits",
    ".fit",
    ".xml",
    ".dat",
)  # which is the table, the likeliest first
COMPANION_FILE_PATTERN = re.compile(r"readme.*|.*\.(md|txt|bib|pdf)", re.IGNORECASE)  # what describes, and is none
MAX_COPIED_BYTES = 2 * 1024**3  # bytes that are copied
MAX_LISTED_FILES = 5


def copy_paper_files(directory: Path, source: str) -> tuple[Path, list[Path]]:
    """Copy what belongs to a paper beside the descriptor that is to be.

    Parameters
    ----------
    directory
        Of the descriptor.
    source
        The table, or the folder that has one.

    Returns
    -------
    table, files
        Where they are now; the table is one of them.

    Raises
    ------
    NotFoundError, UsageError
        There is nothing there; several files may be the table.
    TooLargeError
        They are too large to be copied.
    """
    source_path = Path(source).expanduser()
    if not source_path.exists():
        raise NotFoundError(f"{source} is not there", remedy="--from FILE, or the folder of the paper's files")
    if source_path.is_dir():
        folder = source_path
    else:
        folder = source_path.parent
    paper_files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    if source_path.is_file():
        table = source_path
    else:
        table = _choose_table_file(paper_files, source)
    size = sum(file.stat().st_size for file in paper_files)
    if size > MAX_COPIED_BYTES:
        raise TooLargeError(
            f"{folder} has {size:,} bytes; {MAX_COPIED_BYTES:,} are copied at most",
            remedy="hven new --from FILE without --paper reads them from where they are",
        )
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    for file in paper_files:
        if file.resolve() != (data / file.name).resolve():
            shutil.copy2(file, data / file.name)
    return data / table.name, [data / file.name for file in paper_files]


def _choose_table_file(files: Sequence[Path], source: str) -> Path:
    for extension in TABLE_EXTENSIONS:
        table_files = [
            file
            for file in files
            if file.name.lower().removesuffix(".gz").endswith(extension)
            and not COMPANION_FILE_PATTERN.fullmatch(file.name)
        ]
        if len(table_files) > 1:
            names = ", ".join(file.name for file in table_files[:MAX_LISTED_FILES]) + ", .." * (
                len(table_files) > MAX_LISTED_FILES
            )
            raise UsageError(
                f"{source} has several files that may be the table: {names}", remedy=f"--from {table_files[0]}"
            )
        if table_files:
            return table_files[0]
    raise NotFoundError(
        f"{source} has no table", remedy=f"a file that ends in {', '.join(TABLE_EXTENSIONS)}, or --from FILE"
    )


def parse_paper_identifiers(papers: Sequence[str]) -> tuple[str | None, list[str]]:
    """Sort identifiers of papers.

    Parameters
    ----------
    papers
        As they were given.

    Returns
    -------
    bibcode, others
        The first bibcode; and the rest.

    Raises
    ------
    UsageError
        One is none.
    """
    bibcode = None
    other_identifiers = []
    for text in papers:
        identifier = parse_work_identifier(text)
        if identifier is None:
            raise UsageError(
                f"{text!r:.80} is neither a DOI nor a bibcode",
                remedy="--paper 10.1051/0004-6361/201834520, --paper 2019A&A...622A..60C",
            )
        if identifier[0] == "bibcode" and bibcode is None:
            bibcode = identifier[1]
        else:
            other_identifiers.append(identifier[1])
    return bibcode, other_identifiers


def add_paper_metadata(
    text: str, papers: Sequence[str], files: Sequence[Path], table: Path, licence: str | None
) -> str:
    """Write what a paper says into a first descriptor.

    Parameters
    ----------
    text
        Of the descriptor, as `hven new` drafts it.
    papers
        Their identifiers.
    files
        All of it, copied.
    table
        Which of them is the table.
    licence
        Name of the licence; None: nobody said one.

    Returns
    -------
    text
        Of the descriptor.
    """
    bibcode, other_identifiers = parse_paper_identifiers(papers)
    paper_metadata = _read_paper_metadata(files)
    if not re.search(r"^# description:", text, re.MULTILINE):  # the draft has it already
        paper_metadata.pop("abstract", None)
    paper_metadata |= {"bibcode": bibcode} if bibcode else {}
    bibcode = paper_metadata.get("bibcode")
    plugin = plugins.load_plugin("sources", "fixed")
    creators = plugin.readme.split_authors(paper_metadata.get("authors", ""))
    lines = [
        f"title: {format_scalar(paper_metadata['title'])}" if "title" in paper_metadata else "",
        *(format_folded_text("description", paper_metadata["abstract"]) if "abstract" in paper_metadata else []),
    ]
    if creators:
        lines.append(f"creators: {format_flow_value(creators)}")
    elif not re.search(r"^creators:", text, re.MULTILINE):  # the draft may have them
        lines.append(
            '# creators: [{name: "Brahe, T.", orcid: ..}]  # to fill: who made the data, in the order of citation'
        )
    subjects = [
        entry.strip(" .").lower()
        for entry in re.split(r"\s+-+\s+|;", paper_metadata.get("keywords", ""))
        if entry.strip(" .")
    ]
    lines.append(
        f"subjects: {format_flow_value(subjects)}"
        if subjects
        else "# subjects: [..]  # to fill: words of the Unified Astronomy Thesaurus"
    )
    lines.append(
        f"licence: {format_scalar(licence)}"
        if licence
        else "# licence: CC-BY-4.0  # to fill: what may be done with it, as its authors say"
    )
    lines += [f"bibcode: {format_scalar(bibcode)}"] if bibcode else []
    lines += [f"related: {format_flow_value(other_identifiers)}"] if other_identifiers else []
    lines += ["type: [Catalog]", "registry: {publish: true}"]
    other_files = [f"data/{entry.name}" for entry in files if entry != table]
    lines += [f"files: {format_flow_value(other_files)}"] if other_files else []
    draft_lines = text.splitlines()
    kept_lines = [entry for entry in draft_lines if not _is_replaced_line(entry, paper_metadata)]
    insertion_index = next(number for number, entry in enumerate(kept_lines) if entry.startswith("collection:")) + 1
    return (
        "\n".join([*kept_lines[:insertion_index], *(entry for entry in lines if entry), *kept_lines[insertion_index:]])
        + "\n"
    )


_PLACEHOLDER_LINE_PATTERN = re.compile(r"# (creators|licence|description):")


def _is_replaced_line(line: str, paper_metadata: dict[str, str]) -> bool:
    """Return whether a line of the draft says what is said better."""
    if line.startswith(("creators:", "bibcode:")):
        return {"creators": "authors", "bibcode": "bibcode"}[line.partition(":")[0]] in paper_metadata
    if line.startswith("title:"):
        return "title" in paper_metadata
    return bool(_PLACEHOLDER_LINE_PATTERN.match(line)) and (
        "abstract" in paper_metadata or not line.startswith("# description")
    )


def _read_paper_metadata(files: Sequence[Path]) -> dict[str, str]:
    """Read what a ReadMe of CDS, or a file of BibTeX, says of a paper."""
    metadata: dict[str, str] = {}
    readme = plugins.load_plugin("sources", "fixed").readme
    for file in files:
        if file.suffix.lower() == ".bib":
            bibtex = _parse_bibtex(file.read_text("utf-8", "replace"))
            metadata = {**bibtex, **metadata}
        elif re.match(r"readme", file.name, re.IGNORECASE):
            try:
                readme_contents = readme.read_readme(file)
            except SourceError:
                continue
            readme_fields = {
                "title": readme_contents.title,
                "authors": "; ".join(readme_contents.authors),
                "bibcode": readme_contents.bibcode,
                "abstract": readme_contents.abstract,
            }
            keywords = re.search(
                r"^Keywords\s*:\s*((?:.+\n)(?:[ \t]+\S.*\n)*)", file.read_text("latin-1"), re.MULTILINE
            )
            if keywords:
                readme_fields["keywords"] = keywords[1]
            else:
                readme_fields["keywords"] = None
            metadata |= {key: " ".join(value.split()) for key, value in readme_fields.items() if value}
    return metadata


def _parse_bibtex(text: str) -> dict[str, str]:
    """Read the fields of the first entry of BibTeX that say what a collection says."""
    bibtex_fields = {}
    for key, name in (("title", "title"), ("author", "authors"), ("abstract", "abstract"), ("keywords", "keywords")):
        match = re.search(
            rf"^\s*{key}\s*=\s*[{{\"](.*?)[}}\"]\s*,?\s*$", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
        )
        if match:
            bibtex_fields[name] = " ".join(re.sub(r"[{}]|\\[a-z]+\s*", "", match[1]).split())
    return bibtex_fields


__all__ = ["add_paper_metadata", "copy_paper_files", "parse_paper_identifiers"]
