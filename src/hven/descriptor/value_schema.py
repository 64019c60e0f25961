"""Types of descriptor values: functions that read a value and collect faults.

The types of the keys are annotated with these functions, which return None after a fault.

Common
------
value
    As written: text, a list or a map, with its place.
key_path
    Names the key, for messages.
faults
    Takes what is wrong, with its place and the remedy.
read_item
    Reads each item.
name, value_label, choices
    What is wanted, for messages; the words that may stand there.
must_be_integer, allow_retyped, short, allow_text
    True: a whole number; text that YAML readers would take for something else, too; text instead of a map, too.
ge, le
    Bounds, in the unit of the key; None: there is none.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import ConfigDict, Field, WithJsonSchema, create_model
from pydantic.alias_generators import to_snake
from pydantic.fields import FieldInfo

from hven.descriptor.written_yaml import (
    DECIMAL_PATTERN,
    INTEGER_PATTERN,
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    detect_misleading_retyping,
    detect_yaml_retyping,
)
from hven.model import literal, plugins
from hven.model.errors import Fault, TextPlace, UserError, suggest_spelling
from hven.model.params import describe_bounds
from hven.model.table import build_localized_text

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")


@dataclass(slots=True)
class FaultCollector:
    """Collects what is wrong.

    Attributes
    ----------
    faults
        Faults in the order in which they were found.
    language
        Language of the site: of a text in several languages, this one is used where no reader chooses one.
    """

    faults: list[Fault] = field(default_factory=list)
    language: str = "en"
    loop_value_count: int = 0  # by loops

    def add_error(self, message: str, place: TextPlace, remedy: str = "") -> None:
        """Add an error.

        Parameters
        ----------
        message
            What is wrong, without a full stop.
        place
            Place in the file.
        remedy
            What to do about it.
        """
        self.faults.append(Fault(message=message, place=place, remedy=remedy))

    def add_warning(self, message: str, place: TextPlace, remedy: str = "") -> None:
        """Add a warning.

        Parameters
        ----------
        message
            What is wrong, without a full stop.
        place
            Place in the file.
        remedy
            What to do about it.
        """
        self.faults.append(Fault(message=message, place=place, remedy=remedy, severity="warning"))

    def list_sorted(self) -> list[Fault]:
        """List all faults in the order of the files' lines, each once."""
        return sorted(dict.fromkeys(self.faults), key=build_fault_sort_key)


def build_fault_sort_key(fault: Fault) -> tuple[str, int, int]:
    """Return the key by which faults are sorted: file, line and column.

    Parameters
    ----------
    fault
        Any fault.
    """
    return fault.place.file or "", fault.place.line or 0, fault.place.column or 0


def describe_value(value: Any) -> str:
    """Name the kind of what was written, for messages.

    Parameters
    ----------
    value
        As written.

    Returns
    -------
    words
        ``a map``, ``a list``, ``nothing``, or the text.
    """
    if isinstance(value, LocatedYamlMap):
        return "a map"
    if isinstance(value, LocatedYamlList):
        return "a list"
    if isinstance(value, LocatedYamlScalar) and value.is_null:
        return "nothing"
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


Reader = Callable[[Any, str, FaultCollector], Any]
"""Checks and converts a value; None after a fault. The text names the key for messages."""


def read_text(
    value: Any, key_path: str, faults: FaultCollector, *, allow_retyped: bool = False
) -> LocatedYamlScalar | None:
    """Return a text as written.

    A text that YAML readers would turn into something else must stand in quotes, unless `allow_retyped` (dates, epochs,
    versions).
    """
    if not isinstance(value, LocatedYamlScalar):
        if isinstance(value, LocatedYamlMap) and value.is_flow:
            remedy = "put it in quotes: '{...}'"
        else:
            remedy = "quote text that begins with [ or {"
        faults.add_error(f"{key_path} must be text, not {describe_value(value)}", value.place, remedy)
        return None
    if value.is_null:
        faults.add_error(f"{key_path} is empty", value.place, "give the key a value, or remove the key")
        return None
    yaml_reading = None if allow_retyped else detect_yaml_retyping(value)
    if yaml_reading is not None:
        faults.add_error(
            f"{key_path} must be text, but {value.page.format_name} reads `{value!s}` as {yaml_reading}",
            value.place,
            f'write "{value}" in quotes',
        )
        return None
    return value


