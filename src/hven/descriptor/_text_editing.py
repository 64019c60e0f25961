"""Texts of a descriptor changed where they stand in its file: comments, order and every other line stay as they were written."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from hven.descriptor._yaml_text import scalar
from hven.descriptor.written import Entries, Items, Page, Written, page_of, parse
from hven.model.errors import DescriptorError, UserError, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault

SHORT = 90  # signs of a text that stays on the line of its key
WIDE = 100  # of a line of a long one
_HEADER = re.compile(r"[|>][-+0-9]*([ \t]+#[^\n]*)?")
_BETWEEN = re.compile(r"\s*:\s*(?:#[^\n]*\n\s*)*")  # a key and its own value: no alias, no anchor
Path = tuple[str, ...]  # keys, from the top: ("tables", "cubes", "title")


def read_texts(data: bytes, name: str, language: str) -> dict[Path, dict[str, str]]:
    """Read the titles and descriptions that stand in a descriptor's file itself.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        What it is called in faults.
    language
        Of the site: that of a text without one.

    Returns
    -------
    texts
        Language -> text, of the collection and of each of its tables; empty where the file says none.

    Raises
    ------
    DescriptorError
        It cannot be read.
    """
    root = _tree(_page(data, name))
    tables = root.get("tables")  # type: ignore[call-overload]
    above: list[Path] = [()]
    if isinstance(tables, Entries):
        above += [("tables", str(key)) for key, table in tables.items() if isinstance(table, Entries)]
    return {
        (*path, key): _said(_at(root, path).get(key), language) for path in above for key in ("title", "description")
    }


def with_texts(data: bytes, name: str, texts: Mapping[Path, Mapping[str, str]], language: str) -> bytes:
    """Write other texts into a descriptor's file.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        What it is called in faults.
    texts
        As `read_texts` gives them: those that are to be others. An empty text is taken out.
    language
        Of the site: a text in this language alone is written without one.

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
    page = _page(data, name)
    for path, wanted in texts.items():
        told = {one: text.strip() for one, text in wanted.items() if text.strip()}
        before = _tree(page)
        if _said(_at(before, path), language) == told:
            continue
        for folds in (True, False):
            text = _changed(page, before, path, told, language, folds=folds)
            if text is not None and _as_wanted(before, Page(page.name, text), path, told, language):
                page = Page(page.name, text)
                break
        else:
            raise UserError(
                say("{key} of {file} cannot be changed by itself: it is written together with something else", ".".join(path), name),
                remedy="change the file itself",
            )  # fmt: skip
    ends = b"\r\n" if data.count(b"\r\n") == data.count(b"\n") and b"\r\n" in data else b"\n"
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return mark + page.text.encode().replace(b"\n", ends)


def _page(data: bytes, name: str) -> Page:
    faults: list[Fault] = []
    page = page_of(data, name, faults)
    if page is None:
        raise DescriptorError(faults)
    return page


def _tree(page: Page) -> Entries:
    faults: list[Fault] = []
    tree = parse(page, faults)
    if faults:
        raise DescriptorError(faults)
    if not isinstance(tree, Entries):
        raise UserError(say("{file} is no descriptor: it has no keys", page.name))
    return tree


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Entries) else None  # type: ignore[call-overload]
    return tree


def _said(value: Any, language: str) -> dict[str, str]:
    """Return what a value says, by language."""
    if isinstance(value, Entries):
        return {str(key): str(one).strip() for key, one in value.items() if isinstance(one, Written)}
    return {language: str(value).strip()} if isinstance(value, Written) and not value.is_null else {}


def _plain(value: Any) -> Any:
    """Return what a tree says, to be compared: two that are equal are read alike."""
    if isinstance(value, Entries):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Items):
        return [_plain(one) for one in value]
    return (str(value), value.plain)


def _as_wanted(before: Entries, page: Page, path: Path, told: Mapping[str, str], language: str) -> bool:
    """Check that a changed file says the text, and else what it said before."""
    faults: list[Fault] = []
    after = parse(page, faults)
    if faults or not isinstance(after, Entries) or _said(_at(after, path), language) != dict(told):
        return False
    said = [_plain(tree) for tree in (before, after)]
    for one in said:
        for key in path[:-1]:
            one = one[key]  # noqa: PLW2901
        one.pop(path[-1], None)
    return bool(said[0] == said[1])


def _changed(page: Page, tree: Entries, path: Path, told: Mapping[str, str], language: str, *, folds: bool) -> str | None:  # fmt: skip
    """Write a text in its place; None: it has none there."""
    above, key = _at(tree, path[:-1]), path[-1]
    if not isinstance(above, Entries) or not above:
        return None
    pen = _Pen(page.text, folds and not above.flow)
    old = above.get(key)  # type: ignore[call-overload]
    if old is None:
        return pen.inserted(above, key, told, language) if told else page.text
    name = above.key(key)
    if isinstance(old, Entries) and old:
        first = min(old, key=lambda one: one.start)
        pen = _Pen(page.text, folds and not old.flow)
        return pen.languages(old, told) if told and first.start > name.end else None
    if not isinstance(old, Written) or not _BETWEEN.fullmatch(page.text[name.end : old.start]):
        return None
    if not told:
        return None if above.flow or len(above) == 1 else pen.without(name, old)
    return pen.replaced(old, _indent(name), told, language)


