"""What a value of a descriptor may look like: functions that read what is written and collect faults; types have them with them, for keys to be said in.

What reads gives None after a fault.

Common
------
value
    As written: text, a list or a map, with its place.
what
    Names the key, for messages.
faults
    Takes what is wrong, with its place and the remedy.
one
    Reads each item.
name, words
    What is wanted, for messages; the words that may stand there.
whole, loose, short
    True: a whole number; text that YAML readers would take for something else, too; text instead of a map, too.
ge, le
    Bounds, in the unit of the key; None: there is none.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import ConfigDict, Field, WithJsonSchema, create_model
from pydantic.alias_generators import to_snake
from pydantic.fields import FieldInfo

from hven.descriptor.written import DECIMAL, WHOLE, Entries, Items, Written, retyped, trap
from hven.model import literal
from hven.model.errors import Fault, Place, nearest
from hven.model.table import worded

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")


@dataclass(slots=True)
class Faults:
    """Collects what is wrong.

    Attributes
    ----------
    found
        In the order in which they were found.
    language
        The site's: texts in several languages stand for that one where nobody asks.
    """

    found: list[Fault] = field(default_factory=list)
    language: str = "en"
    made: int = 0  # by loops

    def error(self, message: str, place: Place, remedy: str = "") -> None:
        """Add an error.

        Parameters
        ----------
        message
            What is wrong, without a full stop.
        place
            Where it stands.
        remedy
            What to do about it.
        """
        self.found.append(Fault(message=message, place=place, remedy=remedy))

    def warning(self, message: str, place: Place, remedy: str = "") -> None:
        """Add a warning.

        Parameters
        ----------
        message
            What is wrong, without a full stop.
        place
            Where it stands.
        remedy
            What to do about it.
        """
        self.found.append(Fault(message=message, place=place, remedy=remedy, severity="warning"))

    def sorted(self) -> list[Fault]:
        """List all faults in the order of the files' lines, each once."""
        return sorted(dict.fromkeys(self.found), key=in_order)


def in_order(fault: Fault) -> tuple[str, int, int]:
    """Return the key by which faults are sorted: file, line and column.

    Parameters
    ----------
    fault
        Any.
    """
    return fault.place.file or "", fault.place.line or 0, fault.place.column or 0


def kind(value: Any) -> str:
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
    if isinstance(value, Entries):
        return "a map"
    if isinstance(value, Items):
        return "a list"
    if isinstance(value, Written) and value.is_null:
        return "nothing"
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


Reader = Callable[[Any, str, Faults], Any]
"""Checks and converts a value; None after a fault. The text names the key for messages."""


def text(value: Any, what: str, faults: Faults, *, loose: bool = False) -> Written | None:
    """Return text as written. What YAML readers would turn into something else must stand in quotes, but for dates, epochs, versions (`loose`)."""
    if not isinstance(value, Written):
        remedy = (
            "put it in quotes: '{...}'"
            if isinstance(value, Entries) and value.flow
            else "quote text that begins with [ or {"
        )
        faults.error(f"{what} must be text, not {kind(value)}", value.place, remedy)
        return None
    if value.is_null:
        faults.error(f"{what} is empty", value.place, "say something, or remove the key")
        return None
    found = None if loose else trap(value)
    if found is not None:
        faults.error(
            f"{what} must be text, but YAML reads {value!s} as {found}", value.place, f'write "{value}" in quotes'
        )
        return None
    return value


LANGUAGES = ("en", "fr")  # of the pages


def words(value: Any, what: str, faults: Faults, *, loose: bool = False) -> str | None:
    """Return text for people: as written, or a map of languages, ``{en: .., fr: ..}``, as a `Wording`."""
    if not isinstance(value, Entries):
        return text(value, what, faults, loose=loose)
    if not value:
        faults.error(f"{what} is empty", value.place, "write text, or {en: .., fr: ..}")
        return None
    found = {}
    for key, item in value.items():
        if key not in LANGUAGES:
            faults.error(
                f"{what}: {str(key)!r} is no language of the pages", key.place, f"known: {', '.join(LANGUAGES)}"
            )
        elif (one := text(item, f"{what}.{key}", faults)) is not None:
            found[str(key)] = one.strip()
    if not found:
        return None
    if faults.language not in found:
        faults.warning(
            f"{what} has no text in {faults.language!r}, the language of the site",
            value.place,
            f"programs and other readers get that in {next(iter(found))!r}; add '{faults.language}:'",
        )
    return worded(found, faults.language)