PAGE_LANGUAGES = ("en", "fr")  # of the pages


def read_localized_text(
    value: Any, key_path: str, faults: FaultCollector, *, allow_retyped: bool = False
) -> str | None:
    """Return text for people: as written, or a map of languages, ``{en: .., fr: ..}``, as a `LocalizedText`."""
    if not isinstance(value, LocatedYamlMap):
        return read_text(value, key_path, faults, allow_retyped=allow_retyped)
    if not value:
        faults.add_error(f"{key_path} is empty", value.place, "write text, or `{en: .., fr: ..}`")
        return None
    texts_by_language = {}
    for key, item in value.items():
        if key not in PAGE_LANGUAGES:
            faults.add_error(
                f"{key_path}: {str(key)!r} is not a language of Hven's pages",
                key.place,
                f"use one of {', '.join(PAGE_LANGUAGES)}",
            )
        elif (language_text := read_text(item, f"{key_path}.{key}", faults)) is not None:
            texts_by_language[str(key)] = language_text.strip()
    if not texts_by_language:
        return None
    if faults.language not in texts_by_language:
        faults.add_warning(
            f"{key_path} has no text in {faults.language!r}, the language of the site",
            value.place,
            (
                f"add '{faults.language}:'; without it, Hven uses the text in {next(iter(texts_by_language))!r} for "
                "clients, and for users whose language has no text here"
            ),
        )
    return build_localized_text(texts_by_language, faults.language)


def read_constant(value: Any, key_path: str, faults: FaultCollector) -> LocatedYamlScalar | None:
    """Return a constant as the text that stands there, typed later by its column; null is a value."""
    if isinstance(value, LocatedYamlScalar):
        return value
    faults.add_error(
        f"{key_path} must be one constant, not {describe_value(value)}",
        value.place,
        "write templates under 'text' and expressions under 'map'",
    )
    return None


def read_boolean(value: Any, key_path: str, faults: FaultCollector) -> bool | None:
    """Return ``true`` or ``false``, in no other words."""
    if isinstance(value, LocatedYamlScalar) and value.is_plain and str(value) in {"true", "false"}:
        return str(value) == "true"
    faults.add_error(f"{key_path} must be true or false, not {describe_value(value)}", value.place)
    return None


GROUPED_INTEGER_PATTERN = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:_[0-9]{3})+")  # 50_000


def read_number(
    value: Any,
    key_path: str,
    faults: FaultCollector,
    *,
    must_be_integer: bool,
    ge: float | None = None,
    le: float | None = None,
) -> float | None:
    """Return an int or a float in the unit of its key, perhaps within bounds."""
    name = "a whole number" if must_be_integer else "a number"
    if not isinstance(value, LocatedYamlScalar):
        faults.add_error(f"{key_path} must be {name}, not {describe_value(value)}", value.place)
        return None
    yaml_reading = detect_misleading_retyping(value)
    if yaml_reading is not None:
        if str(value).lstrip("+-").isdigit():
            remedy = f"write {int(value)}"
        else:
            remedy = ""
        message = f"{key_path} must be {name}, but {value.page.format_name} reads `{value!s}` as {yaml_reading}"
        faults.add_error(message, value.place, remedy)
        return None
    if must_be_integer and GROUPED_INTEGER_PATTERN.fullmatch(value):
        digits = value.replace("_", "")
    else:
        digits = str(value)
    if not (INTEGER_PATTERN if must_be_integer else DECIMAL_PATTERN).fullmatch(digits):
        faults.add_error(f"{key_path} must be {name}, not {describe_value(value)}", value.place)
        return None
    parsed_number = literal.parse_number(digits)
    if (ge is not None and parsed_number < ge) or (le is not None and parsed_number > le):
        bounds = describe_bounds(
            None if ge is None else literal.format_number(ge), None if le is None else literal.format_number(le)
        )
        faults.add_error(f"{key_path} must be {name} {bounds}, not {value}", value.place)
        return None
    return parsed_number


