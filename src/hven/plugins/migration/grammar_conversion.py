"""Turn the grammars of resource descriptors into sources."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.plugins.migration.elastic_grammar import find_document_fields, find_query_text, read_elastic_index_address
from hven.plugins.migration.moved_code import READING_ADVICE, normalize_indentation, read_code
from hven.plugins.migration.python_expressions import quote_text
from hven.plugins.migration.resource_xml import Element, get_raw_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.moved_code import MovedCodeFile

DELIMITER_WORDS = {"\t": "tab", "\\t": "tab", ";": "semicolon", "|": "pipe", " ": "space", ",": "comma"}
DECOMPRESSORS = ("zcat", "gzip -dc", "gunzip", "bzcat", "xzcat", "gzip -d", "zstdcat")
GRAMMAR_TAGS = (
    "csvGrammar",
    "columnGrammar",
    "fitsProdGrammar",
    "fitsTableGrammar",
    "voTableGrammar",
    "cdfHeaderGrammar",
    "pdsGrammar",
    "odbcGrammar",
    "embeddedGrammar",
    "customGrammar",
    "reGrammar",
    "keyValueGrammar",
    "dictlistGrammar",
    "nullGrammar",
    "mySQLDumpGrammar",
    "xmlGrammar",
    "rowsetGrammar",
    "freeREGrammar",
    "directGrammar",
    "unionGrammar",
    "contextGrammar",
    "binaryGrammar",
    "transparentGrammar",
)
FILE_KINDS = {
    "fitsProdGrammar": ("fits", {"mode": "header"}),
    "fitsTableGrammar": ("fits", {}),
    "voTableGrammar": ("votable", {}),
    "cdfHeaderGrammar": ("product", {"mode": "header"}),
    "pdsGrammar": ("product", {"mode": "header"}),
    "xmlGrammar": ("xml", {}),
}
# keywords of FITS with a hyphen, which DaCHS writes with an underscore
HYPHENATED_KEYWORD_PATTERN = re.compile(r"(DATE|TIME|MJD|JD|UTC|UT|LST)_(OBS|BEG|END|AVG|STA|MID)")


@dataclass(slots=True)
class ConvertedSource:
    """A source and what rowmakers must know of it.

    Attributes
    ----------
    options
        The source, as the descriptor has it; empty: the grammar has no equivalent.
    renamed_columns
        Names that the grammar gives to columns of the source.
    is_text
        Whether columns of the source can be declared as texts.
    is_header
        Whether its columns are keywords of FITS.
    needs_columns
        Whether the names and types of its columns must be declared.
    code_words
        Texts in its code, which can be names of columns.
    directory
        Directory of the resource descriptor's data, as the descriptor names it.
    directory_name
        Its path in DaCHS, with which the paths of files begin there.
    """

    options: dict[str, Any] = field(default_factory=dict)
    renamed_columns: dict[str, str] = field(default_factory=dict)
    is_text: bool = False
    is_header: bool = False
    needs_columns: bool = False
    code_words: frozenset[str] = frozenset()
    directory: str = ""
    directory_name: str = ""

    @property
    def is_file(self) -> bool:
        """Whether each row is one file."""
        return self.options.get("mode") == "header"

    def list_path_parts(self) -> tuple[tuple[bool, str], ...]:
        """List the parts of the path that DaCHS has for the file of a row, each with whether it is a literal."""
        path = "file.path"
        if self.directory not in {"", "."}:
            path = f"replace(file.path, {quote_text(self.directory + '/')}, '')"
        return ((True, f"{self.directory_name}/"), (False, path)) if self.directory_name else ((False, path),)

    def has_column(self, name: str) -> bool:
        """Return whether the source can have a column, as far as its options tell."""
        names = self.options.get("names") or self.options.get("fields")
        if names is not None:
            return name.lower() in {known.lower() for known in names}
        return not self.is_header or re.fullmatch(r"[A-Z0-9_-]{1,8}", name) is not None

    def find_source_name(self, name: str) -> str:
        """Return the name that the source itself has for a column."""
        name = self.renamed_columns.get(name, name)
        if self.is_header:
            match = HYPHENATED_KEYWORD_PATTERN.fullmatch(name)
            return f"{match[1]}-{match[2]}" if match else name
        return name

    def set_column_types(self, text_names: set[str], used_names: set[str], types: Mapping[str, str]) -> None:
        """Declare the types of columns: of texts, and of all columns of Python code."""
        known_texts = {self.find_source_name(name) for name in text_names}
        if self.options.get("kind") == "csv":
            if known_texts:
                self.options["types"] = dict.fromkeys(sorted(known_texts), "string")
        elif self.options.get("kind") == "fixed":
            fields = self.options["fields"]
            for name in known_texts & fields.keys():
                fields[name] = {"bytes": fields[name], "type": "string"}
        elif self.is_header:
            self.options["cards"] = sorted({self.find_source_name(name) for name in used_names})
            if not self.options["cards"]:
                del self.options["cards"]
        elif self.needs_columns:
            names = sorted(used_names) or ["row"]
            self.options["columns"] = {
                name: "string" if name in text_names else types.get(name.lower(), "string") for name in names
            }


class GrammarConverter:
    """Converts the grammars of one resource.

    Parameters
    ----------
    resource_directory
        Directory to which the patterns of the descriptor are relative.
    directory_name
        Path of that directory in DaCHS.
    format_path
        Writes a path as the descriptor will name it.
    code_file
        Python that is moved beside the descriptor.
    store_connection
        Keeps the connection line of a file (``driver.txt``) as a secret, and returns ``$NAME``.
    report
        Where it notes what it did.
    """

    def __init__(
        self,
        *,
        resource_directory: Path,
        directory_name: str,
        format_path: Callable[[Path], str],
        code_file: MovedCodeFile,
        store_connection: Callable[[Path], str],
        report: MigrationReport,
    ) -> None:
        self._directory = resource_directory
        self._directory_name = directory_name
        self._format_path = format_path
        self._code_file = code_file
        self._store_connection = store_connection
        self._report = report

    def convert_data(self, data: Element) -> ConvertedSource | None:
        """Convert the sources and the grammar of a data element; None: there is no grammar."""
        grammar = data.find_child(*GRAMMAR_TAGS)
        if grammar is None or grammar.tag in {"nullGrammar", "directGrammar"}:
            if grammar is not None and grammar.tag == "directGrammar":
                self._report.add_decision(grammar, "directGrammar is a program in C: choose a source for its files")
            return None
        patterns, ignored = self._list_patterns(data)
        convert: Callable[[Element, list[str]], ConvertedSource | None] | None
        convert = getattr(self, f"_convert_{grammar.tag.lower()}", None)
        source: ConvertedSource | None
        if convert is not None:
            source = convert(grammar, patterns)
        elif grammar.tag in FILE_KINDS:
            source = self._convert_file_grammar(grammar)
        else:
            self._report.add_decision(grammar, f"{grammar.tag} has no equivalent: choose a source for its rows")
            return None
        if source is None:
            return None
        if "files" not in source.options and source.options.get("kind") not in {"python", "sql", "elastic"}:
            files = [self._format_path(self._directory / pattern) for pattern in patterns]
            if not files:
                self._report.add_decision(data, "the data element names no files")
                files = ["data/*"]
            source.options = {
                "kind": source.options["kind"],
                "files": files[0] if len(files) == 1 else files,
                **source.options,
            }
            if ignored:
                source.options["ignore"] = ignored[0] if len(ignored) == 1 else ignored
        self._report_filter_command(grammar)
        source.directory = self._format_path(self._directory)
        source.directory_name = self._directory_name
        _set_encoding(grammar, source)
        _rename_mapped_columns(grammar, source)
        self._report.add_result(grammar, f"{grammar.tag} became a source of kind {source.options['kind']}")
        return source

    def _list_patterns(self, data: Element) -> tuple[list[str], list[str]]:
        patterns: list[str] = []
        ignored: list[str] = []
        for sources in data.list_children("sources"):
            found = [item.get_value("pattern") or item.text for item in sources.list_children("pattern")]
            found += [sources.attributes.get("pattern", ""), sources.attributes.get("item", "")]
            found += sources.text.split("\n")
            found += [item.text for item in sources.list_children("item")]
            found += sources.get_value("items").split()
            for pattern in found:
                cleaned = " ".join(pattern.split())
                if cleaned:
                    patterns.append(_make_recursive(cleaned) if sources.is_true("recurse") else cleaned)
            for ignore in sources.list_children("ignoreSources"):
                if ignore.get_value("pattern"):
                    ignored.append(ignore.get_value("pattern"))
                elif ignore.get_value("fromdb"):
                    self._report.add_result(
                        ignore, "ignoreSources fromdb: `hven sync` reads only new and changed files"
                    )
                else:
                    self._report.add_decision(ignore, "ignoreSources: write the ignored files as `ignore`")
        for pattern in patterns:
            if not self._has_files(pattern):
                self._report.add_decision(data, f"no file matches {pattern}: copy the data, or correct `files`")
        return list(dict.fromkeys(patterns)), ignored

    def _has_files(self, pattern: str) -> bool:
        if pattern.startswith("/"):
            return False
        try:
            return any(True for _ in self._directory.glob(pattern))
        except (ValueError, NotImplementedError, OSError):
            return False

    def _report_filter_command(self, grammar: Element) -> None:
        command = grammar.get_value("preFilter")
        if command and not command.startswith(DECOMPRESSORS):
            self._report.add_decision(grammar, f"preFilter {command!r} is a command, which Hven does not run")

    def _convert_csvgrammar(self, grammar: Element, _patterns: list[str]) -> ConvertedSource:
        options: dict[str, Any] = {"kind": "csv"}
        delimiter = grammar.attributes.get("delimiter") or grammar.get_value("delimiter")
        if delimiter:
            word = DELIMITER_WORDS.get(delimiter, delimiter)
            if word == "space" and grammar.is_true("strip"):
                word = "whitespace"
            options["delimiter"] = word
        _add_names_and_skipped_lines(grammar, options)
        return ConvertedSource(options, is_text=True)

    def _convert_columngrammar(self, grammar: Element, _patterns: list[str]) -> ConvertedSource:
        fields: dict[str, Any] = {}
        definitions = "\n".join(grammar.get_value(name) for name in ("colDefs", "colRanges", "cols"))
        for name, start, stop in re.findall(r"([^\s:,;]+)\s*:\s*(\d+)(?:\s*-\s*(\d+))?", definitions):
            fields[name] = f"{start}-{stop}" if stop else start
        for column in grammar.list_children("col"):
            fields[column.get_value("key", "name")] = column.text.replace(" ", "")
        options: dict[str, Any] = {"kind": "fixed", "fields": fields}
        _add_names_and_skipped_lines(grammar, options)
        comment = grammar.get_value("commentIntroducer")
        if comment:
            options["comment"] = comment
        return ConvertedSource(options, is_text=True)

    def _convert_file_grammar(self, grammar: Element) -> ConvertedSource:
        kind, options = FILE_KINDS[grammar.tag]
        source = ConvertedSource({"kind": kind, **options})
        hdu = grammar.get_value("hdu", "hdusField")
        if hdu.isdigit():
            source.options["hdu"] = int(hdu)
        source.is_header = grammar.tag == "fitsProdGrammar"
        return source

    def _convert_regrammar(self, grammar: Element, _patterns: list[str]) -> ConvertedSource:
        separator = grammar.get_value("fieldSep")
        if separator not in {"\\s*", "\\s+"}:  # sources remove blanks around values
            separator = separator.removeprefix("\\s*").removesuffix("\\s*")
        options: dict[str, Any] = {"kind": "csv", "delimiter": "whitespace"}
        simple = {"\\s+": "whitespace", "": "whitespace", "\\t": "tab", ",": "comma", "\\|": "pipe", ";": "semicolon"}
        if separator in simple:
            options["delimiter"] = simple[separator]
        else:
            self._report.add_decision(grammar, f"fieldSep {separator!r} is a regular expression: choose a delimiter")
        _add_names_and_skipped_lines(grammar, options)
        for name in ("recordSep", "recordCleaner", "stopPat", "commentPat"):
            if grammar.get_value(name):
                self._report.add_decision(grammar, f"reGrammar: {name} {grammar.get_value(name)!r} has no equivalent")
        return ConvertedSource(options, is_text=True)

    def _convert_odbcgrammar(self, grammar: Element, patterns: list[str]) -> ConvertedSource:
        query = " ".join((grammar.get_value("query") or "").split())
        driver_file = next((pattern for pattern in patterns if "*" not in pattern), "driver.txt")
        secret = self._store_connection(self._directory / driver_file)
        options = {"kind": "sql", "url": secret, "query": query}
        make_query = grammar.find_child("makeQuery")
        if not query and make_query is not None:
            code = make_query.find_child("code") or make_query
            options["query"] = find_query_text(normalize_indentation(get_raw_text(code))) or "SELECT 1 AS id"
            self._report.add_decision(
                make_query,
                "makeQuery is Python, which is not run: check the query; for new rows alone, write "
                "`sync: {watermark: COLUMN}`",
            )
        return ConvertedSource(options)

    def _convert_embeddedgrammar(self, grammar: Element, patterns: list[str]) -> ConvertedSource | None:
        iterator = grammar.find_child("iterator")
        code_element = None if iterator is None else iterator.find_child("code")
        if iterator is None or code_element is None:
            self._report.add_decision(grammar, "embeddedGrammar has no code here: choose a source for its rows")
            return None
        parts = [
            part
            for setup in iterator.list_children("setup")
            for part in (setup, *setup.list_children("par", "code"))
            if part.text
        ]
        parts += iterator.list_children("bind")
        lines = [
            f"{part.get_value('key', 'name')} = {part.text}"
            if part.tag in {"par", "bind"}
            else normalize_indentation(get_raw_text(part))
            for part in (*parts, code_element)
        ]
        code = "\n".join(lines)
        name, facts = self._code_file.add_row_source("rows", code, code_element.line)
        self._note_code(code_element, name, facts.fault, facts.unknown_names)
        return self._build_python_source(name, patterns, code)

    def _convert_customgrammar(self, grammar: Element, patterns: list[str]) -> ConvertedSource:
        module = grammar.get_value("module")
        path = self._directory / (module if module.endswith(".py") else f"{module}.py")
        if not path.resolve().is_relative_to(self._directory.resolve()):
            path = self._directory / "missing.py"  # a file elsewhere is not read
        code = read_code(path).decode("utf-8", "replace")
        for pattern in patterns:
            address = read_elastic_index_address(self._directory / pattern)
            if address is not None:
                return self._build_elastic_source(grammar, code, pattern, address)
        name, facts = self._code_file.add_grammar_module("rows", path)
        self._note_code(grammar, name, facts.fault, facts.unknown_names)
        if grammar.is_true("isDispatching"):
            self._report.add_decision(
                grammar, "the code yields rows of several tables (isDispatching): make one function for each table"
            )
        return self._build_python_source(name, patterns, code)

    def _build_elastic_source(
        self, grammar: Element, code: str, query_file: str, address: tuple[str, str]
    ) -> ConvertedSource:
        url, index = address
        fields, computed_names = find_document_fields(code)
        for name in computed_names:
            self._report.add_decision(
                grammar, f"{name} is computed by {grammar.get_value('module')}: write it as `map`"
            )
        if re.search(r"verify\s*=\s*False|CERT_NONE|_create_unverified_context", code):
            self._report.add_decision(
                grammar, "the script did not check the server's certificate: Hven does; see SSL_CERT_FILE"
            )
        self._report.add_result(
            grammar, f"{query_file} is a query of Elasticsearch: {len(fields)} fields of its documents"
        )
        options: dict[str, Any] = {
            "kind": "elastic",
            "url": url,
            "index": index,
            "query": self._format_path(self._directory / query_file),
        }
        if fields and not computed_names:
            options["source"] = sorted(
                {path.removeprefix("_source.") for path in fields.values() if path.startswith("_source.")}
            )
        return ConvertedSource(options, renamed_columns=fields)

    def _note_code(self, element: Element, name: str, fault: str, unknown_names: list[str]) -> None:
        file = self._code_file.file_name
        if fault:
            self._report.add_decision(element, f"the code is in {file} as a comment, because {fault}: write {name}()")
        elif unknown_names:
            names = ", ".join(unknown_names[:6])
            self._report.add_decision(element, f"the code moved to {name}() of {file} uses names of DaCHS: {names}")
        else:
            self._report.add_result(element, f"the code moved to {name}() of {file}: {READING_ADVICE}")

    def _build_python_source(self, name: str, patterns: list[str], code: str) -> ConvertedSource:
        options: dict[str, Any] = {"kind": "python", "file": self._code_file.file_name, "function": name}
        if patterns:
            options["arguments"] = {"pattern": self._format_path(self._directory / patterns[0])}
        words = frozenset(re.findall(r"""['"](\w+)['"]""", code))
        return ConvertedSource(options, needs_columns=True, code_words=words)


