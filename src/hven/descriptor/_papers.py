"""``hven new --paper``: the tables and files of a paper as a collection: copied beside the descriptor, with title, authors and abstract of its ReadMe or BibTeX."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hven.descriptor._yaml_text import flow, folded, scalar
from hven.model import plugins
from hven.model.errors import NotFound, SourceError, TooLarge, UsageError
from hven.model.resource import identified

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES = (
    ".csv",
    ".tsv",
    ".vot",
    ".parquet",
    ".fits",
    ".fit",
    ".xml",
    ".dat",
)  # which is the table, the likeliest first
BESIDE = re.compile(r"readme.*|.*\.(md|txt|bib|pdf)", re.IGNORECASE)  # what describes, and is none
MOST = 2 * 1024**3  # bytes that are copied
NAMED = 5


def prepare(directory: Path, source: str) -> tuple[Path, list[Path]]:
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
    NotFound, UsageError
        There is nothing there; several files may be the table.
    TooLarge
        They are too large to be copied.
    """
    given = Path(source).expanduser()
    if not given.exists():
        raise NotFound(f"{source} is not there", remedy="--from FILE, or the folder of the paper's files")
    folder = given if given.is_dir() else given.parent
    there = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
    table = given if given.is_file() else _table(there, source)
    size = sum(one.stat().st_size for one in there)
    if size > MOST:
        raise TooLarge(f"{folder} has {size:,} bytes; {MOST:,} are copied at most", remedy="hven new --from FILE without --paper reads them from where they are")  # fmt: skip
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    for one in there:
        if one.resolve() != (data / one.name).resolve():
            shutil.copy2(one, data / one.name)
    return data / table.name, [data / one.name for one in there]


def _table(there: Sequence[Path], source: str) -> Path:
    for ending in TABLES:
        found = [one for one in there if one.name.lower().removesuffix(".gz").endswith(ending) and not BESIDE.fullmatch(one.name)]  # fmt: skip
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:NAMED]) + ", .." * (len(found) > NAMED)
            raise UsageError(f"{source} has several files that may be the table: {names}", remedy=f"--from {found[0]}")
        if found:
            return found[0]
    raise NotFound(f"{source} has no table", remedy=f"a file that ends in {', '.join(TABLES)}, or --from FILE")


def identifiers(papers: Sequence[str]) -> tuple[str | None, list[str]]:
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
    bibcode, others = None, []
    for text in papers:
        known = identified(text)
        if known is None:
            raise UsageError(f"{text!r:.80} is neither a DOI nor a bibcode", remedy="--paper 10.1051/0004-6361/201834520, --paper 2019A&A...622A..60C")  # fmt: skip
        if known[0] == "bibcode" and bibcode is None:
            bibcode = known[1]
        else:
            others.append(known[1])
    return bibcode, others


def written(text: str, papers: Sequence[str], files: Sequence[Path], table: Path, licence: str | None) -> str:
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
    bibcode, others = identifiers(papers)
    about = _said(files)
    if not re.search(r"^# description:", text, re.MULTILINE):  # the draft has it already
        about.pop("abstract", None)
    about |= {"bibcode": bibcode} if bibcode else {}
    bibcode = about.get("bibcode")
    people = plugins.load("sources", "fixed").readme.split_authors(about.get("authors", ""))
    lines = [f"title: {scalar(about['title'])}" if "title" in about else "", *(folded("description", about["abstract"]) if "abstract" in about else [])]  # fmt: skip
    if people:
        lines.append(f"creators: {flow(people)}")
    elif not re.search(r"^creators:", text, re.MULTILINE):  # the draft may have them
        lines.append(
            '# creators: [{name: "Brahe, T.", orcid: ..}]  # to fill: who made the data, in the order of citation'
        )
    subjects = [one.strip(" .").lower() for one in re.split(r"\s+-+\s+|;", about.get("keywords", "")) if one.strip(" .")]  # fmt: skip
    lines.append(f"subjects: {flow(subjects)}" if subjects else "# subjects: [..]  # to fill: words of the Unified Astronomy Thesaurus")  # fmt: skip
    lines.append(f"licence: {scalar(licence)}" if licence else "# licence: CC-BY-4.0  # to fill: what may be done with it, as its authors say")  # fmt: skip
    lines += [f"bibcode: {scalar(bibcode)}"] if bibcode else []
    lines += [f"related: {flow(others)}"] if others else []
    lines += ["type: [Catalog]", "registry: {publish: true}"]
    rest = [f"data/{one.name}" for one in files if one != table]
    lines += [f"files: {flow(rest)}"] if rest else []
    found = text.splitlines()
    head = [one for one in found if not _replaced(one, about)]
    at = next(number for number, one in enumerate(head) if one.startswith("collection:")) + 1
    return "\n".join([*head[:at], *(one for one in lines if one), *head[at:]]) + "\n"


_PLACEHOLDER = re.compile(r"# (creators|licence|description):")


def _replaced(line: str, about: dict[str, str]) -> bool:
    """Return whether a line of the draft says what is said better."""
    if line.startswith(("creators:", "bibcode:")):
        return {"creators": "authors", "bibcode": "bibcode"}[line.partition(":")[0]] in about
    if line.startswith("title:"):
        return "title" in about
    return bool(_PLACEHOLDER.match(line)) and ("abstract" in about or not line.startswith("# description"))


def _said(files: Sequence[Path]) -> dict[str, str]:
    """Read what a ReadMe of CDS, or a file of BibTeX, says of a paper."""
    found: dict[str, str] = {}
    readme = plugins.load("sources", "fixed").readme
    for one in files:
        if one.suffix.lower() == ".bib":
            found = {**_bibtex(one.read_text("utf-8", "replace")), **found}
        elif re.match(r"readme", one.name, re.IGNORECASE):
            try:
                known = readme.read(one)
            except SourceError:
                continue
            told = {"title": known.title, "authors": "; ".join(known.authors), "bibcode": known.bibcode, "abstract": known.abstract}  # fmt: skip
            keywords = re.search(r"^Keywords\s*:\s*((?:.+\n)(?:[ \t]+\S.*\n)*)", one.read_text("latin-1"), re.MULTILINE)
            told["keywords"] = keywords[1] if keywords else None
            found |= {key: " ".join(value.split()) for key, value in told.items() if value}
    return found


def _bibtex(text: str) -> dict[str, str]:
    """Read the fields of the first entry of BibTeX that say what a collection says."""
    found = {}
    for key, name in (("title", "title"), ("author", "authors"), ("abstract", "abstract"), ("keywords", "keywords")):
        match = re.search(rf"^\s*{key}\s*=\s*[{{\"](.*?)[}}\"]\s*,?\s*$", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)  # fmt: skip
        if match:
            found[name] = " ".join(re.sub(r"[{}]|\\[a-z]+\s*", "", match[1]).split())
    return found


__all__ = ["identifiers", "prepare", "written"]
