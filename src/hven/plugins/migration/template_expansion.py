"""Expand what a resource descriptor repeats: STREAM, FEED, LOOP, mixinDef and macDef, with limits.

DaCHS replaces these before it reads the document. The own mixins of DaCHS (``//epntap2#table-2_0``) stay, because later
steps know what they mean.
"""

from __future__ import annotations

import csv
import io
import re
from collections import ChainMap
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, TextPlace
from hven.plugins.migration.python_macros import expand_macros
from hven.plugins.migration.resource_xml import Element, copy_element, read_resource_xml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.plugins.migration.migration_report import MigrationReport

MAX_EXPANDED_ELEMENTS = 200_000  # of one document; the largest public one has 9,000
MAX_EXPANDED_CHARACTERS = 64 << 20
MAX_EXPANSION_DEPTH = 40
MAX_INCLUDED_DESCRIPTORS = 200
# streams of DaCHS that declare fields of forms and protocols, which Hven has without them
SYSTEM_STREAM_PATTERN = re.compile(r"(//|__system__/)")
MacroScope = ChainMap[str, str]  # the macros here, and behind them those outside: no loop copies all of them
_MACRO_PATTERN = re.compile(r"(?<!\\)\\(\w+)(?![\w{])")
_TEMPLATE_TAGS = ("STREAM", "mixinDef", "macDef", "DEFAULTS")


class DescriptorLibrary:
    """The resource descriptors that one refers to, by their ids: the paths below the folder of all of them.

    Parameters
    ----------
    path
        Path of the descriptor that is converted.
    root
        Folder of all descriptors (``inputsDir``).
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._root = root
        self._resources: dict[Path, Element] = {}
        self._ids: dict[tuple[Path, str], Element] = {}
        self.main_path = path

    def load_resource(self, path: Path) -> Element:
        """Read a descriptor once, and note its elements that have an id."""
        if path not in self._resources:
            if len(self._resources) >= MAX_INCLUDED_DESCRIPTORS:
                raise SourceError(
                    f"the descriptor refers to more than {MAX_INCLUDED_DESCRIPTORS} others", remedy="check the file"
                )
            resource = read_resource_xml(path, self.format_path(path))
            self._resources[path] = resource
            for element in resource.iterate_descendants():
                element_id = element.attributes.get("id") or element.attributes.get("name")
                if element_id and ("id" in element.attributes or element.tag == "macDef"):
                    self._ids.setdefault((path, element_id), element)
        return self._resources[path]

    def format_path(self, path: Path) -> str:
        """Write the path of a descriptor for messages."""
        if path.is_relative_to(self._root) and path != self.main_path:
            return path.relative_to(self._root).as_posix()
        return path.name

    def find_element(self, reference: str, base: Path) -> tuple[Element, Path] | None:
        """Find the element that ``id`` or ``folder/rd#id`` names; None: it is not there."""
        rd_id, _, element_id = reference.rpartition("#")
        path = base
        if rd_id:
            found_path = self._find_descriptor(rd_id)
            if found_path is None:
                return None
            path = found_path
        self.load_resource(path)
        element = self._ids.get((path, element_id))
        return None if element is None else (element, path)

    def _find_descriptor(self, rd_id: str) -> Path | None:
        """Find a descriptor below the root: as it is named, or in the folder above that has it."""
        name = rd_id if rd_id.endswith(".rd") else f"{rd_id}.rd"
        for folder in (self._root, *self.main_path.parents[:4]):
            candidate = (folder / name).resolve()
            if candidate.is_file() and candidate.is_relative_to(self._root.resolve()):
                return candidate
        return None


