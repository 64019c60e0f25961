r"""Prepare Python of resource descriptors for reading: ``@name`` and macros such as ``\srcstem`` become names.

Python is only parsed (`ast`), never run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MACRO_CHARACTERS = 1 << 20  # that macros put into one text
VARIABLE_PREFIX = "hven_var_"  # before names of variables of a rowmaker
PROPERTY_NAMES = {  # macros that become Python expressions in DaCHS: the names that Hven's expressions use
    "inputRelativePath": "file.path",
    "rootlessPath": "file.path",
    "fullPath": "file.path",
    "srcstem": "file.stem",
    "inputSize": "file.size",
    "rowsProcessed": "source.row",
    "rowsMade": "source.row",
}
SITE_NAMES = {"web": "site.url", "ivoa": "site.authority"}
PROPERTY_PREFIX = "hven_name_"
PLACEHOLDER_START, PLACEHOLDER_END = "\ue000", "\ue001"  # around a name inside a text
_MACRO_PATTERN = re.compile(r"(?<!\\)\\(\w+)((?:\{[^{}]*\})*)")
_STRING_PATTERN = re.compile(
    r"(?<!\w)(?P<prefix>[rRbBuUfF]{0,2})"
    r"(?P<body>'''[\s\S]*?'''|\"\"\"[\s\S]*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")"
)
_VARIABLE_PATTERN = re.compile(r"(?<![\w)\]])@([A-Za-z_]\w*)(\.sourceToken)?")


def expand_macros(
    pattern: re.Pattern[str], text: str, find_value: Callable[[re.Match[str]], str | None], max_characters: int
) -> str:
    """Replace the macros of a text; those without a value stay.

    Parameters
    ----------
    pattern
        How macros are written.
    text
        The text.
    find_value
        Finds the value of a macro; None: it has none.
    max_characters
        Number of characters that macros put into the text: macros inside macros may grow without end.

    Raises
    ------
    SourceError
        There are more.
    """
    character_count = 0

    def replace_macro(match: re.Match[str]) -> str:
        nonlocal character_count
        value = find_value(match)
        value = match[0] if value is None else value
        character_count += len(value)
        if character_count > max_characters:
            raise SourceError(
                f"the macros of one text expand to more than {max_characters >> 20} MiB: {text[:40]!r}",
                remedy="correct the macros in a copy of the file",
            )
        return value

    return pattern.sub(replace_macro, text)


class MacroValues:
    """The values of the macros of one resource descriptor.

    Parameters
    ----------
    schema
        Name of the collection.
    descriptor_id
        Id of the descriptor: ``mars/q``.
    metadata
        Values of its ``meta`` elements by their names.
    """

    def __init__(self, schema: str, descriptor_id: str, metadata: Mapping[str, str]) -> None:
        self._schema = schema
        self._descriptor_id = descriptor_id
        self._metadata = metadata
        self.own_macros: Mapping[str, str] = {}

    def replace_text_macros(self, text: str, table: str = "", columns: str = "") -> str:
        r"""Replace macros in a text; macros without a value stay as they are.

        Parameters
        ----------
        text
            The text.
        table, columns
            For ``\curtable`` and ``\colNames``.
        """
        if "\\" not in text:
            return text
        text = re.sub(r"\\\n\s*", " ", text)

        def find_value(match: re.Match[str]) -> str | None:
            return self._find_value(match[1], re.findall(r"\{([^{}]*)\}", match[2]), table, columns)

        for _ in range(4):  # macros inside the values of others
            replaced = expand_macros(_MACRO_PATTERN, text, find_value, MAX_MACRO_CHARACTERS)
            if replaced == text:
                break
            text = replaced
        return text

    def _find_value(self, name: str, arguments: list[str], table: str, columns: str) -> str | None:
        if not arguments:
            values = {
                "schema": self._schema,
                "rdId": self._descriptor_id,
                "rdIdDotted": self._descriptor_id.replace("/", "."),
                "curtable": f"{self._schema}.{table}" if table else None,
                "qName": f"{self._schema}.{table}" if table else None,
                "colNames": columns or None,
                "pubDIDBase": f"ivo://{PLACEHOLDER_START}site.authority{PLACEHOLDER_END}/~?",
            }
            return self.own_macros.get(name, values.get(name))
        argument = arguments[0]
        if name == "metaString":
            return self._metadata.get(argument, arguments[1] if len(arguments) > 1 else None)
        if name == "getConfig":
            section_name = SITE_NAMES.get(argument)
            return f"{PLACEHOLDER_START}{section_name}{PLACEHOLDER_END}" if section_name else None
        if name == "internallink":
            return f"{PLACEHOLDER_START}site.url{PLACEHOLDER_END}/{argument.lstrip('/')}"
        if name == "upper":
            return argument.upper()
        return argument[:1].lower() + argument[1:] if name == "decapitalize" else None


def prepare_python(code: str) -> str:
    """Replace variables and macros that stand for expressions by names that Python can parse."""
    code = re.sub(r"\bvars\[\s*(['\"])([A-Za-z_]\w*)\1\s*\]", r"@\2", code)  # before texts are set apart
    parts: list[str] = []
    end = 0
    for match in _STRING_PATTERN.finditer(code):
        parts.append(_replace_names(code[end : match.start()]))
        text = match[0]
        is_format = "f" in match["prefix"].lower()
        parts.append(_replace_names(text) if is_format else text)
        end = match.end()
    parts.append(_replace_names(code[end:]))
    return "".join(parts)


def _replace_names(code: str) -> str:
    code = re.sub(r"\\\s*\n", "\\\n", code)  # a continued line of Python, with blanks behind its backslash
    code = _MACRO_PATTERN.sub(_replace_property_macro, code)

    def replace_variable(match: re.Match[str]) -> str:
        if match[1] == "parser_" and match[2]:
            return f"{PROPERTY_PREFIX}file__path"
        return f"{VARIABLE_PREFIX}{match[1]}{match[2] or ''}"

    return _VARIABLE_PATTERN.sub(replace_variable, code)


def _replace_property_macro(match: re.Match[str]) -> str:
    name = PROPERTY_NAMES.get(match[1])
    if match[1] in {"standardPubDID", "standardPubDid"}:
        return f"{PROPERTY_PREFIX}publisher_did"
    if name is None:
        return match[0]
    return PROPERTY_PREFIX + name.replace(".", "__")
