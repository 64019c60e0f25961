"""Texts of a descriptor changed where they stand in its file.

Comments, order and every other line stay as they were written.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.yaml_text import format_yaml_scalar
from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    YamlFileText,
    decode_yaml_file,
    parse_yaml_file,
)
from hven.model.errors import DescriptorError, UserError, format_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault

MAX_INLINE_CHARACTERS = 90  # signs of a text that stays on the line of its key
MAX_LINE_CHARACTERS = 100  # of a line of a long one
_BLOCK_HEADER_PATTERN = re.compile(r"[|>][-+0-9]*([ \t]+#[^\n]*)?")
_KEY_VALUE_SEPARATOR_PATTERN = re.compile(r"\s*:\s*(?:#[^\n]*\n\s*)*")  # a key and its own value: no alias, no anchor
Path = tuple[str, ...]  # keys, from the top: ("tables", "cubes", "title")


def read_descriptor_texts(data: bytes, name: str, language: str) -> dict[Path, dict[str, str]]:
    """Read the titles and descriptions that stand in a descriptor's file itself.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        What it is called in faults.
    language
        Language of the site: that of a text without one.

    Returns
    -------
    texts
        Language -> text, of the collection and of each of its tables; empty where the file says none.

    Raises
    ------
    DescriptorError
        It cannot be read.
    """
    root = _parse_tree(_decode_yaml_file(data, name))
    tables = root.get("tables")  # type: ignore[call-overload]
    parent_paths: list[Path] = [()]
    if isinstance(tables, LocatedYamlMap):
        parent_paths += [("tables", str(key)) for key, table in tables.items() if isinstance(table, LocatedYamlMap)]
    return {
        (*path, key): _read_language_texts(_find_value_at_path(root, path).get(key), language)
        for path in parent_paths
        for key in ("title", "description")
    }


def replace_descriptor_texts(data: bytes, name: str, texts: Mapping[Path, Mapping[str, str]], language: str) -> bytes:
    """Write other texts into a descriptor's file.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        What it is called in faults.
    texts
        As `read_descriptor_texts` gives them: those that are to be others. An empty text is taken out.
    language
        Language of the site: a text in this language alone is written without one.

    Returns
    -------
    data
        The file with them; read again, all else in it is what it was.

    Raises
    ------
    UserError
        A text stands there in a way (an alias, a merge) in which it cannot be changed by itself.
    DescriptorError
        The file cannot be read.
    """
    page = _decode_yaml_file(data, name)
    for path, new_texts in texts.items():
        nonempty_texts = {text_language: text.strip() for text_language, text in new_texts.items() if text.strip()}
        original_tree = _parse_tree(page)
        if _read_language_texts(_find_value_at_path(original_tree, path), language) == nonempty_texts:
            continue
        for may_fold in (True, False):
            text = _write_changed_text(page, original_tree, path, nonempty_texts, language, may_fold=may_fold)
            if text is not None and _is_expected_change(
                original_tree, YamlFileText(page.name, text), path, nonempty_texts, language
            ):
                page = YamlFileText(page.name, text)
                break
        else:
            raise UserError(
                format_message(
                    "{key!r} in {file} cannot be changed here without changing other parts of the file",
                    ".".join(path),
                    name,
                ),
                remedy="edit the file directly",
            )
    if data.count(b"\r\n") == data.count(b"\n") and b"\r\n" in data:
        line_ending = b"\r\n"
    else:
        line_ending = b"\n"
    if data.startswith(b"\xef\xbb\xbf"):
        byte_order_mark = b"\xef\xbb\xbf"
    else:
        byte_order_mark = b""
    return byte_order_mark + page.text.encode().replace(b"\n", line_ending)


def _decode_yaml_file(data: bytes, name: str) -> YamlFileText:
    faults: list[Fault] = []
    page = decode_yaml_file(data, name, faults)
    if page is None:
        raise DescriptorError(faults)
    return page


def _parse_tree(page: YamlFileText) -> LocatedYamlMap:
    faults: list[Fault] = []
    tree = parse_yaml_file(page, faults)
    if faults:
        raise DescriptorError(faults)
    if not isinstance(tree, LocatedYamlMap):
        raise UserError(format_message("{file} is not a descriptor: it contains no YAML keys", page.name))
    return tree


def _find_value_at_path(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, LocatedYamlMap) else None  # type: ignore[call-overload]
    return tree


def _read_language_texts(value: Any, language: str) -> dict[str, str]:
    """Return what a value says, by language."""
    if isinstance(value, LocatedYamlMap):
        return {
            str(key): str(language_text).strip()
            for key, language_text in value.items()
            if isinstance(language_text, LocatedYamlScalar)
        }
    if isinstance(value, LocatedYamlScalar) and not value.is_null:
        return {language: str(value).strip()}
    return {}


def _to_comparable_tree(value: Any) -> Any:
    """Return what a tree says, to be compared: two that are equal are read alike."""
    if isinstance(value, LocatedYamlMap):
        return {str(key): _to_comparable_tree(inner_value) for key, inner_value in value.items()}
    if isinstance(value, LocatedYamlList):
        return [_to_comparable_tree(inner_value) for inner_value in value]
    return (str(value), value.is_plain)


def _is_expected_change(
    original_tree: LocatedYamlMap, page: YamlFileText, path: Path, new_texts: Mapping[str, str], language: str
) -> bool:
    """Check that a changed file says the text, and else what it said before."""
    faults: list[Fault] = []
    changed_tree = parse_yaml_file(page, faults)
    if (
        faults
        or not isinstance(changed_tree, LocatedYamlMap)
        or _read_language_texts(_find_value_at_path(changed_tree, path), language) != dict(new_texts)
    ):
        return False
    comparable_trees = [_to_comparable_tree(tree) for tree in (original_tree, changed_tree)]
    for comparable_tree in comparable_trees:
        for key in path[:-1]:
            comparable_tree = comparable_tree[key]  # noqa: PLW2901
        comparable_tree.pop(path[-1], None)
    return bool(comparable_trees[0] == comparable_trees[1])


def _write_changed_text(
    page: YamlFileText, tree: LocatedYamlMap, path: Path, new_texts: Mapping[str, str], language: str, *, may_fold: bool
) -> str | None:
    """Write a text in its place; None: it has no place there."""
    parent_entries = _find_value_at_path(tree, path[:-1])
    key = path[-1]
    if not isinstance(parent_entries, LocatedYamlMap) or not parent_entries:
        return None
    editor = _YamlEditor(page.text, may_fold and not parent_entries.is_flow)
    old_value = parent_entries.get(key)  # type: ignore[call-overload]
    if old_value is None:
        return editor.insert_key(parent_entries, key, new_texts, language) if new_texts else page.text
    name = parent_entries.find_key(key)
    if isinstance(old_value, LocatedYamlMap) and old_value:
        first_language_key = min(old_value, key=lambda language_key: language_key.start)
        editor = _YamlEditor(page.text, may_fold and not old_value.is_flow)
        can_replace = new_texts and first_language_key.start > name.end
        return editor.replace_language_texts(old_value, new_texts) if can_replace else None
    is_scalar = isinstance(old_value, LocatedYamlScalar)
    if not is_scalar or not _KEY_VALUE_SEPARATOR_PATTERN.fullmatch(page.text[name.end : old_value.start]):
        return None
    if new_texts:
        return editor.replace_value(old_value, _find_indent(name), new_texts, language)
    can_remove = not parent_entries.is_flow and len(parent_entries) > 1
    return editor.remove_key(name, old_value) if can_remove else None


def _find_indent(key: LocatedYamlScalar) -> int:
    return (key.place.column or 1) - 1


class _YamlEditor:
    """Changes to one text of YAML, by the places of what stands in it; `may_fold`.

    Long texts take lines of their own.
    """

    def __init__(self, text: str, may_fold: bool) -> None:
        self.text = text
        self.may_fold = may_fold

    def find_line_end(self, index: int) -> int:
        """Find the end of the line."""
        newline_index = self.text.find("\n", index)
        if newline_index < 0:
            return len(self.text)
        return newline_index

    def find_value_end(self, value: Any) -> int:
        """Find where a value ends, without the blank lines behind it."""
        if isinstance(value, LocatedYamlScalar):
            return value.start + len(self.text[value.start : value.end].rstrip())
        inner_ends = [
            self.find_value_end(inner_value)
            for inner_value in (value.values() if isinstance(value, LocatedYamlMap) else value)
        ]
        last = max(inner_ends, default=0)
        if isinstance(value, LocatedYamlMap) and value.is_flow:
            return self.text.find("}", last) + 1
        return last

    def format_text(self, text: str, indent: int) -> tuple[str, list[str]]:
        """Write a text: what stands on its first line, and the lines behind."""
        is_plain = text.replace("\n", "").isprintable() and not text.startswith((" ", "\t"))
        if not self.may_fold or not is_plain or (len(text) <= MAX_INLINE_CHARACTERS and "\n" not in text):
            return format_yaml_scalar(text), []
        pad = " " * (indent + 2)
        if "\n" in text:
            return "|-", [pad + line if line else "" for line in text.split("\n")]
        if "  " in text:
            return format_yaml_scalar(text), []
        return ">-", textwrap.wrap(
            text,
            MAX_LINE_CHARACTERS,
            initial_indent=pad,
            subsequent_indent=pad,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def format_texts(self, new_texts: Mapping[str, str], language: str, indent: int) -> tuple[str, list[str]]:
        """Write a text in one language or several."""
        if set(new_texts) == {language}:
            return self.format_text(new_texts[language], indent)
        line = "{" + ", ".join(f"{key}: {format_yaml_scalar(text)}" for key, text in new_texts.items()) + "}"
        if not self.may_fold or (len(line) <= MAX_INLINE_CHARACTERS and "\n" not in line):
            return line, []
        lines: list[str] = []
        for key, text in new_texts.items():
            first_line, further_lines = self.format_text(text, indent + 2)
            lines += [f"{' ' * (indent + 2)}{key}: {first_line}", *further_lines]
        return "", lines

    def replace_value(
        self, old_value: LocatedYamlScalar, indent: int, new_texts: Mapping[str, str], language: str
    ) -> str:
        """Write another value in the place of one; what is said behind it stays on its line."""
        first_line, lines = self.format_texts(new_texts, language, indent)
        start = old_value.start
        end = self.find_value_end(old_value)
        if old_value.style in {"|", ">"}:
            header = _BLOCK_HEADER_PATTERN.match(self.text, start)
            if header:
                comment = header[1] or ""
            else:
                comment = ""
            rest_start = end
        else:
            if lines:
                rest_start = self.find_line_end(end)
            else:
                rest_start = end
            comment = self.text[end:rest_start]
        if first_line and self.text[start - 1] not in " \n\t":
            gap = " "
        else:
            gap = ""
        if first_line:
            head = self.text[:start]
        else:
            head = self.text[:start].rstrip(" ")
        return "\n".join([f"{head}{gap}{first_line}{comment}", *lines]) + self.text[rest_start:]

    def remove_key(self, key: LocatedYamlScalar, value: Any) -> str:
        """Take a key out, with its lines."""
        start = self.text.rfind("\n", 0, key.start) + 1
        return self.text[:start] + self.text[min(self.find_line_end(self.find_value_end(value)) + 1, len(self.text)) :]

    def insert_key(self, parent_entries: LocatedYamlMap, key: str, new_texts: Mapping[str, str], language: str) -> str:
        """Write a key that is not there yet: behind the title or the name, or first of all."""
        order = sorted(parent_entries, key=lambda key_candidate: key_candidate.start)
        indent = _find_indent(order[0])
        first_line, lines = self.format_texts(new_texts, language, indent)
        key_line = f"{key}: {first_line}".rstrip()
        if parent_entries.is_flow:
            return f"{self.text[: order[0].start]}{key_line}, {self.text[order[0].start :]}"
        inserted_text = "\n".join([" " * indent + key_line, *lines])
        preceding_key = next(
            (
                key_candidate
                for key_candidate in (*(["title"] if key == "description" else []), "collection")
                if key_candidate in parent_entries
            ),
            None,
        )
        if preceding_key is None:
            start = self.text.rfind("\n", 0, order[0].start) + 1
            return f"{self.text[:start]}{inserted_text}\n{self.text[start:]}"
        value_end = self.find_value_end(parent_entries[parent_entries.find_key(preceding_key)])
        end = self.find_line_end(value_end)
        return f"{self.text[:end]}\n{inserted_text}{self.text[end:]}"

    def replace_language_texts(self, old_texts: LocatedYamlMap, new_texts: Mapping[str, str]) -> str:
        """Change a text that is said in several languages, each where it stands."""
        text = self.text
        order = sorted(old_texts, key=lambda language_code: language_code.start)
        indent = _find_indent(order[0])
        new_languages = [language_code for language_code in new_texts if language_code not in old_texts]
        # from the last to the first: what stands before keeps its place
        insertion_index = self.find_value_end(old_texts[order[-1]])
        for language in reversed(new_languages):
            first_line, lines = self.format_text(new_texts[language], indent)
            if old_texts.is_flow:
                text = f"{text[:insertion_index]}, {language}: {first_line}{text[insertion_index:]}"
            else:
                end = self.find_line_end(insertion_index)
                text = f"{text[:end]}\n" + "\n".join([f"{' ' * indent}{language}: {first_line}", *lines]) + text[end:]
        for number, key in reversed(list(enumerate(order))):
            value = old_texts[key]
            editor = _YamlEditor(text, self.may_fold)
            if str(key) not in new_texts:
                if not old_texts.is_flow:
                    text = editor.remove_key(key, value)
                elif number:
                    text = (
                        text[: self.find_value_end(old_texts[order[number - 1]])] + text[self.find_value_end(value) :]
                    )
                else:
                    if len(order) > 1:
                        next_start = order[1].start
                    else:
                        value_end = self.find_value_end(value)
                        next_start = text.index(",", value_end) + 1
                    text = text[: key.start] + text[next_start:].lstrip(" ")
            elif str(value).strip() != new_texts[str(key)] and isinstance(value, LocatedYamlScalar):
                text = editor.replace_value(value, indent, {"": new_texts[str(key)]}, "")
        return text