def _make_recursive(pattern: str) -> str:
    """Write a pattern that DaCHS applies in all directories below."""
    folder, separator, name = pattern.rpartition("/")
    if "*" in folder:
        return pattern
    return f"{folder}/**/{name}" if separator else f"**/{name}"


def _add_names_and_skipped_lines(grammar: Element, options: dict[str, Any]) -> None:
    names = [name for name in re.split(r"[,\s]+", grammar.get_value("names")) if name]
    if names:
        options |= {"header": False, "names": names}
    skipped = grammar.get_value("topIgnoredLines")
    if skipped.isdigit() and int(skipped):
        options["skip"] = int(skipped)


def _set_encoding(grammar: Element, source: ConvertedSource) -> None:
    encoding = grammar.get_value("enc", "encoding")
    if encoding and source.options.get("kind") in {"csv", "fixed"}:
        source.options["encoding"] = encoding.lower()


def _rename_mapped_columns(grammar: Element, source: ConvertedSource) -> None:
    """Rename columns of the source as ``mapKeys`` says."""
    for line in re.split(r"[,\n]", grammar.get_value("mapKeys", "keys")):
        target, separator, name = line.partition(":")
        if separator:
            source.renamed_columns[target.strip()] = name.strip()
    for entry in (grammar.find_child("mapKeys") or Element("mapKeys", {}, 0)).list_children("map"):
        source.renamed_columns[entry.get_value("key", "dest")] = entry.text or entry.get_value("source")