def constant(value: Any, what: str, faults: Faults) -> Written | None:
    """Return a constant as the text that stands there, typed later by its column; null is a value."""
    if isinstance(value, Written):
        return value
    faults.error(
        f"{what} must be one constant, not {kind(value)}",
        value.place,
        "templates go under 'text', expressions under 'map'",
    )
    return None


def flag(value: Any, what: str, faults: Faults) -> bool | None:
    """Return ``true`` or ``false``, in no other words."""
    if isinstance(value, Written) and value.plain and str(value) in {"true", "false"}:
        return str(value) == "true"
    faults.error(f"{what} must be true or false, not {kind(value)}", value.place)
    return None


GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:_[0-9]{3})+")  # 50_000


def number(
    value: Any, what: str, faults: Faults, *, whole: bool, ge: float | None = None, le: float | None = None
) -> float | None:
    """Return an int or a float in the unit of its key, perhaps within bounds."""
    name = "a whole number" if whole else "a number"
    if not isinstance(value, Written):
        faults.error(f"{what} must be {name}, not {kind(value)}", value.place)
        return None
    found = retyped(value)
    if found is not None:
        remedy = f"write {int(value)}" if str(value).lstrip("+-").isdigit() else ""
        faults.error(f"{what} must be {name}, but YAML reads {value!s} as {found}", value.place, remedy)
        return None
    said = value.replace("_", "") if whole and GROUPED.fullmatch(value) else str(value)
    if not (WHOLE if whole else DECIMAL).fullmatch(said):
        faults.error(f"{what} must be {name}, not {kind(value)}", value.place)
        return None
    made = literal.number(said)
    if (ge is not None and made < ge) or (le is not None and made > le):
        low = "" if ge is None else f" from {literal.figure(ge)}"
        high = "" if le is None else f" to {literal.figure(le)}"
        faults.error(f"{what} must be {name}{low}{high}, not {value}", value.place)
        return None
    return made


def choice(value: Any, what: str, faults: Faults, *, words: tuple[str, ...]) -> str | None:
    """Return one of a few words."""
    if isinstance(value, Written) and str(value) in words:
        return str(value)
    hint = nearest(str(value), words) if isinstance(value, Written) else ""
    faults.error(f"{what} must be one of {', '.join(words)}, not {kind(value)}", value.place, hint)
    return None


def expression(value: Any, what: str, faults: Faults, *, name: str = "an expression") -> Written | None:
    """Return ADQL as written: whole, not cut by a comma or a comment. It is parsed later, with the position of every character."""
    if not isinstance(value, Written):
        remedy = "put it in quotes" if isinstance(value, Entries | Items) and value.flow else ""
        faults.error(f"{what} must be {name}, not {kind(value)}", value.place, remedy)
        return None
    if value.is_null and str(value) in {"", "~"}:
        faults.error(f"{what} is empty", value.place, "give an expression, or NULL")
        return None
    broken = unbalanced(value)
    if broken:
        faults.error(f"{what}: {broken} in {kind(value)}", value.place, cut(value) or "close it")
        return None
    found = retyped(value)
    if found is not None:
        plain = (
            f"write {int(value)}"
            if str(value).lstrip("+-").isdigit()
            else "text stands in quotes within quotes: \"'...'\""
        )
        faults.error(f"{what}: YAML reads {value!s} as {found}", value.place, plain)
        return None
    return value


def unbalanced(text: str) -> str:
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
                return "a ')' too many"
    if quote:
        return f"a quote {quote} is not closed"
    return "a '(' is not closed" if depth > 0 else ""


def cut(value: Written) -> str:
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
    if not value.plain:
        return ""
    rest = value.page.text[value.end :].partition("\n")[0]
    if rest.lstrip().startswith("#") and rest[:1] in {" ", "\t"}:
        return "the ' #' began a comment: put the whole value in double quotes"
    if rest.lstrip()[:1] in {",", "}", "]"}:
        mark = rest.lstrip()[0]
        name = "comma" if mark == "," else repr(mark)
        return f"the {name} ended the value: put it in double quotes, or write the map over several lines"
    return ""


