"""Draft the layers of a MapServer mapfile: ``hven new NAME --from mars.map``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError, TextPlace
from hven.plugins.migration.document_parts import (
    build_place,
    choose_free_name,
    choose_name,
    create_builders,
    read_head,
    set_value,
)
from hven.plugins.migration.resource_xml import Element, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

MAX_INCLUDES = 100
MAX_TOKENS = 500_000
MAX_DEPTH = 50
_SIGNATURE_PATTERN = re.compile(rb"(?im)^\s*MAP\s*(#.*)?$")
_TOKEN_PATTERN = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(#.*|/\*[\s\S]*?\*/)|(\(|\)|[^\s\"'#()]+)")
_FRAME_PATTERN = re.compile(r"(?:init=)?(iau(?:_?\d{4})?:\d+)", re.IGNORECASE)
# blocks that end with END
BLOCKS = {
    *("MAP", "LAYER", "PROJECTION", "METADATA", "WEB", "CLASS", "STYLE", "LABEL", "LEGEND", "SCALEBAR", "REFERENCE"),
    *("OUTPUTFORMAT", "QUERYMAP", "SYMBOL", "POINTS", "FEATURE", "GRID", "JOIN", "VALIDATION", "COMPOSITE", "CLUSTER"),
    *("LEADER", "SCALETOKEN", "VALUES", "CONNECTIONOPTIONS", "IDENTIFY", "LAYERSET", "PATTERN"),
}
# words that are keywords with a value inside these blocks, and begin a block elsewhere
KEYWORD_PARENTS = {"SYMBOL": ("STYLE", "LAYER", "CLASS"), "STYLE": ("QUERYMAP", "SCALEBAR", "SYMBOL")}
_LOWER_END_PATTERN = re.compile(
    r"(?:>=?|==?|\b(?:ge|gt|eq)\b)\s*(?P<value>-?\d+(?:\.\d+)?)"
    r"|(?P<first>-?\d+(?:\.\d+)?)\s*(?:<=?|\b(?:le|lt)\b)\s*\[|^\s*(?P<single>-?\d+(?:\.\d+)?)\s*$",
    re.IGNORECASE,
)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif")
READ_KEYS = {"NAME", "TYPE", "DATA", "GROUP", "EXTENT", "PROCESSING", "OFFSITE", "STATUS", "CONNECTIONTYPE"}


@dataclass(slots=True)
class Block:
    """A block of a mapfile: keywords with their words, pairs of texts, and blocks inside."""

    name: str
    place: Element
    words: dict[str, list[tuple[list[str], Element]]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def get_keyword_text(self, name: str) -> str:
        """Return the words behind the first keyword with a name."""
        return " ".join(self.words[name][0][0]) if name in self.words else ""

    def list_blocks(self, name: str) -> list[Block]:
        """List the blocks inside with a name."""
        return [block for block in self.blocks if block.name == name]

    def get_metadata(self) -> dict[str, str]:
        """Return the pairs of the blocks METADATA inside."""
        texts = [block.texts for block in self.list_blocks("METADATA")]
        return {key.lower(): value for items in texts for key, value in zip(items[::2], items[1::2], strict=False)}


def is_collection_document(path: Path) -> bool:
    """Return whether a file is a mapfile.

    Parameters
    ----------
    path
        Path of the file.
    """
    return path.suffix == ".map" and _SIGNATURE_PATTERN.search(read_head(path)) is not None


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collection of the layers of a mapfile.

    Parameters
    ----------
    request
        The document, and the name of the collection.

    Returns
    -------
    drafts
        The collection.

    Raises
    ------
    SourceError
        A file cannot be read, or a block has no end.
    ConflictError
        A file exists that would be written.
    """
    root = read_mapfile(request.path)
    name = root.get_keyword_text("NAME") or request.path.stem
    drafts: list[CollectionDraft] = []
    for builder, _ in create_builders(request, {name: root}, "MapServer", "map").values():
        web = next(iter(root.list_blocks("WEB")), root)
        metadata = web.get_metadata() | root.get_metadata()
        set_value(builder.draft, "title", _find_metadata(metadata, "title"))
        set_value(builder.draft, "description", _find_metadata(metadata, "abstract"))
        folder = request.path.parent / root.get_keyword_text("SHAPEPATH")
        layers: dict[str, dict[str, Any]] = {}
        raster_paths: dict[str, Path] = {}
        for block in root.list_blocks("LAYER"):
            layer = _convert_layer(builder, block, folder, _find_frame(root), raster_paths)
            if layer:
                _add_layer(builder, layers, layer, block)
        if layers:
            builder.draft["files"] = sorted({layer["file"] for layer in layers.values()})
            builder.draft["layers"] = layers
            builder.settings_lines += ["[[alias]]", 'path = "/cgi-bin/mapserv"', f'to = "/wms/{builder.name}"']
        stated_frames = _find_metadata(metadata, "srs").split()
        if stated_frames:
            builder.report.add_decision(
                web.place,
                f"requests named the frames {', '.join(stated_frames)}: say what they mean in `frame_aliases`",
            )
        drafts.append(builder.build_draft([request.path.name]))
    return drafts