def _indent(key: Written) -> int:
    return (key.place.column or 1) - 1


class _Pen:
    """Changes to one text of YAML, by the places of what stands in it; `folds`: long texts take lines of their own."""

    def __init__(self, text: str, folds: bool) -> None:
        self.text, self.folds = text, folds

    def line_end(self, index: int) -> int:
        """Find the end of the line."""
        found = self.text.find("\n", index)
        return len(self.text) if found < 0 else found

    def end(self, value: Any) -> int:
        """Find where a value ends, without the blank lines behind it."""
        if isinstance(value, Written):
            return value.start + len(self.text[value.start : value.end].rstrip())
        inner = [self.end(one) for one in (value.values() if isinstance(value, Entries) else value)]
        last = max(inner, default=0)
        return self.text.find("}", last) + 1 if isinstance(value, Entries) and value.flow else last

    def written(self, text: str, indent: int) -> tuple[str, list[str]]:
        """Write a text: what stands on its first line, and the lines behind."""
        plain = text.replace("\n", "").isprintable() and not text.startswith((" ", "\t"))
        if not self.folds or not plain or (len(text) <= SHORT and "\n" not in text):
            return scalar(text), []
        pad = " " * (indent + 2)
        if "\n" in text:
            return "|-", [pad + line if line else "" for line in text.split("\n")]
        if "  " in text:
            return scalar(text), []
        return ">-", textwrap.wrap(text, WIDE, initial_indent=pad, subsequent_indent=pad, break_long_words=False, break_on_hyphens=False)  # fmt: skip

    def value(self, told: Mapping[str, str], language: str, indent: int) -> tuple[str, list[str]]:
        """Write a text in one language or several."""
        if set(told) == {language}:
            return self.written(told[language], indent)
        line = "{" + ", ".join(f"{key}: {scalar(text)}" for key, text in told.items()) + "}"
        if not self.folds or (len(line) <= SHORT and "\n" not in line):
            return line, []
        lines: list[str] = []
        for key, text in told.items():
            first, more = self.written(text, indent + 2)
            lines += [f"{' ' * (indent + 2)}{key}: {first}", *more]
        return "", lines

    def replaced(self, old: Written, indent: int, told: Mapping[str, str], language: str) -> str:
        """Write another value in the place of one; what is said behind it stays on its line."""
        first, lines = self.value(told, language, indent)
        start, end = old.start, self.end(old)
        if old.style in {"|", ">"}:
            header = _HEADER.match(self.text, start)
            comment = header[1] or "" if header else ""
            rest = end
        else:
            rest = self.line_end(end) if lines else end
            comment = self.text[end:rest]
        gap = " " if first and self.text[start - 1] not in " \n\t" else ""
        head = self.text[:start] if first else self.text[:start].rstrip(" ")
        return "\n".join([f"{head}{gap}{first}{comment}", *lines]) + self.text[rest:]

    def without(self, key: Written, value: Any) -> str:
        """Take a key out, with its lines."""
        start = self.text.rfind("\n", 0, key.start) + 1
        return self.text[:start] + self.text[min(self.line_end(self.end(value)) + 1, len(self.text)) :]

    def inserted(self, above: Entries, key: str, told: Mapping[str, str], language: str) -> str:
        """Write a key that is not there yet: behind the title or the name, or first of all."""
        order = sorted(above, key=lambda one: one.start)
        indent = _indent(order[0])
        first, lines = self.value(told, language, indent)
        said = f"{key}: {first}".rstrip()
        if above.flow:
            return f"{self.text[: order[0].start]}{said}, {self.text[order[0].start :]}"
        made = "\n".join([" " * indent + said, *lines])
        before = next((one for one in (*(["title"] if key == "description" else []), "collection") if one in above), None)  # fmt: skip
        if before is None:
            start = self.text.rfind("\n", 0, order[0].start) + 1
            return f"{self.text[:start]}{made}\n{self.text[start:]}"
        end = self.line_end(self.end(above[above.key(before)]))
        return f"{self.text[:end]}\n{made}{self.text[end:]}"

    def languages(self, old: Entries, told: Mapping[str, str]) -> str:
        """Change a text that is said in several languages, each where it stands."""
        text = self.text
        order = sorted(old, key=lambda one: one.start)
        indent = _indent(order[0])
        new = [one for one in told if one not in old]
        # from the last to the first: what stands before keeps its place
        at = self.end(old[order[-1]])
        for language in reversed(new):
            first, lines = self.written(told[language], indent)
            if old.flow:
                text = f"{text[:at]}, {language}: {first}{text[at:]}"
            else:
                end = self.line_end(at)
                text = f"{text[:end]}\n" + "\n".join([f"{' ' * indent}{language}: {first}", *lines]) + text[end:]
        for number, key in reversed(list(enumerate(order))):
            value = old[key]
            pen = _Pen(text, self.folds)
            if str(key) not in told:
                if not old.flow:
                    text = pen.without(key, value)
                elif number:
                    text = text[: self.end(old[order[number - 1]])] + text[self.end(value) :]
                else:
                    follows = order[1].start if len(order) > 1 else text.index(",", self.end(value)) + 1
                    text = text[: key.start] + text[follows:].lstrip(" ")
            elif str(value).strip() != told[str(key)] and isinstance(value, Written):
                text = pen.replaced(value, indent, {"": told[str(key)]}, "")
        return text