def free(value: Any, what: str, faults: Faults, *, short: bool = False) -> Any:
    """Return a map (or, if there is a `short` form, text) as it is: options of a source by its kind, what a test expects. Checked elsewhere."""
    if isinstance(value, Entries) or (short and isinstance(value, Written) and not value.is_null):
        return value
    faults.error(f"{what} must be a map, not {kind(value)}", value.place)
    return None


def many(value: Any, what: str, faults: Faults, *, one: Reader) -> tuple[Any, ...] | None:
    """Return a tuple of a list, or of a single value without one; faulty items are left out."""
    items = value if isinstance(value, Items) else (value,)
    read = tuple(found for item in items if (found := one(item, what, faults)) is not None)
    return read if read or isinstance(value, Items) else None


def entries(value: Any, what: str, faults: Faults, *, one: Reader) -> dict[Written, Any] | None:
    """Return a dict of names of the curator's own; faulty entries are left out."""
    if not isinstance(value, Entries):
        faults.error(f"{what} must be a map (name: value), not {kind(value)}", value.place)
        return None
    result: dict[Written, Any] = {}
    broken = ""
    for key, item in value.items():
        # an expression cut by a comma leaves stray keys behind
        if broken and isinstance(item, Written) and item.is_null:
            broken = unbalanced(broken + "," + key)
            continue
        broken = (
            str(item)
            if one is expression and isinstance(item, Written) and item.plain and unbalanced(item) and value.flow
            else ""
        )
        read = one(item, f"{what}.{key}", faults)
        if read is not None:
            result[key] = read
    return result


# --- types, as keys are said in: what an editor may offer, and what reads it -------------------------------------

