"""Options of a source: the kind (said, or seen from the file's name), checked by the kind's own pydantic model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hven.descriptor.value_schema import Faults, kind
from hven.descriptor.written import DECIMAL, WHOLE, Entries, Items, Written, retyped
from hven.model import plugins
from hven.model.errors import Place, UserError, nearest
from hven.model.resource import SourceSpec
from hven.sources import filekinds
from hven.sources.enriched import Enrich

if TYPE_CHECKING:
    from collections.abc import Sequence


def source_spec(value: Entries | Written, what: str, faults: Faults) -> SourceSpec | None:
    """Read one ``source:`` entry; every option is checked by its kind."""
    if isinstance(value, Written):
        found = filekinds.named(value)
        if found is None:
            faults.error(
                f"{what}: no kind of source is known for {kind(value)}", value.place, "write {kind: csv, files: ...}"
            )
            return None
        return _checked(
            found,
            {"files": str(value)},
            Entries({Written("files", value.page, value.start, value.end): value}, value.place),
            what,
            faults,
        )
    said = value.get("kind")  # type: ignore[call-overload]
    files = value.get("files")  # type: ignore[call-overload]
    first = files[0] if isinstance(files, Items) and files else files
    name = (
        str(said) if isinstance(said, Written) else filekinds.named(str(first)) if isinstance(first, Written) else None
    )
    if name is None:
        faults.error(f"{what} lacks the key 'kind'", value.place, f"one of {', '.join(plugins.names('sources'))}")
        return None
    rest = Entries({key: item for key, item in value.items() if key not in {"kind", "enrich"}}, value.place)
    made = _checked(name, plain(rest), rest, what, faults, said.place if isinstance(said, Written) else value.place)
    return made if "enrich" not in value else _enriched(made, value["enrich"], what, faults)  # type: ignore[index]


def _enriched(made: SourceSpec | None, value: Any, what: str, faults: Faults) -> SourceSpec | None:
    """Read what is said of the documents of a source's rows."""
    if not isinstance(value, Entries):
        faults.error(
            f"{what}.enrich: expected a mapping, found {kind(value)}", value.place, "{url: .., id: .., columns: ..}"
        )
        return None
    options = plain(value)
    if made is None or not _valid(Enrich, options, value, f"{what}.enrich", "", faults):
        return None
    if made.kind == "live":
        faults.error(
            f"{what}.enrich: rows of a table that is read in place have no documents",
            value.place,
            "kind: sql copies them",
        )
        return None
    return replace(made, enrich=options)


def plain(value: Any) -> Any:
    """Convert written values to Python's: what stands without quotes and looks like a number is one, by YAML 1.2's rules."""
    if isinstance(value, Entries):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Items):
        return [plain(item) for item in value]
    if not isinstance(value, Written):
        return value
    text = str(value)
    if not (value.plain or value.style == "made-plain"):
        return text
    if value.is_null:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if WHOLE.fullmatch(text):
        return int(text) if str(int(text)) == text else text
    # -999.00 stays text: as a null word it must be found as it stands in the file; pydantic makes a number of it where one is wanted
    return float(text) if DECIMAL.fullmatch(text) and retyped(value) is None and str(float(text)) == text else text


def _checked(
    name: str, options: dict[str, Any], written: Entries, what: str, faults: Faults, place: Place | None = None
) -> SourceSpec | None:
    place = place or written.place
    try:
        module = plugins.load("sources", name)
    except UserError as error:
        faults.error(f"{what}: {error.message}", place, error.remedy)
        return None
    if not _valid(_strict(module.Options), options, written, what, f" of kind {name}", faults):
        return None
    return SourceSpec(kind=name, options=options, place=written.place)


def _valid(
    model: type[BaseModel], options: dict[str, Any], written: Entries, what: str, whose: str, faults: Faults
) -> bool:
    """Check options by their model."""
    for attempt in range(8):  # each round writes more numbers as the text they were
        try:
            model.model_validate(options)
        except ValidationError as error:
            again = False
            for item in error.errors():
                if item["type"] == "string_type" and attempt < 7:
                    again |= _as_text(options, written, item["loc"])
            if again:
                continue
            for item in error.errors():
                _say(item, written, model, whose, what, faults)
            return False
        break
    _traps(options, written, what, faults)
    return True


@cache
def _strict(model: type[BaseModel]) -> type[BaseModel]:
    """Derive a model that refuses a misspelt option, unless it says otherwise."""
    if "extra" in model.model_config:
        return model
    return type(model.__name__, (model,), {"model_config": {"extra": "forbid"}, "__module__": model.__module__})


def _as_text(options: Any, written: Any, loc: Sequence[str | int]) -> bool:
    """Restore the text of a scalar that a model wants as text; `loc` may carry pydantic's names of union members."""
    for position, step in enumerate(loc):
        if isinstance(options, dict) and step in options:
            inner, node = options[step], written.get(step)
        elif isinstance(options, list) and isinstance(step, int) and step < len(options):
            inner, node = options[step], written[step]
        else:
            continue
        if isinstance(inner, dict | list):
            return _as_text(inner, node, loc[position + 1 :])
        if isinstance(node, Written) and not isinstance(inner, str):
            options[step] = str(node)
            return True
        return False
    return False


def _traps(options: Any, written: Any, what: str, faults: Faults) -> None:
    """Refuse octal, base 60 and yes/no where a source takes text, too: other YAML readers see something else."""
    if isinstance(written, Entries):
        for key, item in written.items():
            _traps(options, item, f"{what}.{key}", faults)
    elif isinstance(written, Items):
        for item in written:
            _traps(options, item, what, faults)
    elif isinstance(written, Written):
        found = retyped(written)
        if found is not None:
            meant = (
                f"write {int(written)}, or "
                if str(written).isdigit()
                else "write true or false, or "
                if found.startswith("the boolean")
                else "write "
            )
            faults.error(f"{what}: YAML reads {written} as {found}", written.place, f'{meant}"{written}" in quotes')


def _say(item: Any, written: Entries, model: type[BaseModel], whose: str, what: str, faults: Faults) -> None:
    place: Place = written.place
    node: Any = written
    path: list[str] = []
    parent: type[BaseModel] | None = model
    key_place: Place | None = None
    for step in item["loc"]:
        if isinstance(node, Entries) and step in node:
            key_place = node.key(str(step)).place
            node = node[step]
            path.append(str(step))
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node):
            node = node[step]
            path.append(str(step + 1))
        else:
            if item["type"] == "missing":
                path.append(str(step))
            continue
        place = node.place
    where = ".".join([what, *path])
    if item["type"] == "extra_forbidden":
        word = str(item["loc"][-1])
        known = _names(parent) if len(path) <= 1 else []
        faults.error(
            f"{what}{whose} has no option {word!r}",
            key_place or place,
            nearest(word, known) or (f"known: {', '.join(known)}" if known else ""),
        )
    elif item["type"] == "missing":
        faults.error(f"{what}{whose} lacks the option {path[-1]!r}", place)
    else:
        text = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        faults.error(f"{where}: {text[:1].lower() + text[1:]}", place)


def _names(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []
