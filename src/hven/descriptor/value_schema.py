"""What a value of a descriptor may look like: shapes read written values, collect faults, and say themselves as JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hven.descriptor.written import DECIMAL, WHOLE, Entries, Items, Written, retyped, trap
from hven.model import literal
from hven.model.errors import Fault, Place, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Faults:
    """Collects what is wrong.

    Attributes
    ----------
    found
        In the order in which they were found.
    """

    found: list[Fault] = field(default_factory=list)
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
        """All of them in the order of the files' lines, each once."""
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
    """Name what was written, for messages.

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


class Shape(Protocol):
    """One kind of value."""

    def read(self, value: Any, what: str, faults: Faults) -> Any:
        """Validate and convert a value.

        Parameters
        ----------
        value
            As written.
        what
            Names the key for messages.
        faults
            Where faults go.

        Returns
        -------
        value
            None after a fault.
        """

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Generate the same as JSON Schema (draft 2020-12).

        Parameters
        ----------
        definitions
            Records add themselves.

        Returns
        -------
        schema
            Of one value.
        """


@dataclass(frozen=True, slots=True)
class Text:
    """Text. What YAML readers would turn into something else must stand in quotes.

    Attributes
    ----------
    example
        Shown to editors.
    """

    example: str = ""
    any: bool = False  # dates, epochs, versions: read as written

    def read(self, value: Any, what: str, faults: Faults) -> Written | None:
        """Return the text as written."""
        if not isinstance(value, Written):
            remedy = "put it in quotes: '{...}'" if isinstance(value, Entries) and value.flow else "quote text that begins with [ or {"
            faults.error(f"{what} must be text, not {kind(value)}", value.place, remedy)
            return None
        if value.is_null:
            faults.error(f"{what} is empty", value.place, "say something, or remove the key")
            return None
        found = None if self.any else trap(value)
        if found is not None:
            faults.error(f"{what} must be text, but YAML reads {value!s} as {found}", value.place, f'write "{value}" in quotes')
            return None
        return value

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Text, or anything that can be said in one word."""
        return {"type": ["string", "number", "integer"]} if self.any else {"type": "string"}


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant, read as the text that stands there and typed later by its column; null is a value."""

    def read(self, value: Any, what: str, faults: Faults) -> Written | None:
        """Return the text as written."""
        if not isinstance(value, Written):
            faults.error(
                f"{what} must be one constant, not {kind(value)}", value.place, "templates go under 'text', expressions under 'map'"
            )
            return None
        return value

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Any scalar."""
        return {"type": ["string", "number", "boolean", "null"]}


@dataclass(frozen=True, slots=True)
class Flag:
    """``true`` or ``false``, in no other words."""

    def read(self, value: Any, what: str, faults: Faults) -> bool | None:
        """Return the boolean."""
        if isinstance(value, Written) and value.plain and str(value) in {"true", "false"}:
            return str(value) == "true"
        faults.error(f"{what} must be true or false, not {kind(value)}", value.place)
        return None

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return a boolean's schema."""
        return {"type": "boolean"}


GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:_[0-9]{3})+")  # 50_000


@dataclass(frozen=True, slots=True)
class Number:
    """A number, perhaps whole, perhaps within bounds.

    Attributes
    ----------
    minimum, maximum
        Inclusive bounds, in the unit that the key has; None: no bound.
    """

    whole: bool = False
    minimum: float | None = None
    maximum: float | None = None

    def read(self, value: Any, what: str, faults: Faults) -> float | None:
        """Return an int or a float; a number without a unit."""
        name = "a whole number" if self.whole else "a number"
        if not isinstance(value, Written):
            faults.error(f"{what} must be {name}, not {kind(value)}", value.place)
            return None
        found = retyped(value)
        if found is not None:
            remedy = f"write {int(value)}" if str(value).lstrip("+-").isdigit() else ""
            faults.error(f"{what} must be {name}, but YAML reads {value!s} as {found}", value.place, remedy)
            return None
        text = value.replace("_", "") if self.whole and GROUPED.fullmatch(value) else str(value)
        if not (WHOLE if self.whole else DECIMAL).fullmatch(text):
            faults.error(f"{what} must be {name}, not {kind(value)}", value.place)
            return None
        number = literal.number(text)
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            low = "" if self.minimum is None else f" from {literal.figure(self.minimum)}"
            high = "" if self.maximum is None else f" to {literal.figure(self.maximum)}"
            faults.error(f"{what} must be {name}{low}{high}, not {value}", value.place)
            return None
        return number

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return a number's schema with its bounds."""
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer" if self.whole else "number"} | {key: bound for key, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: Any, what: str, faults: Faults) -> str | None:
        """Return the word."""
        if isinstance(value, Written) and str(value) in self.words:
            return str(value)
        hint = nearest(str(value), self.words) if isinstance(value, Written) else ""
        faults.error(f"{what} must be one of {', '.join(self.words)}, not {kind(value)}", value.place, hint)
        return None

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return an enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Expression:
    """ADQL inside YAML: whole, not cut by a comma or a comment. Parsed later, with the position of every character."""

    what: str = "an expression"  # or "a condition", "a query"

    def read(self, value: Any, what: str, faults: Faults) -> Written | None:
        """Return the text as written."""
        if not isinstance(value, Written):
            remedy = "put it in quotes" if isinstance(value, Entries | Items) and value.flow else ""
            faults.error(f"{what} must be {self.what}, not {kind(value)}", value.place, remedy)
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
            plain = f"write {int(value)}" if str(value).lstrip("+-").isdigit() else "text stands in quotes within quotes: \"'...'\""
            faults.error(f"{what}: YAML reads {value!s} as {found}", value.place, plain)
            return None
        return value

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Text or a number."""
        return {"type": ["string", "number", "null"]}


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


@dataclass(frozen=True, slots=True)
class Many:
    """A list of a shape; `one` allows a single value without the list."""

    shape: Shape
    one: bool = True

    def read(self, value: Any, what: str, faults: Faults) -> tuple[Any, ...] | None:
        """Return a tuple; faulty items are left out."""
        if isinstance(value, Items):
            read = [self.shape.read(item, what, faults) for item in value]
            return tuple(item for item in read if item is not None)
        if self.one:
            single = self.shape.read(value, what, faults)
            return None if single is None else (single,)
        faults.error(f"{what} must be a list, not {kind(value)}", value.place)
        return None

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Return an array's schema, perhaps or a single value's."""
        inner = self.shape.json(definitions)
        array = {"type": "array", "items": inner}
        return {"anyOf": [inner, array]} if self.one else array