def join_choices(choices: Iterable[str]) -> str:
    """Join the words from which a value is chosen, as in ``a, b or c``.

    Parameters
    ----------
    choices
        At least one word.

    Returns
    -------
    text
        The words in the order given.
    """
    *earlier, last = choices
    if not earlier:
        return last
    return f"{', '.join(earlier)} or {last}"


def read_choice(value: Any, key_path: str, faults: FaultCollector, *, choices: tuple[str, ...]) -> str | None:
    """Return one of a few words."""
    if isinstance(value, LocatedYamlScalar) and str(value) in choices:
        return str(value)
    if isinstance(value, LocatedYamlScalar):
        hint = suggest_spelling(str(value), choices)
    else:
        hint = ""
    faults.add_error(f"{key_path} must be {join_choices(choices)}, not {describe_value(value)}", value.place, hint)
    return None


def read_expression_text(
    value: Any, key_path: str, faults: FaultCollector, *, value_label: str = "an expression"
) -> LocatedYamlScalar | None:
    """Return ADQL as written: whole, not cut by a comma or a comment.

    It is parsed later, with the position of every character.
    """
    if not isinstance(value, LocatedYamlScalar):
        if isinstance(value, LocatedYamlMap | LocatedYamlList) and value.is_flow:
            remedy = "put it in quotes"
        else:
            remedy = ""
        faults.add_error(f"{key_path} must be {value_label}, not {describe_value(value)}", value.place, remedy)
        return None
    if value.is_null and str(value) in {"", "~"}:
        faults.add_error(f"{key_path} is empty", value.place, "give an expression, or NULL")
        return None
    open_bracket_fault = describe_unbalanced_bracket(value)
    if open_bracket_fault:
        faults.add_error(
            f"{key_path}: {open_bracket_fault} in {describe_value(value)}",
            value.place,
            explain_early_value_end(value) or ("remove it" if "extra" in open_bracket_fault else "close it"),
        )
        return None
    yaml_reading = detect_misleading_retyping(value)
    if yaml_reading is not None:
        if str(value).lstrip("+-").isdigit():
            retyping_remedy = f"write {int(value)}"
        else:
            retyping_remedy = "put text in quotes within quotes: \"'...'\""
        faults.add_error(
            f"{key_path}: {value.page.format_name} reads `{value!s}` as {yaml_reading}", value.place, retyping_remedy
        )
        return None
    return value


def describe_unbalanced_bracket(text: str) -> str:
    """Find which parenthesis or quote of an ADQL text is left open.

    Parameters
    ----------
    text
        The whole value.

    Returns
    -------
    fault
        Empty if none is.
    """
    depth = 0
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                return "there is an extra ')'"
    if quote:
        return f"a quote {quote} is not closed"
    if depth > 0:
        return "a '(' is not closed"
    return ""


def explain_early_value_end(value: LocatedYamlScalar) -> str:
    """Detect whether YAML ended an unquoted value early.

    Parameters
    ----------
    value
        As written.

    Returns
    -------
    remedy
        By what it was ended, and the cure; empty if it was not.
    """
    if not value.is_plain:
        return ""
    rest_of_line = value.page.text[value.end :].partition("\n")[0]
    if rest_of_line.lstrip().startswith("#") and rest_of_line[:1] in {" ", "\t"}:
        return "put the whole value in double quotes, because ' #' begins a comment"
    if rest_of_line.lstrip()[:1] in {",", "}", "]"}:
        end_character = rest_of_line.lstrip()[0]
        if end_character == ",":
            name = "comma"
        else:
            name = repr(end_character)
        return f"put the value in double quotes, or write the map over several lines, because the {name} ends the value"
    return ""


def read_unchecked_map(value: Any, key_path: str, faults: FaultCollector, *, allow_text: bool = False) -> Any:
    """Return a map (or, if there is a `allow_text` form, text) as it is.

    Options of a source by its kind, what a test expects. Checked elsewhere.
    """
    if isinstance(value, LocatedYamlMap) or (allow_text and isinstance(value, LocatedYamlScalar) and not value.is_null):
        return value
    faults.add_error(f"{key_path} must be a map, not {describe_value(value)}", value.place)
    return None