Text = Annotated[str, text]
Words = Annotated[str | dict[Literal["en", "fr"], str], words]
LooseWords = Annotated[
    str | dict[Literal["en", "fr"], str],
    partial(words, loose=True),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "integer"]},
                {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"enum": ["en", "fr"]}},
            ]
        }
    ),
]
Loose = Annotated[str, partial(text, loose=True), WithJsonSchema({"type": ["string", "number", "integer"]})]
Constant = Annotated[str, constant, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Expression = Annotated[str, expression, WithJsonSchema({"type": ["string", "number", "null"]})]
Condition = Annotated[Expression, partial(expression, name="a condition")]
Query = Annotated[Expression, partial(expression, name="a query")]
Free = Annotated[dict[str, Any], free]
Many: TypeAlias = T | tuple[T, ...]
Needed = Annotated[T, "needed"]


def reader(hint: Any) -> Reader:
    """Return what reads a type: the function that it has with it, or the one that goes with it.

    Parameters
    ----------
    hint
        A type as keys are said in.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = [one for one in inner[1:] if callable(one)]
        bounds = [bound for one in inner[1:] if isinstance(one, FieldInfo) for bound in one.metadata]
        return (
            own[-1]
            if own
            else partial(reader(inner[0]), **{key: value for bound in bounds for key, value in asdict(bound).items()})
        )
    if origin is Literal:
        return partial(choice, words=inner)
    if origin is dict:
        return partial(entries, one=reader(inner[1]))
    if inner:  # Many
        return partial(many, one=reader(get_args(inner[-1])[0]))
    if hint is bool:
        return flag
    return hint.record.read if hint not in {int, float} else partial(number, whole=hint is int)


class Fields(dict[str, Any]):
    """What a record says: key -> value read; knows where it stands and where each key stands."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place, places: Mapping[str, Place]) -> None:
        super().__init__()
        self.place, self.places = place, places


class Keys:
    """A map with known keys: each with its type and, in quotes below, what it means; ``_`` stands for those of another one, or some of them.

    `short`: the key that a bare word stands for; `empty`: may be left without any; `hints`: words of other languages -> ours.
    """

    record: ClassVar[Record]  # made of the class

    def __init_subclass__(cls, *, short: str = "", empty: bool = False, hints: Mapping[str, str] | None = None) -> None:
        cls.record = Record(cls, short, hints or {}, empty=empty)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(cls.record.form)


@cache
def _docs(module: str) -> dict[str, dict[str, str]]:
    """Read what stands in quotes below the keys of a module's classes."""
    classes = [
        node for node in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(node, ast.ClassDef)
    ]
    return {
        one.name: {
            key.target.id.rstrip("_"): doc.value.value  # type: ignore[attr-defined, union-attr]
            for key, doc in pairwise(one.body)
            if isinstance(key, ast.AnnAssign) and isinstance(doc, ast.Expr)
        }
        for one in classes
    }


@dataclass(eq=False)
class Record:
    """A map with known keys. `short`: the key that a bare word stands for; `empty`: may be left without any.

    Attributes
    ----------
    name
        Of the map, in the reference.
    doc
        Its line of documentation.
    """

    kind: type[Keys]  # the class that says the keys
    short: str
    hints: Mapping[str, str]  # words of other languages -> ours
    empty: bool

    @property
    def name(self) -> str:
        """The record's name in the schema and on the page of keys."""
        return to_snake(self.kind.__name__)

    @property
    def doc(self) -> str:
        """What it is, in one line."""
        return (self.kind.__doc__ or "").rstrip(".")

    @cached_property
    def keys(self) -> dict[str, Any]:
        """Key -> its type."""
        found: dict[str, Any] = {}
        for name, hint in self.kind.__annotations__.items():
            if name == "_":
                of, *only = get_args(hint) or (hint,)
                found |= {key: one for key, one in of.record.keys.items() if not only or key in only[0].split()}
            else:
                found[name.rstrip("_")] = hint  # for_, if_
        return found

    @cached_property
    def needed(self) -> list[str]:
        """Keys that must be there."""
        return [key for key, hint in self.keys.items() if "needed" in get_args(hint)]

    @cached_property
    def docs(self) -> Mapping[str, str]:
        """Key -> what it means."""
        own, of = _docs(self.kind.__module__)[self.kind.__name__], self.kind.__annotations__.get("_")
        return own if of is None else {**(get_args(of) or (of,))[0].record.docs, **own}

    @cached_property
    def readers(self) -> Mapping[str, Reader]:
        """Key -> what reads its value."""
        return {key: reader(hint) for key, hint in self.keys.items()}

    def read(self, value: Any, what: str, faults: Faults) -> Fields | None:
        """Return `Fields`; unknown keys are refused with the nearest known one.

        Parameters
        ----------
        value
            As written.
        what
            Names the map, for messages.
        faults
            Takes what is wrong.
        """
        known = self.readers
        if isinstance(value, Written) and value.is_null and self.empty:
            return Fields(value.place, {})
        if isinstance(value, Written) and self.short and not value.is_null:
            fields = Fields(value.place, {self.short: value.place})
            read = known[self.short](value, what, faults)
            if read is None:
                return None
            fields[self.short] = read
            return fields
        if not isinstance(value, Entries):
            faults.error(f"{what} must be a map ({', '.join([*known][:6])} ...), not {kind(value)}", value.place)
            return None
        name = what or "the descriptor"
        fields = Fields(value.place, {str(key): key.place for key in value})
        for key, item in value.items():
            if key not in known:
                hint = (
                    f"did you mean {self.hints[key.lower()]!r}?" if key.lower() in self.hints else nearest(key, known)
                )
                faults.error(f"{name} has no key {str(key)!r}", key.place, hint or f"known: {', '.join(known)}")
                continue
            read = known[key](item, f"{what}.{key}" if what else str(key), faults)
            if read is not None:
                fields[str(key)] = read
        for lacking in self.needed:
            if lacking not in fields.places:
                faults.error(f"{name} lacks the key {lacking!r}", value.place, self.docs[lacking])
        return fields

    @cached_property
    def form(self) -> Any:
        """What may be written, as pydantic says it in JSON Schema."""
        keys: dict[str, Any] = {
            key: (hint, Field(... if key in self.needed else None, description=self.docs[key]))
            for key, hint in self.keys.items()
        }
        made: Any = create_model(self.name, __config__=ConfigDict(extra="forbid"), __doc__=self.doc, **keys)
        made = made | self.keys[self.short] if self.short else made
        return made | None if self.empty else made