def _add_layer(builder: DraftBuilder, layers: dict[str, dict[str, Any]], layer: dict[str, Any], block: Block) -> None:
    """Add a layer under a name that no other layer has."""
    stated_name = block.get_keyword_text("NAME")
    name = choose_name(stated_name, "layer")
    if name in layers:
        name = choose_free_name(name, layers)
        builder.report.add_decision(block.place, f"another layer is also called {stated_name}: this one is {name}")
    layers[name] = layer


def _find_metadata(metadata: dict[str, str], word: str) -> str:
    return next(
        (metadata[f"{prefix}_{word}"] for prefix in ("ows", "wms", "wcs") if f"{prefix}_{word}" in metadata), ""
    )


def read_mapfile(path: Path) -> Block:
    """Read a mapfile with the files that it includes, into blocks."""
    root = Block("", build_place(1, path.name))
    stack = [root]
    words: list[str] | None = None
    for quoted, word, place in _iterate_tokens(path, path.parent.resolve(), [path.resolve()], [0]):
        block = stack[-1]
        name = "" if quoted else word.upper()
        if name == "END" and len(stack) > 1:
            stack.pop()
            words = None
        elif words and words.count("(") > words.count(")"):  # an expression
            words.append(word)
        elif name in BLOCKS and block.name not in KEYWORD_PARENTS.get(name, ()) and words != []:
            if len(stack) > MAX_DEPTH:
                raise _build_error("blocks are nested too deeply", place)
            inner = Block(name, place)
            block.blocks.append(inner)
            stack.append(inner)
            words = None
        elif block.name in {"METADATA", "PROJECTION", "VALIDATION"}:
            block.texts.append(word)
        elif not quoted and re.fullmatch(r"[A-Z_]{3,}", word, re.IGNORECASE) and (words is None or words):
            words = []
            block.words.setdefault(name, []).append((words, place))
        elif words is not None:
            words.append(word)
    if len(stack) > 1:
        raise _build_error(f"{stack[-1].name} has no END", stack[-1].place)
    return next(iter(root.list_blocks("MAP")), root)


def _build_error(message: str, place: Element) -> SourceError:
    text_place = TextPlace(file=place.file, line=place.line)
    return SourceError(message, place=text_place, remedy="correct a copy of the file")


def _iterate_tokens(
    path: Path, root: Path, parents: list[Path], count: list[int]
) -> Iterator[tuple[bool, str, Element]]:
    """Yield words with whether they are quoted and their places; includes are read where they stand."""
    text = read_document(path, path.name).decode("utf-8", errors="replace")
    line, position, is_include = 1, 0, False
    for match in _TOKEN_PATTERN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        if match[3] is not None:
            continue
        count[0] += 1
        place = build_place(line, path.name)
        word = next(group for group in (match[1], match[2], match[4]) if group is not None)
        is_quoted = match[4] is None
        if is_include:
            is_include = False
            included = (path.parent / word).resolve()
            fault = ""
            if included in parents or len(parents) > MAX_INCLUDES or count[0] > MAX_TOKENS:
                fault = "includes itself, or too much"
            elif not included.is_relative_to(root) or not included.is_file():
                fault = "is not there, or outside the folder of the mapfile"
            if fault:
                raise _build_error(f"INCLUDE {word} {fault}", place)
            yield from _iterate_tokens(included, root, [*parents, included], count)
        elif word.upper() == "INCLUDE" and not is_quoted:
            is_include = True
        else:
            yield is_quoted, word, place


def _find_frame(block: Block) -> str:
    for projection in block.list_blocks("PROJECTION"):
        match = _FRAME_PATTERN.search(" ".join(projection.texts))
        if match:
            return match[1].upper().replace("IAU2015:", "IAU_2015:")
    return ""


def _choose_file(path: Path, raster_paths: dict[str, Path]) -> str:
    """Choose where a raster is copied to, so that rasters of several folders with one name stay apart."""
    file = f"maps/{path.name}"
    number = 2
    while raster_paths.setdefault(file, path) != path:
        file = f"maps/{number}/{path.name}"
        number += 1
    return file


