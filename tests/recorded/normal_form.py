"""The normal form of an answer: lines of text that hold what may not change, and nothing else.

Data, types, names of columns, keys of JSON, fields of forms, addresses and media types stay. Prose becomes ``WORDS``, for messages and pages may be
written anew; times of the run, identifiers, digests and directories of this run become words in capitals.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml
from lxml import etree, html

MAX_LINES = 2_000  # of one answer; the others are a digest
KEPT_LINES = 1_000
MAX_TEXT_BYTES = 400_000  # of a text that is read whole; samples of time series have megabytes
KEPT_BYTES = 20_000  # of a longer one
NEWLINE = b"\n"
IGNORED_HEADERS = {"date", "content-length", "x-request-id", "server", "server-timing", "age"}
CHANGING_HEADERS = {
    "etag",
    "last-modified",
    "expires",
    "set-cookie",
}  # their presence is recorded, not their values
# what each run has of its own: a text without which the pattern finds nothing, the pattern, what stands for it
MASKS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("T", re.compile(r"\b\d{8}T\d{6,9}-[0-9a-f]+\b"), "STATE"),  # identifiers of snapshots and runs
    ("300615", re.compile(r"(?<![0-9])300615[0-9a-f]{20}\b"), "JOB"),
    ("-", re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (
        "2030-06-15",
        re.compile(r"\b2030-06-15(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:\.\d+)?)?)?)?(?:Z|\+00:00|[+]0000| UTC)?"),
        "NOW",
    ),
    ("15 Jun", re.compile(r"\b(?:Sat, )?15 Jun(?:e)? 2030(?: \d\d:\d\d:\d\d)?(?: GMT| \+0000)?"), "NOW"),
    ("20300615", re.compile(r"\b20300615T?\d*Z?"), "NOW"),
    ("19077", re.compile(r"\b19077[45]\d{4}(?:\.\d+)?\b"), "NOW"),
    ("[request ", re.compile(r"\[request [0-9a-f]+\]"), "[request ID]"),
    ("", re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{16,128}\b"), "DIGEST"),
    ("NOW.", re.compile(r"(?<=NOW)\.\d+\b"), ""),  # of a fraction that a page wrote without its last zeros
    ("hven-signed=NOW.", re.compile(r"(?<=hven-signed=NOW\.)[\w.-]+"), "SIGNATURE"),
    (
        "",
        re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{12}\b"),
        "GRANT",
    ),  # identifiers of tokens and invitations
    ("s", re.compile(r"\b\d+(?:\.\d+)? ?m?s\b(?! \w)"), "SECONDS"),
    ("STATE~", re.compile(r"(?<=STATE~)[0-9a-f]+"), "SCOPE"),  # the access scope of a state
    ("2030-", re.compile(r"\b(2030-\d\d-\d\dT10:2\d):\d\d(?:\.\d+)?"), r"\1"),  # days after the instant
    ("Hven/", re.compile(r"(?<=Hven/)\d[\w.+]*"), "VERSION"),
    ("127.0.0.1:", re.compile(r"(?<=127\.0\.0\.1:)\d+"), "PORT"),
)
# the end of the name of a built script or style sheet, which changes with its content
ASSET_DIGEST = re.compile(r"(/assets/[\w/.-]+?)(?:[-.][0-9A-Za-z_]{8,})?(\.\w+)(?:\?\S*)?$")
ASSET_NAME = re.compile(r"(?<=/)[\w.-]+-[0-9A-Z]{8}(?=\.(?:css|js)\b)")  # in running text
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[-+]?\d+)?(?![\w.])", re.IGNORECASE)
DIGIT = re.compile(r"\d")
MAX_DIGITS = 12  # of a number; the last ones of longer ones differ from one processor to another
# the numbers among which are all that have more digits
LONG_NUMBER = re.compile(
    rf"(?<![\w.])-?(?=[\d.eE+-]{{{MAX_DIGITS + 2}}})\d+\.\d+(?:e[-+]?\d+)?(?![\w.])", re.IGNORECASE
)
MIN_LONG_BODY_BYTES = 50_000  # of a body whose normal form is remembered
MAX_REMEMBERED_CHARACTERS = 300  # of a text whose masked form is remembered
EPOCH_SECONDS = range(1_907_740_000, 1_907_760_000)  # seconds since 1970, about `fixed_time.INSTANT`
WORD = re.compile(r"^[\W\d_]*[^\W\d_]+(?:['\u2019-][^\W\d_]+)*[\W_]*$")
QUERY = re.compile(r"^\s*(?:SELECT|WITH)\b", re.IGNORECASE)
VOLATILE_KEYS = {
    "seconds",
    "lag",
    "took",
    "bytes_per_second",
    "uptime",
    "bytes",
    "pid",
    "cpu",
    "memory",
    "etag",
    "version",
}
SKIPPED_TYPES = ("text/javascript", "application/javascript", "text/css", "font/")
KEPT_ATTRIBUTES = {"id", "name", "href", "src", "action", "formaction", "method", "type", "value", "for", "rel", "lang", "datetime", "checked", "selected", "disabled", "multiple", "enctype", "srcset", "target", "hreflang", "colspan", "rowspan", "list", "min", "max", "step", "required", "hidden", "open"}  # fmt: skip
EXACT_TYPES = ("f8", ">f8", "i8", ">i8", "i4", ">i4", "i2", ">i2", "u1")  # types of numbers that Python has as well
CELLS = {"td", "dd", "time", "output", "data"}


def describe_answer(
    status: int, headers: Mapping[str, str], body: bytes, replaced: Mapping[str, str] = {}
) -> list[str]:
    """Write the normal form of an answer.

    `replaced` are texts of this run and what stands for them: directories, identifiers.
    """
    media_type = headers.get("content-type", "")
    lines = [f"{status} {media_type}"]
    for name, value in sorted(headers.items()):
        if name in CHANGING_HEADERS:
            lines.append(f"{name}: ...")
        elif name not in IGNORED_HEADERS | {"content-type"}:
            lines.append(f"{name}: {mask_text(value, replaced)}")
    if body:
        describe = describe_long_body if len(body) > MIN_LONG_BODY_BYTES else describe_body
        described = describe(media_type, body, replaced, error=status >= 400)
        # a text inside of an element may have several lines, and recordings are stored by lines
        lines.extend(shorten_lines([line for text in described for line in text.split("\n")]))
    return lines


def shorten_lines(lines: list[str]) -> list[str]:
    """Replace the end of what is long by its length and a digest."""
    if len(lines) <= MAX_LINES:
        return lines
    rest = "\n".join(lines[KEPT_LINES:]).encode()
    return [*lines[:KEPT_LINES], f"... {len(lines) - KEPT_LINES} more lines, {compute_digest(rest)}"]


def compute_digest(data: bytes) -> str:
    """Name bytes by the beginning of their SHA-256; the numbers of a text have fewer digits than shown ones.

    Among thousands of numbers, one is so near the middle between two roundings to ten digits that the processor decides.
    The separation of near stars is the difference of nearly equal numbers, so it has fewer digits that are sure.
    """
    with contextlib.suppress(UnicodeDecodeError):
        data = NUMBER.sub(round_number_coarsely, data.decode()).encode()
    return hashlib.sha256(data).hexdigest()[:12].upper()  # in capitals: no mask takes it for a digest of the run


def mask_address(address: str, replaced: Mapping[str, str] = {}) -> str:
    """Mask an address, with its query, in a line with its method; a built file is named without its digest."""
    path, mark, query = mask_text(address, replaced).partition("?")
    return ASSET_DIGEST.sub(r"\1\2", path) + mark + query


def mask_text(text: str, replaced: Mapping[str, str] = {}) -> str:
    """Replace what each run has of its own, and round numbers whose last digits depend on the processor."""
    for old, new in replaced.items():
        text = text.replace(old, new)
    if not DIGIT.search(text):
        return text
    return mask_short_text(text) if len(text) <= MAX_REMEMBERED_CHARACTERS else mask_patterns(text)


@lru_cache(maxsize=50_000)
def mask_short_text(text: str) -> str:
    """Mask a short text; the pages and formats of a table repeat thousands of them."""
    return mask_patterns(text)


def mask_patterns(text: str) -> str:
    """Mask a text in which directories and identifiers of the run are already replaced."""
    if (found := NUMBER.fullmatch(text)) and not text.startswith("19077"):  # of the epoch
        return round_number(found)
    for needed, pattern, word in MASKS:
        if needed in text:
            text = pattern.sub(word, text)
    return LONG_NUMBER.sub(round_number, text)


def round_number(found: re.Match[str]) -> str:
    """Write a number of many digits with ten of them, and a small one, such as a separation, with five."""
    if sum(map(str.isdigit, found[0])) <= MAX_DIGITS:
        return found[0]
    number = float(found[0])
    return f"{number:.{10 if abs(number) >= 1 else 5}g}"


def round_number_coarsely(found: re.Match[str]) -> str:
    """Write a number with seven digits; a large one, such as a Julian date, with ten, and a small one with three."""
    number = float(found[0])
    if abs(number) >= 1000:
        return f"{number:.10g}"
    return f"{number:.7g}" if abs(number) >= 1 else f"{number:.3g}"


def is_prose(text: str) -> bool:
    """Say whether a text is written for people: three words or more that are of letters alone, and no query."""
    if QUERY.match(text) or "  " in text.strip():  # several spaces separate the columns of a table
        return False
    return sum(1 for word in text.split() if WORD.match(word)) >= 3


def mask_prose(text: str) -> str:
    """Replace prose by a word."""
    return "WORDS" if is_prose(text) else text.strip()


def describe_body(media_type: str, body: bytes, replaced: Mapping[str, str] = {}, *, error: bool = False) -> list[str]:
    """Write the normal form of a body, by its media type."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind.startswith(SKIPPED_TYPES):
        return []
    if len(body) > MAX_TEXT_BYTES and (kind.startswith("text/") or kind.endswith("json")):
        kept = [ASSET_NAME.sub("", line) for line in describe_rows(body[:KEPT_BYTES], replaced)[:-1]]
        return [*kept, f"... of {body.count(NEWLINE)} lines"]
    for pattern, describe in DESCRIBERS:
        if re.fullmatch(pattern, kind):
            try:
                return describe(body, replaced)
            except (ValueError, KeyError, OSError, etree.LxmlError, zipfile.BadZipFile, tarfile.TarError) as fault:
                return [f"cannot be read as {kind}: {type(fault).__name__}"]
    if kind.startswith("text/") or b"\0" not in body[:2000]:
        return describe_error_text(body, replaced) if error else describe_text(body, replaced)
    return [f"{len(body)} bytes, {compute_digest(body)}"]