class TemplateExpander:
    """Expands the templates of one resource descriptor.

    Parameters
    ----------
    library
        The descriptors to which it refers.
    report
        What cannot be expanded is noted here.
    """

    def __init__(self, library: DescriptorLibrary, report: MigrationReport) -> None:
        self._library = library
        self._report = report
        self._element_count = 0
        self._character_count = 0
        self.macros: dict[str, str] = {}

    def expand_resource(self, path: Path) -> Element:
        """Read a descriptor and expand all its templates."""
        resource = self._library.load_resource(path)
        for definition in resource.iterate_descendants():
            if definition.tag == "macDef":
                self.macros[definition.get_value("name")] = definition.text
        expanded = self._expand_children(resource, ChainMap(self.macros), path, ())
        return copy_element(resource, resource.attributes, expanded)

    def _expand_children(
        self, element: Element, macros: MacroScope, path: Path, active: tuple[str, ...]
    ) -> list[Element | str]:
        children: list[Element | str] = []
        for child in element.children:
            if isinstance(child, str):
                text = replace_macros(child, macros)
                self._count_expansion(len(text), element)
                children.append(text)
            else:
                children.extend(self._expand_element(child, macros, path, active))
        return children

    def _expand_element(
        self, element: Element, macros: MacroScope, path: Path, active: tuple[str, ...]
    ) -> Iterator[Element | str]:
        if element.tag in _TEMPLATE_TAGS:
            return
        if element.tag == "FEED":
            yield from self._expand_feed(element, macros, path, active)
        elif element.tag == "LOOP":
            yield from self._expand_loop(element, macros, path, active)
        else:
            attributes = {key: replace_macros(value, macros) for key, value in element.attributes.items()}
            self._count_expansion(sum(map(len, attributes.values())), element)
            if element.tag == "mixin":
                mixin = copy_element(element, attributes, self._expand_children(element, macros, path, active))
                yield from self._expand_mixin(mixin, path, active)
            else:
                children = self._expand_children(element, macros, path, active)
                mixins = attributes.pop("mixin", "") if element.tag == "table" else ""
                for reference in filter(None, map(str.strip, mixins.split(","))):
                    mixin = Element("mixin", {}, element.line, element.file, [re.sub(r"\[.*", "", reference)])
                    children[:0] = list(self._expand_mixin(mixin, path, active))
                yield copy_element(element, attributes, children)

    def find_table(self, reference: str, path: Path) -> Element | None:
        """Find a table that this or another descriptor defines, and expand it."""
        target = self._library.find_element(reference, path)
        if target is None or target[0].tag != "table":
            return None
        element, table_path = target
        return copy_element(element, element.attributes, self._expand_children(element, ChainMap(), table_path, ()))

    def _expand_feed(
        self, element: Element, macros: MacroScope, path: Path, active: tuple[str, ...]
    ) -> Iterator[Element | str]:
        arguments = {key: replace_macros(value, macros) for key, value in element.attributes.items()}
        reference = arguments.pop("source", "")
        if SYSTEM_STREAM_PATTERN.match(reference):
            yield copy_element(element, {**arguments, "source": reference}, [])
            return
        for child in element.elements:
            if child.tag not in {"PRUNE", "EDIT", "events"}:
                arguments[child.tag] = replace_macros(child.text, macros)
        events = element.find_child("events")
        if events is not None:
            stream, stream_path = events, path
        else:
            target = self._library.find_element(reference, path)
            if target is None:
                self._report.add_decision(element, f"FEED repeats {reference!r}, which is not there")
                return
            stream, stream_path = target
        inner = self._expand_template(stream, macros.new_child(arguments), stream_path, (*active, reference), element)
        prunes = [
            {key: replace_macros(value, macros) for key, value in child.attributes.items()}
            for child in element.list_children("PRUNE")
        ]
        edits = element.list_children("EDIT")
        for part in inner:
            if isinstance(part, Element):
                if any(_is_pruned(part, prune) for prune in prunes):
                    continue
                for edit in edits:
                    _apply_edit(part, edit, macros)
            yield part

    def _expand_template(
        self, stream: Element, arguments: MacroScope, path: Path, active: tuple[str, ...], user: Element
    ) -> list[Element | str]:
        """Expand the content of a stream or of a mixin."""
        if len(active) > MAX_EXPANSION_DEPTH or (active.count(active[-1]) > 1 and active[-1]):
            raise SourceError(
                f"{active[-1]} repeats itself",
                place=TextPlace(file=user.file, line=user.line),
                remedy="correct the FEED or mixin in a copy of the file",
            )
        defaults: dict[str, str] = {}
        for child in stream.list_children("DEFAULTS"):
            defaults |= child.attributes
            defaults |= {item.tag: item.text for item in child.elements}
        for child in stream.list_children("mixinPar"):
            defaults[child.get_value("name", "key")] = child.text
        content = stream
        if stream.tag == "mixinDef":
            content = stream.find_child("events") or Element("events", {}, stream.line, stream.file)
        return self._expand_children(content, ChainMap(*arguments.maps, defaults), path, active)

    def _expand_mixin(self, element: Element, path: Path, active: tuple[str, ...]) -> Iterator[Element | str]:
        reference = element.text
        if reference.startswith("//"):
            yield element
            return
        target = self._library.find_element(reference, path)
        if target is None or target[0].tag != "mixinDef":
            self._report.add_decision(element, f"the mixin {reference!r} is not there")
            return
        arguments = {**element.attributes, **{child.tag: child.text for child in element.elements}}
        yield from self._expand_template(target[0], ChainMap(arguments), target[1], (*active, reference), element)

    def _expand_loop(
        self, element: Element, macros: MacroScope, path: Path, active: tuple[str, ...]
    ) -> Iterator[Element | str]:
        events = element.find_child("events")
        if events is None:
            reference = element.get_value("source")
            target = self._library.find_element(reference, path) if reference else None
            if target is None:
                self._report.add_decision(element, "LOOP has nothing to repeat")
                return
            events, path = target
        if element.get_value("codeItems"):
            self._report.add_decision(
                element, "LOOP takes its values from Python code, which is not run: write what it repeats by hand"
            )
            return
        rows: list[dict[str, str]]
        if element.get_value("csvItems"):
            rows = _read_csv_items(replace_macros(element.get_value("csvItems"), macros))
        else:
            list_items = replace_macros(element.get_value("listItems"), macros)
            rows = [{"item": item} for item in list_items.split()]
        for row in rows:
            if len(active) > MAX_EXPANSION_DEPTH:
                self._count_expansion(MAX_EXPANDED_CHARACTERS + 1, element)
            yield from self._expand_children(events, macros.new_child(row), path, (*active, ""))

    def _count_expansion(self, characters: int, element: Element) -> None:
        self._element_count += 1
        self._character_count += characters
        if self._element_count > MAX_EXPANDED_ELEMENTS or self._character_count > MAX_EXPANDED_CHARACTERS:
            raise SourceError(
                f"LOOP, FEED and mixins expand to more than {MAX_EXPANDED_ELEMENTS:,} elements or "
                f"{MAX_EXPANDED_CHARACTERS >> 20} MiB",
                place=TextPlace(file=element.file, line=element.line),
                remedy="divide the resource descriptor",
            )