def _convert_layer(
    builder: DraftBuilder, block: Block, folder: Path, map_frame: str, raster_paths: dict[str, Path]
) -> dict[str, Any]:
    name = block.get_keyword_text("NAME") or f"line {block.place.line}"
    report = builder.report
    if block.get_keyword_text("TYPE").upper() != "RASTER" or not block.get_keyword_text("DATA"):
        kind = block.get_keyword_text("CONNECTIONTYPE") or block.get_keyword_text("TYPE") or "no TYPE"
        report.add_decision(
            block.place, f"the layer {name} ({kind}) is no raster file: publish vectors as a table of regions"
        )
        return {}
    metadata = block.get_metadata()
    path = folder / block.get_keyword_text("DATA")
    layer: dict[str, Any] = {"file": _choose_file(path, raster_paths)}
    missing = "" if path.is_file() else " (it is not there)"
    report.add_decision(
        block.words["DATA"][0][1],
        f"copy {path.name} from {path.parent}{missing} to collections/{builder.name}/{Path(layer['file']).parent}",
    )
    set_value(layer, "title", _find_metadata(metadata, "title"))
    set_value(layer, "description", _find_metadata(metadata, "abstract"))
    set_value(layer, "group", _find_metadata(metadata, "group_title") or block.get_keyword_text("GROUP"))
    set_value(layer, "attribution", _find_metadata(metadata, "attribution_title"))
    frame = _find_frame(block) if block.list_blocks("PROJECTION") else map_frame
    if frame:
        layer["frame"] = frame
    elif block.list_blocks("PROJECTION"):
        report.add_decision(block.place, f"the projection of {name} names no frame of the IAU: write `frame`")
    extent = block.get_keyword_text("EXTENT").split()
    if len(extent) == 4 and path.suffix.lower() in PICTURE_SUFFIXES:
        try:
            layer["bounds"] = [float(number) for number in extent]
        except ValueError:
            report.add_decision(block.words["EXTENT"][0][1], "EXTENT has no four numbers: write `bounds`")
    off_site = block.get_keyword_text("OFFSITE").split()
    if off_site:
        report.add_decision(block.words["OFFSITE"][0][1], f"OFFSITE: the value {off_site[0]} is `nodata`")
        if re.fullmatch(r"\d+", off_site[0]):
            layer["nodata"] = float(off_site[0])
    for words, place in block.words.get("PROCESSING", ()):
        _convert_processing(builder, layer, " ".join(words), place)
    if "denied" in metadata or _find_metadata(metadata, "enable_request").startswith("!"):
        report.add_decision(
            block.place, f"requests for {name} were refused: keep its raster out of `files`, or set `access`"
        )
    colours = [line for item in block.list_blocks("CLASS") for line in _convert_class(builder, item)]
    if colours:
        layer["colours"] = colours
    for word in block.words.keys() - READ_KEYS:
        report.add_omission(block.words[word][0][1], f"{word} has no counterpart")
    report.add_result(block.place, f"the layer {name}")
    return layer


def _convert_processing(builder: DraftBuilder, layer: dict[str, Any], text: str, place: Element) -> None:
    key, _, value = text.partition("=")
    numbers = re.findall(r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", value)
    if key.upper() == "BANDS" and len(numbers) == 1:
        layer["band"] = int(numbers[0])
    elif key.upper() == "NODATA" and numbers:
        layer["nodata"] = float(numbers[0])
    elif re.fullmatch(r"SCALE(_1)?", key.upper()) and len(numbers) == 2:
        layer["range"] = [float(number) for number in numbers]
    elif key.upper() == "RESAMPLE":
        layer["smooth"] = value.upper() != "NEAREST"
    else:
        builder.report.add_omission(place, f"PROCESSING {key} has no counterpart")


def _convert_class(builder: DraftBuilder, block: Block) -> list[str]:
    """Convert a class of pixel values to lines of colours: at its lower end, or at both ends of a range of colours."""
    lines: list[str] = []
    match = _LOWER_END_PATTERN.search(block.get_keyword_text("EXPRESSION"))
    lower_end = "" if match is None else match["value"] or match["first"] or match["single"]
    for style in block.list_blocks("STYLE"):
        colour = _read_colour(style.get_keyword_text("COLOR"))
        colours, limits = style.get_keyword_text("COLORRANGE").split(), style.get_keyword_text("DATARANGE").split()
        if len(colours) == 6 and len(limits) == 2:
            lines += [f"{limits[0]} {' '.join(colours[:3])}", f"{limits[1]} {' '.join(colours[3:])}"]
        elif colour and lower_end:
            lines.append(f"{lower_end} {colour}")
    if not lines:
        builder.report.add_decision(block.place, "a class without a lower end and a colour: write `colours`")
    return lines


def _read_colour(text: str) -> str:
    """Read a colour: three numbers, or #RRGGBB; empty: an attribute, or no colour."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?", text):
        return " ".join(str(int(text[start : start + 2], 16)) for start in (1, 3, 5))
    return text if re.fullmatch(r"\d+ \d+ \d+", text) else ""