def describe_long_body(media_type: str, body: bytes, replaced: Mapping[str, str], *, error: bool) -> list[str]:
    """Write the normal form of a body; several routes send the same file."""
    return list(_describe_remembered_body(media_type, body, tuple(replaced.items()), error))


@lru_cache(maxsize=32)
def _describe_remembered_body(
    media_type: str, body: bytes, replaced: tuple[tuple[str, str], ...], error: bool
) -> tuple[str, ...]:
    return tuple(describe_body(media_type, body, dict(replaced), error=error))


def decode_body(body: bytes, replaced: Mapping[str, str]) -> str:
    return mask_text(body.decode("utf-8", "backslashreplace"), replaced)


def describe_error_text(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep of a message where it says that the fault is."""
    text = decode_body(body, replaced)
    return ["a message", *re.findall(r"\bline \d+|\bcolumn \d+|\bposition \d+|\bcharacter \d+|\brow \d+", text)]


def describe_text(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep the lines that are no prose and no comment."""
    return [
        mask_prose(line) for line in decode_body(body, replaced).splitlines() if not re.match(r"\s*#(?!\s*\{)", line)
    ]


def describe_rows(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep rows of text as they are: they are data."""
    return decode_body(body, replaced).splitlines()


def describe_metrics(body: bytes, _: Mapping[str, str]) -> list[str]:
    """Keep the names, labels and types of metrics; their values are of the run."""
    found = {re.sub(r"\s+\S+$", "", line) for line in body.decode().splitlines() if not line.startswith("# HELP")}
    found = {re.sub(r'le="[^"]*"', 'le="..."', line) if line[:1] != "#" else line for line in found}
    return sorted(mask_text(line) for line in found)


def describe_plain(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Tell metrics from other plain text."""
    return describe_metrics(body, replaced) if body.startswith(b"# HELP") else describe_text(body, replaced)


def describe_json(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep keys, numbers, names; rows of data as they are."""
    return describe_value(json.loads(body), replaced)


def describe_json_lines(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    return [line for text in body.splitlines() if text for line in describe_value(json.loads(text), replaced)]


def describe_yaml(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    return describe_value(yaml.load(body, yaml.BaseLoader), replaced)


def describe_value(value: Any, replaced: Mapping[str, str] = {}) -> list[str]:
    """Write a value of JSON, masked, a line for each of its parts."""
    masked = mask_value(value, replaced)
    lines = json.dumps(masked, indent=0, sort_keys=True, ensure_ascii=False, default=str).splitlines()
    rows = value.get("data") if isinstance(value, dict) else None
    if isinstance(rows, list) and rows:  # rows of a table: what looks like prose in them is data
        text = mask_text(json.dumps(rows, sort_keys=True, ensure_ascii=False, default=str), replaced)
        lines.append(f"{len(rows)} rows, {compute_digest(text.encode())}")
    return lines


def mask_value(value: Any, replaced: Mapping[str, str]) -> Any:
    """Mask all texts of a value of JSON, and numbers that are of the run."""
    if isinstance(value, dict):
        return {
            mask_text(str(name), replaced): "..." if name in VOLATILE_KEYS else mask_value(item, replaced)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_value(item, replaced) for item in value]
    if isinstance(value, float):
        return "NOW" if int(value) in EPOCH_SECONDS else float(f"{value:.10g}")
    if isinstance(value, int) and not isinstance(value, bool):
        return "NOW" if any(value // 1_000**power in EPOCH_SECONDS for power in range(4)) else value
    if isinstance(value, str):
        if re.match(r"\s*<[a-z!]", value):
            return describe_html(value.encode(), replaced)
        return mask_prose(mask_text(value, replaced))
    return value


def describe_xml(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep elements, attributes and texts that are no prose; of a binary stream its rows."""
    root = etree.fromstring(body, etree.XMLParser(huge_tree=True, resolve_entities=False, recover=False))
    lines = []
    for depth, node in walk_elements(root):
        if not isinstance(node.tag, str):
            if isinstance(node, etree._ProcessingInstruction):
                lines.append(f"<?{node.target}?>")
            continue
        tag = etree.QName(node).localname
        attributes = "".join(
            f' {etree.QName(name).localname}="{mask_prose(mask_text(value, replaced))}"'
            for name, value in sorted(node.attrib.items())
        )
        text = (node.text or "").strip()
        if tag == "STREAM" and text:
            text = describe_stream(body, base64.b64decode(text), replaced)
        elif tag in {"DESCRIPTION", "description"}:
            text = "WORDS" if text else ""
        else:
            text = mask_prose(mask_text(text, replaced))
        lines.append(f"{' ' * depth}{tag}{attributes} {text}".rstrip())
    return lines


def describe_stream(document: bytes, stream: bytes, replaced: Mapping[str, str]) -> str:
    """Name the rows of a VOTable that are written in binary: their number, a digest of what they say, and the first one."""
    from astropy.io import votable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = votable.parse(io.BytesIO(document), verify="ignore").get_first_table().array
        except Exception as fault:  # noqa: BLE001  (whatever a reader that is not ours raises)
            return f"{len(stream)} bytes that astropy refuses: {type(fault).__name__}"
    columns = [write_masked_cells(array.data[name], array.mask[name]) for name in array.dtype.names]
    written = [str(list(row)) for row in zip(*columns, strict=True)]
    # all rows at once: no row has a line break, which is escaped in the text of a list
    rows = mask_text("\n".join(written), replaced).split("\n") if written else []
    return f"{len(rows)} rows, {compute_digest(repr(rows).encode())} {rows[0] if rows else ''}"


def write_masked_cells(cells: Any, masks: Any) -> list[str]:
    """Write the cells of a column with the word of numpy for masked ones."""
    if masks.ndim == 1 and not masks.any():
        return write_cells(cells)
    return ["--" if masked else str(cell) for cell, masked in zip(cells, masks, strict=True)]


def write_cells(cells: Sequence[Any]) -> list[str]:
    """Write the cells of a column as numpy does."""
    if getattr(cells, "ndim", 0) == 1 and cells.dtype in EXACT_TYPES:
        cells = cells.tolist()  # Python writes these numbers like numpy, and sooner
    return [str(cell) for cell in cells]


def walk_elements(root: Any) -> Iterator[tuple[int, Any]]:
    """Yield elements in the order of the document, with their depths."""
    waiting = [(0, root)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting.extend((depth + 1, child) for child in reversed(node))


def describe_html(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep the skeleton of a page: elements with identifiers, addresses, fields and their values; texts of cells that are no prose."""
    text = body.decode("utf-8", "replace")
    if not text.strip():
        return []
    parser = html.HTMLParser(encoding="utf-8")
    root = html.document_fromstring(text.encode(), parser=parser)
    lines = []
    for _, node in walk_elements(root):
        if not isinstance(node.tag, str) or (node.tag in {"svg", "path", "g", "title", "b", "i", "em", "strong", "span", "p", "br", "wbr", "small", "abbr", "circle", "line", "text", "rect", "use", "polyline", "tspan", "kbd", "sup", "sub"} and not node.get("id")):  # fmt: skip
            continue
        attributes = "".join(
            f' {name}="{describe_attribute(name, value, replaced)}"'
            for name, value in sorted(node.attrib.items())
            if name in KEPT_ATTRIBUTES or name.startswith("data-")
        )
        shown = ""
        if node.tag in CELLS:
            shown = mask_prose(mask_text(" ".join("".join(node.itertext()).split()), replaced))
        elif node.tag == "script" and "json" in (node.get("type") or "") and (node.text or "").strip():
            shown = json.dumps(mask_value(json.loads(node.text), replaced), sort_keys=True, ensure_ascii=False)
            shown = shown if len(shown) < 2_000 else f"{shown[:400]} ... {compute_digest(shown.encode())}"
        lines.append(f"{node.tag}{attributes} {shown}".rstrip())
    return lines


def describe_attribute(name: str, value: str, replaced: Mapping[str, str]) -> str:
    """Mask an attribute; files of the house have names of their own content."""
    value = mask_text(value, replaced)
    if name in {"href", "src"}:
        value = ASSET_DIGEST.sub(r"\1\2", value)
        if value.startswith("data:"):
            return value.partition(",")[0]
    return mask_prose(value)


def describe_zip(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return [line for name in archive.namelist() for line in describe_member(name, archive.read(name), replaced)]


def describe_tar(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    lines = []
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            lines += describe_member(member.name, file.read() if file else b"", replaced)
    return lines


def describe_member(name: str, data: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Name a file of an archive, with its length where it is data."""
    told = f"{len(data)} bytes" if name.endswith((".fits", ".csv", ".png", ".jpg")) else "a file"
    return [f"{mask_text(name, replaced)}: {told}"]


def describe_fits(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep the cards without their comments, and digests of the data."""
    from astropy.io import fits

    lines = []
    with fits.open(io.BytesIO(body), checksum=False, disable_image_compression=True) as units:
        for unit in units:
            lines += [
                f"{card.keyword} = {mask_prose(mask_text(str(card.value), replaced))}"
                for card in unit.header.cards
                if card.keyword not in {"COMMENT", "HISTORY", "DATE", "CHECKSUM", "DATASUM", "", "CONTINUE"}
                and not (card.keyword.startswith("TCOMM"))
            ]
            if unit.data is not None:
                lines.append(f"data of {unit.name}: {describe_array(unit.data)}")
    return lines


def describe_array(data: Any) -> str:
    """Name an array by its type, its shape and a digest; cells of tables are rounded."""
    if data.dtype.names:
        columns = [write_cells(data.field(number)) for number in range(len(data.dtype.names))]
        rows = mask_text(json.dumps([list(row) for row in zip(*columns, strict=True)]))
        return f"{data.dtype.descr} {data.shape} {compute_digest(rows.encode())}"
    return f"{data.dtype} {data.shape} {compute_digest(data.tobytes())}"


def describe_parquet(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    import pyarrow.parquet as pq

    return describe_table(pq.read_table(io.BytesIO(body)), replaced)


def describe_arrow(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    import pyarrow as pa

    with pa.ipc.open_stream(io.BytesIO(body)) as reader:
        return describe_table(reader.read_all(), replaced)


def describe_table(table: Any, replaced: Mapping[str, str]) -> list[str]:
    """Keep the columns with their types and the names of their metadata, the first rows, and a digest of all."""
    lines = [
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'} {sorted(key.decode() for key in field.metadata or {})}"
        for field in table.schema
    ]
    lines.append(f"metadata: {sorted(key.decode() for key in table.schema.metadata or {})}")
    rows = mask_text(json.dumps(table.to_pylist(), default=str, ensure_ascii=False), replaced)
    return [*lines, f"{table.num_rows} rows, {compute_digest(rows.encode())}", rows[:1_000]]


def describe_image(body: bytes, _: Mapping[str, str]) -> list[str]:
    """Keep kind and size: pixels depend on versions of the libraries that compress them."""
    from PIL import Image

    with Image.open(io.BytesIO(body)) as image:
        return [f"{image.format} {image.size} {image.mode}"]


def describe_das2(body: bytes, replaced: Mapping[str, str]) -> list[str]:
    """Keep the packets of a das2 stream that are text; those of data by their length."""
    text = mask_text(body.decode("latin-1"), replaced)
    return [mask_prose(line) if line.isprintable() else f"{len(line)} characters" for line in text.split("\n")][
        :MAX_LINES
    ]


DESCRIBERS: tuple[tuple[str, Callable[[bytes, Mapping[str, str]], list[str]]], ...] = (
    (r"application/(json|geo\+json|ld\+json|manifest\+json|problem\+json|[\w.]+\+json|x-json)", describe_json),
    (r"application/(x-ndjson|jsonl)", describe_json_lines),
    (r"application/(x-)?yaml|text/yaml", describe_yaml),
    (r"text/html|application/xhtml\+xml", describe_html),
    (r"text/xml|application/(xml|[\w.-]+\+xml)|image/svg\+xml", describe_xml),
    (r"text/(csv|tab-separated-values)", describe_rows),
    (r"application/zip", describe_zip),
    (r"application/x-tar", describe_tar),
    (r"application/fits|image/fits", describe_fits),
    (r"application/vnd\.apache\.parquet", describe_parquet),
    (r"application/vnd\.apache\.arrow\.stream", describe_arrow),
    (r"image/(png|jpeg|webp|gif)", describe_image),
    (r"text/vnd\.das2?\.\w+|application/vnd\.das2?\.\w+", describe_das2),
    (r"text/plain", describe_plain),
)