def read_value_or_list(
    value: Any, key_path: str, faults: FaultCollector, *, read_item: Reader
) -> tuple[Any, ...] | None:
    """Return a tuple of a list, or of a single value without one; faulty items are left out."""
    items = value if isinstance(value, LocatedYamlList) else (value,)
    values = tuple(item_value for item in items if (item_value := read_item(item, key_path, faults)) is not None)
    if values or isinstance(value, LocatedYamlList):
        return values
    return None


def read_named_entries(
    value: Any, key_path: str, faults: FaultCollector, *, read_item: Reader
) -> dict[LocatedYamlScalar, Any] | None:
    """Return a dict of names of the curator's own; faulty entries are left out."""
    if not isinstance(value, LocatedYamlMap):
        faults.add_error(f"{key_path} must be a map (name: value), not {describe_value(value)}", value.place)
        return None
    result: dict[LocatedYamlScalar, Any] = {}
    unbalanced_text = ""
    for key, item in value.items():
        # an expression cut by a comma leaves stray keys behind
        if unbalanced_text and isinstance(item, LocatedYamlScalar) and item.is_null:
            unbalanced_text = describe_unbalanced_bracket(unbalanced_text + "," + key)
            continue
        if (
            read_item is read_expression_text
            and isinstance(item, LocatedYamlScalar)
            and item.is_plain
            and describe_unbalanced_bracket(item)
            and value.is_flow
        ):
            unbalanced_text = str(item)
        else:
            unbalanced_text = ""
        entry_value = read_item(item, f"{key_path}.{key}", faults)
        if entry_value is not None:
            result[key] = entry_value
    return result


# --- types, as keys are said in: what an editor may offer, and what reads it -------------------------------------