def replace_macros(text: str, macros: Mapping[str, str]) -> str:
    r"""Replace the macros whose values are given; the others stay, and ``\\name`` becomes ``\name``."""
    if "\\" not in text:
        return text
    replaced = expand_macros(_MACRO_PATTERN, text, lambda match: macros.get(match[1]), MAX_EXPANDED_CHARACTERS)
    if not macros:
        return replaced
    return re.sub(r"\\\\(?=\w)", r"\\", replaced.replace("\\+", ""))


def _read_csv_items(text: str) -> list[dict[str, str]]:
    lines = "\n".join(line.strip() for line in text.strip().splitlines() if line.strip())
    reader = csv.DictReader(io.StringIO(lines), skipinitialspace=True)
    return [
        {str(key).strip(): value.strip() for key, value in row.items() if key and isinstance(value, str)}
        for row in reader
    ]


def _is_pruned(element: Element, prune: Mapping[str, str]) -> bool:
    conditions = {key: value for key, value in prune.items() if key != "tag"}
    if "tag" in prune and element.tag != prune["tag"]:
        return False
    return bool(prune) and all(element.get_value(key) == value for key, value in conditions.items())


def _apply_edit(element: Element, edit: Element, macros: Mapping[str, str]) -> None:
    """Change an element that ``ref="column[name]"`` names."""
    match = re.fullmatch(r"(\w+)(?:\[([^\]]*)\])?", replace_macros(edit.get_value("ref"), macros))
    if match is None or match[1] != element.tag:
        return
    if match[2] and match[2] not in {element.get_value("name"), element.get_value("id"), element.get_value("key")}:
        return
    element.attributes |= {
        key: replace_macros(value, macros) for key, value in edit.attributes.items() if key not in {"ref", "passivate"}
    }
    element.children += list(edit.elements)