@dataclass(frozen=True, slots=True)
class Dict:
    """Names of the curator's own -> a shape."""

    shape: Shape
    expressions: bool = False  # values cut by commas leave stray keys behind, which then get no fault of their own

    def read(self, value: Any, what: str, faults: Faults) -> dict[Written, Any] | None:
        """Return a dict; faulty entries are left out."""
        if not isinstance(value, Entries):
            faults.error(f"{what} must be a map (name: value), not {kind(value)}", value.place)
            return None
        result: dict[Written, Any] = {}
        broken = ""
        for key, item in value.items():
            if broken and isinstance(item, Written) and item.is_null:
                broken = unbalanced(broken + "," + key)
                continue
            broken = ""
            if self.expressions and isinstance(item, Written) and item.plain and unbalanced(item) and value.flow:
                broken = str(item)
            read = self.shape.read(item, f"{what}.{key}", faults)
            if read is not None:
                result[key] = read
        return result

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of an object with free names."""
        return {"type": "object", "additionalProperties": self.shape.json(definitions)}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its shape and what it means (the reference page and editors show this).

    Attributes
    ----------
    name
        As it is written.
    doc
        Its line of documentation.
    required
        A map without it is refused.
    """

    name: str
    shape: Shape
    doc: str
    required: bool = False


class Fields(dict[str, Any]):
    """What a record says: key -> value read; knows where it stands and where each key stands."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place, places: Mapping[str, Place]) -> None:
        super().__init__()
        self.place, self.places = place, places


@dataclass(frozen=True, slots=True)
class Record:
    """A map with known keys. `short`: the key that a bare word stands for; `empty`: may be left without any.

    Attributes
    ----------
    name
        Of the map, in the reference.
    doc
        Its line of documentation.
    """

    name: str
    doc: str
    keys: tuple[Key, ...]
    short: str | None = None
    empty: bool = False
    hints: Mapping[str, str] = field(default_factory=dict)  # words of other languages -> ours

    def read(self, value: Any, what: str, faults: Faults) -> Fields | None:
        """Return `Fields`; unknown keys are refused with the nearest known one."""
        if isinstance(value, Written) and value.is_null and self.empty:
            return Fields(value.place, {})
        if isinstance(value, Written) and self.short is not None and not value.is_null:
            fields = Fields(value.place, {self.short: value.place})
            read = self.key(self.short).shape.read(value, what, faults)
            if read is None:
                return None
            fields[self.short] = read
            return fields
        if not isinstance(value, Entries):
            keys = ", ".join(key.name for key in self.keys[:6])
            faults.error(f"{what} must be a map ({keys} ...), not {kind(value)}", value.place)
            return None
        known = {key.name: key for key in self.keys}
        fields = Fields(value.place, {str(key): key.place for key in value})
        for key, item in value.items():
            if key not in known:
                hint = f"did you mean {self.hints[key.lower()]!r}?" if key.lower() in self.hints else nearest(key, known)
                faults.error(f"{what or 'the descriptor'} has no key {str(key)!r}", key.place, hint or f"known: {', '.join(known)}")
                continue
            read = known[key].shape.read(item, f"{what}.{key}" if what else str(key), faults)
            if read is not None:
                fields[str(key)] = read
        for key_ in self.keys:
            if key_.required and key_.name not in fields.places:
                faults.error(f"{what or 'the descriptor'} lacks the key {key_.name!r}", value.place, key_.doc)
        return fields

    def key(self, name: str) -> Key:
        """Find a key's definition.

        Parameters
        ----------
        name
            Of the key.

        Returns
        -------
        key
            Its definition.
        """
        return next(key for key in self.keys if key.name == name)

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Return a reference to the object's definition, made on first use."""
        if self.name not in definitions:
            definitions[self.name] = {}
            properties = {key.name: key.shape.json(definitions) | {"description": key.doc} for key in self.keys}
            schema: dict[str, Any] = {"type": "object", "description": self.doc, "properties": properties, "additionalProperties": False}
            required = [key.name for key in self.keys if key.required]
            if required:
                schema["required"] = required
            definitions[self.name] = schema
        reference: dict[str, Any] = {"$ref": f"#/$defs/{self.name}"}
        choices = [reference]
        if self.short is not None:
            choices.append(self.key(self.short).shape.json(definitions))
        if self.empty:
            choices.append({"type": "null"})
        return reference if len(choices) == 1 else {"anyOf": choices}