Text = Annotated[str, read_text]
LocalizedText = Annotated[str | dict[Literal["en", "fr"], str], read_localized_text]
RetypedLocalizedText = Annotated[
    str | dict[Literal["en", "fr"], str],
    partial(read_localized_text, allow_retyped=True),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "integer"]},
                {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"enum": ["en", "fr"]}},
            ]
        }
    ),
]
RetypedText = Annotated[
    str, partial(read_text, allow_retyped=True), WithJsonSchema({"type": ["string", "number", "integer"]})
]
Constant = Annotated[str, read_constant, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Expression = Annotated[str, read_expression_text, WithJsonSchema({"type": ["string", "number", "null"]})]
Condition = Annotated[Expression, partial(read_expression_text, value_label="a condition")]
Query = Annotated[Expression, partial(read_expression_text, value_label="a query")]
FreeMap = Annotated[dict[str, Any], read_unchecked_map]
OneOrMore: TypeAlias = T | tuple[T, ...]
Required = Annotated[T, "needed"]
# What else holds for a key. Each key of a collection, a table or a column says what becomes of it in a mirror; who made
# the data is hidden from blind referees unless a key is known to say nothing of them.
MIRRORED_MARK, CONVERTED_MARK, LOCAL_MARK, IMPERSONAL_MARK = "mirrored", "converted", "local", "impersonal"
Mirrored = Annotated[T, MIRRORED_MARK]
"""A mirror copies the value."""
Converted = Annotated[T, CONVERTED_MARK]
"""A mirror has the value in another form."""
Local = Annotated[T, LOCAL_MARK]
"""The value stays at its site: how rows are made there, or what each site decides for itself."""
Impersonal = Annotated[T, IMPERSONAL_MARK]
"""Blind referees see the value: it does not tell who made the data."""


@dataclass(frozen=True, slots=True)
class KeyExample:
    """The example of a key for its reference page.

    Attributes
    ----------
    text
        YAML that follows ``key:``.
    """

    text: str


def find_section_class(key_type: Any) -> type[DescriptorSection] | None:
    """Find the section whose keys a value has, or each value of a list or a map.

    Parameters
    ----------
    key_type
        Type of a key.

    Returns
    -------
    section
        None: the value has no keys of its own.
    """
    if isinstance(key_type, type):
        if issubclass(key_type, DescriptorSection):
            return key_type
        return None
    origin = get_origin(key_type)
    arguments = get_args(key_type)
    if origin is Annotated:
        arguments = arguments[:1]
    elif origin is Literal:
        arguments = ()
    sections = [find_section_class(argument) for argument in arguments]
    return next((section for section in sections if section is not None), None)


def is_plain_type(key_type: Any) -> bool:
    """Return whether the values of a type are texts, numbers or booleans, lists of them, or texts in languages.

    Parameters
    ----------
    key_type
        Type of a key.
    """
    origin = get_origin(key_type)
    arguments = get_args(key_type)
    if origin is Annotated:
        return is_plain_type(arguments[0])
    if origin is dict:
        return get_origin(arguments[0]) is Literal  # languages
    if origin is Literal or key_type is Ellipsis:
        return True
    if arguments:
        return all(map(is_plain_type, arguments))
    return key_type in {str, int, float, bool}


def convert_plain_value(value: Any) -> Any:
    """Convert a value of a plain type to what the model has: its text without its place, or a tuple of texts.

    Parameters
    ----------
    value
        Value as it was read.

    Returns
    -------
    value
        A text, a number, a boolean, or a tuple of them.
    """
    if isinstance(value, tuple):
        return tuple(map(convert_plain_value, value))
    if isinstance(value, LocatedYamlScalar):
        return str(value)
    return value


def choose_value_reader(key_type: Any) -> Reader:
    """Return the function that reads values of a type: its annotation, or the function for this kind of type.

    Parameters
    ----------
    key_type
        The type of a key.
    """
    origin = get_origin(key_type)
    inner = get_args(key_type)
    if origin is Annotated:
        attached_readers = [annotation for annotation in inner[1:] if callable(annotation)]
        bounds = [
            bound for annotation in inner[1:] if isinstance(annotation, FieldInfo) for bound in annotation.metadata
        ]
        return (
            attached_readers[-1]
            if attached_readers
            else partial(
                choose_value_reader(inner[0]),
                **{key: value for bound in bounds for key, value in asdict(bound).items()},
            )
        )
    if origin is Literal:
        return partial(read_choice, choices=inner)
    if origin is dict:
        return partial(read_named_entries, read_item=choose_value_reader(inner[1]))
    if inner:  # OneOrMore
        read_item = choose_value_reader(get_args(inner[-1])[0])
        return partial(read_value_or_list, read_item=read_item)
    if key_type is bool:
        return read_boolean
    return (
        key_type.record.read_section
        if key_type not in {int, float}
        else partial(read_number, must_be_integer=key_type is int)
    )


class LocatedKeyValues(dict[str, Any]):
    """What a record says: key -> value read; knows where it stands and where each key stands."""

    __slots__ = ("place", "places")

    def __init__(self, place: TextPlace, places: Mapping[str, TextPlace]) -> None:
        super().__init__()
        self.place = place
        self.places = places


def read_unstripped_text(fields: LocatedKeyValues, key: str) -> str | None:
    """Return the text of a key as it is written.

    Parameters
    ----------
    fields
        Keys and values of a record.
    key
        Name of a key.

    Returns
    -------
    text
        None: there is no such key.
    """
    if key in fields:
        return str(fields[key])
    return None


@dataclass(frozen=True, kw_only=True)
class AddedKey:
    """A key that a plug-in package adds to a section. Its value stays at the site: mirrors do not get it.

    Attributes
    ----------
    value_type
        Type of the value, as sections have it: ``dict[str, PlanSection]``.
    doc
        Line of documentation.
    previous_key
        The key behind which the schema lists it; the last key if there is no such key.
    """

    value_type: Any
    doc: str
    previous_key: str = ""


@dataclass(frozen=True, slots=True)
class AddedKeySource:
    """A source of the keys that plug-in packages add to a section.

    Attributes
    ----------
    field_name
        The field of `hven.model.plugins.PluginPackage` that has their places.
    load_keys
        Loads those of the packages in use, by their names.
    """

    field_name: str
    load_keys: Callable[[], Mapping[str, AddedKey]]


class DescriptorSection:
    """A map with known keys: each with its type and, in quotes below, what it means.

    ``_`` stands for those of another one, or some of them.

    `short`: the key that a bare word stands for; `empty`: may be left without any; `hints`: words of other languages ->
    ours; `name`: the record's, if the class is not called by it; `added_key_source`: the source of keys that packages
    add.
    """

    record: ClassVar[SectionKeySchema]  # made of the class

    def __init_subclass__(
        cls,
        *,
        short: str = "",
        empty: bool = False,
        hints: Mapping[str, str] | None = None,
        name: str = "",
        added_key_source: AddedKeySource | None = None,
    ) -> None:
        name = name or to_snake(cls.__name__.removesuffix("Section"))
        cls.record = SectionKeySchema(
            cls, name, short, hints or {}, may_be_empty=empty, added_key_source=added_key_source
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(cls.record.pydantic_schema_type)


@cache
def _read_key_docs(module: str) -> dict[str, dict[str, str]]:
    """Read what stands in quotes below the keys of a module's classes."""
    classes = [
        node for node in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(node, ast.ClassDef)
    ]
    return {
        class_node.name: {
            key.target.id.rstrip("_"): doc.value.value  # type: ignore[attr-defined, union-attr]
            for key, doc in pairwise(class_node.body)
            if isinstance(key, ast.AnnAssign) and isinstance(doc, ast.Expr)
        }
        for class_node in classes
    }


def _insert_key(types_by_key: Mapping[str, Any], name: str, key_type: Any, previous_key: str) -> dict[str, Any]:
    """Insert a key behind another one, or at the end if there is no such key."""
    items = [*types_by_key.items()]
    position = len(items)
    if previous_key in types_by_key:
        position = [*types_by_key].index(previous_key) + 1
    items.insert(position, (name, key_type))
    return dict(items)


@dataclass(eq=False)
class SectionKeySchema:
    """A map with known keys. `short_key`: the key that a bare word stands for; `may_be_empty`: may be left without any.

    Attributes
    ----------
    name
        Name of the map in the reference.
    doc
        Its line of documentation.
    added_key_source
        Source of the keys that plug-in packages add; None: they cannot add any.
    """

    model_class: type[DescriptorSection]  # the class that says the keys
    name: str  # in the schema and on the page of keys
    short_key: str
    key_hints: Mapping[str, str]  # words of other languages -> ours
    may_be_empty: bool
    added_key_source: AddedKeySource | None = None

    @property
    def doc(self) -> str:
        """What it is, in one line."""
        return (self.model_class.__doc__ or "").rstrip(".")

    @property
    def added_keys(self) -> Mapping[str, AddedKey]:
        """Keys that the plug-in packages in use add."""
        if self.added_key_source is None:
            return {}
        return self.added_key_source.load_keys()

    @cached_property
    def own_key_types(self) -> dict[str, Any]:
        """Key -> its type, without keys of packages."""
        types_by_key: dict[str, Any] = {}
        for name, hint in self.model_class.__annotations__.items():
            if name == "_":
                base_model, *only = get_args(hint) or (hint,)
                types_by_key |= {
                    key: key_type
                    for key, key_type in base_model.record.key_types.items()
                    if not only or key in only[0].split()
                }
            else:
                types_by_key[name.rstrip("_")] = hint  # for_, if_
        return types_by_key

    @property
    @plugins.cache_until_selection
    def key_types(self) -> dict[str, Any]:
        """Key -> its type."""
        types_by_key = self.own_key_types
        added_keys = self.added_keys
        # behind a key of another package stands what names it
        names = sorted(added_keys, key=lambda name: added_keys[name].previous_key in added_keys)
        for name in names:
            added_key = added_keys[name]
            key_type: Any = Annotated[added_key.value_type, LOCAL_MARK]
            types_by_key = _insert_key(types_by_key, name, key_type, added_key.previous_key)
        return types_by_key

    @cached_property
    def required_keys(self) -> list[str]:
        """Keys that must be there."""
        return self.list_marked_keys("needed")

    @cached_property
    def key_examples(self) -> dict[str, str]:
        """Key -> its example, for keys that have one of their own."""
        examples = {}
        for key, hint in self.own_key_types.items():
            for annotation in get_args(hint):
                if isinstance(annotation, KeyExample):
                    examples[key] = annotation.text
        return examples

    def list_marked_keys(self, mark: str) -> list[str]:
        """List the keys that have a mark, in their order. Keys of packages are local.

        Parameters
        ----------
        mark
            ``needed``, or a constant such as `MIRRORED_MARK`.

        Returns
        -------
        keys
            Names of keys.
        """
        keys = [key for key, hint in self.own_key_types.items() if mark in get_args(hint)]
        if mark == LOCAL_MARK:
            keys += self.added_keys
        return keys

    @property
    @plugins.cache_until_selection
    def key_docs(self) -> Mapping[str, str]:
        """Key -> what it means."""
        own_docs = dict(_read_key_docs(self.model_class.__module__)[self.model_class.__name__])
        own_docs |= {name: added_key.doc for name, added_key in self.added_keys.items()}
        of = self.model_class.__annotations__.get("_")
        if of is None:
            return own_docs
        return {**(get_args(of) or (of,))[0].record.key_docs, **own_docs}

    @property
    @plugins.cache_until_selection
    def value_readers(self) -> Mapping[str, Reader]:
        """Key -> what reads its value."""
        return {key: choose_value_reader(hint) for key, hint in self.key_types.items()}

    def _find_ineffective_key_error(self, key: str) -> UserError | None:
        """Find the error of a key whose package the settings leave out."""
        if self.added_key_source is None:
            return None
        return plugins.find_disabled_plugin_error(self.added_key_source.field_name, key)

    def read_section(self, value: Any, key_path: str, faults: FaultCollector) -> LocatedKeyValues | None:
        """Return `LocatedKeyValues`; unknown keys are refused with the nearest known one.

        Parameters
        ----------
        value
            As written.
        key_path
            Names the map, for messages.
        faults
            Takes what is wrong.
        """
        value_readers = self.value_readers
        if isinstance(value, LocatedYamlScalar) and value.is_null and self.may_be_empty:
            return LocatedKeyValues(value.place, {})
        if isinstance(value, LocatedYamlScalar) and self.short_key and not value.is_null:
            fields = LocatedKeyValues(value.place, {self.short_key: value.place})
            key_value = value_readers[self.short_key](value, key_path, faults)
            if key_value is None:
                return None
            fields[self.short_key] = key_value
            return fields
        if not isinstance(value, LocatedYamlMap):
            faults.add_error(
                f"{key_path} must be a map (keys: {', '.join([*value_readers][:6])} ...), not {describe_value(value)}",
                value.place,
            )
            return None
        name = key_path or "the descriptor"
        fields = LocatedKeyValues(value.place, {str(key): key.place for key in value})
        for key, item in value.items():
            if key not in value_readers:
                unused_error = self._find_ineffective_key_error(key)
                if unused_error is not None:
                    faults.add_warning(f"{name}: {unused_error.message}", key.place, unused_error.remedy)
                    continue
                if key.lower() in self.key_hints:
                    hint = _format_key_hint(self.key_hints[key.lower()])
                else:
                    hint = suggest_spelling(key, value_readers)
                faults.add_error(
                    f"{str(key)!r} is not a valid key of {name}",
                    key.place,
                    hint or f"use one of {', '.join(value_readers)}",
                )
                continue
            key_value = value_readers[key](item, f"{key_path}.{key}" if key_path else str(key), faults)
            if key_value is not None:
                fields[str(key)] = key_value
        for missing_key in self.required_keys:
            if missing_key not in fields.places:
                faults.add_error(f"{name} lacks the key {missing_key!r}", value.place, self.key_docs[missing_key])
        return fields

    @property
    @plugins.cache_until_selection
    def pydantic_schema_type(self) -> Any:
        """What may be written, as pydantic says it in JSON Schema."""
        keys: dict[str, Any] = {
            key: (hint, Field(... if key in self.required_keys else None, description=self.key_docs[key]))
            for key, hint in self.key_types.items()
        }
        model: Any = create_model(self.name, __config__=ConfigDict(extra="forbid"), __doc__=self.doc, **keys)
        if self.short_key:
            model = model | self.key_types[self.short_key]
        if self.may_be_empty:
            return model | None
        return model


def _format_key_hint(key_hint: str) -> str:
    """Ask whether another key is meant; a hint that says more than the key contains its own quotes."""
    if not key_hint.startswith("'"):
        key_hint = repr(key_hint)
    return f"did you mean {key_hint}?"
