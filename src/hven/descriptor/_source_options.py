"""Options of a source: the kind (said, or seen from the file's name), checked by the kind's own pydantic model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hven.descriptor.value_schema import FaultCollector, describe_value
from hven.descriptor.written_yaml import (
    DECIMAL_PATTERN,
    INTEGER_PATTERN,
    WrittenList,
    WrittenMap,
    WrittenScalar,
    detect_misleading_retyping,
)
from hven.model import plugins
from hven.model.errors import Place, UserError, suggest_spelling
from hven.model.resource import SourceSpec
from hven.sources import file_kinds
from hven.sources.document_enrichment import EnrichOptions

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_source_spec(value: WrittenMap | WrittenScalar, key_path: str, faults: FaultCollector) -> SourceSpec | None:
    """Read one ``source:`` entry; every option is checked by its kind."""
    if isinstance(value, WrittenScalar):
        kind_name = file_kinds.find_kind_by_name(value)
        if kind_name is None:
            faults.add_error(
                f"{key_path}: no kind of source is known for {describe_value(value)}",
                value.place,
                "write {kind: csv, files: ...}",
            )
            return None
        return _check_source_options(
            kind_name,
            {"files": str(value)},
            WrittenMap({WrittenScalar("files", value.page, value.start, value.end): value}, value.place),
            key_path,
            faults,
        )
    kind_value = value.get("kind")  # type: ignore[call-overload]
    files = value.get("files")  # type: ignore[call-overload]
    if isinstance(files, WrittenList) and files:
        first_file = files[0]
    else:
        first_file = files
    name = (
        str(kind_value)
        if isinstance(kind_value, WrittenScalar)
        else file_kinds.find_kind_by_name(str(first_file))
        if isinstance(first_file, WrittenScalar)
        else None
    )
    if name is None:
        faults.add_error(
            f"{key_path} lacks the key 'kind'", value.place, f"one of {', '.join(plugins.list_plugins('sources'))}"
        )
        return None
    option_entries = WrittenMap(
        {key: item for key, item in value.items() if key not in {"kind", "enrich"}}, value.place
    )
    spec = _check_source_options(
        name,
        to_python_value(option_entries),
        option_entries,
        key_path,
        faults,
        kind_value.place if isinstance(kind_value, WrittenScalar) else value.place,
    )
    return spec if "enrich" not in value else _read_enrichment(spec, value["enrich"], key_path, faults)  # type: ignore[index]


def _read_enrichment(spec: SourceSpec | None, value: Any, key_path: str, faults: FaultCollector) -> SourceSpec | None:
    """Read what is said of the documents of a source's rows."""
    if not isinstance(value, WrittenMap):
        faults.add_error(
            f"{key_path}.enrich: expected a mapping, found {describe_value(value)}",
            value.place,
            "{url: .., id: .., columns: ..}",
        )
        return None
    options = to_python_value(value)
    if spec is None or not _validate_options(EnrichOptions, options, value, f"{key_path}.enrich", "", faults):
        return None
    if spec.kind == "live":
        faults.add_error(
            f"{key_path}.enrich: rows of a table that is read in place have no documents",
            value.place,
            "kind: sql copies them",
        )
        return None
    return replace(spec, enrich=options)


def to_python_value(value: Any) -> Any:
    """Convert written values to Python's.

    What stands without quotes and looks like a number is one, by YAML 1.2's rules.
    """
    if isinstance(value, WrittenMap):
        return {str(key): to_python_value(item) for key, item in value.items()}
    if isinstance(value, WrittenList):
        return [to_python_value(item) for item in value]
    if not isinstance(value, WrittenScalar):
        return value
    text = str(value)
    if not (value.is_plain or value.style == "made-plain"):
        return text
    if value.is_null:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if INTEGER_PATTERN.fullmatch(text):
        if str(int(text)) == text:
            return int(text)
        return text
    # -999.00 stays text: as a null word it must be found as it stands in the file; pydantic makes a number of it where
    # one is wanted
    if DECIMAL_PATTERN.fullmatch(text) and detect_misleading_retyping(value) is None and str(float(text)) == text:
        return float(text)
    return text


def _check_source_options(
    name: str,
    options: dict[str, Any],
    written: WrittenMap,
    key_path: str,
    faults: FaultCollector,
    place: Place | None = None,
) -> SourceSpec | None:
    place = place or written.place
    try:
        module = plugins.load_plugin("sources", name)
    except UserError as error:
        faults.add_error(f"{key_path}: {error.message}", place, error.remedy)
        return None
    if not _validate_options(
        _build_strict_model(module.Options), options, written, key_path, f" of kind {name}", faults
    ):
        return None
    return SourceSpec(kind=name, options=options, place=written.place)


def _validate_options(
    model: type[BaseModel],
    options: dict[str, Any],
    written_options: WrittenMap,
    key_path: str,
    owner_text: str,
    faults: FaultCollector,
) -> bool:
    """Check options by their model."""
    for attempt in range(8):  # each round writes more numbers as the text they were
        try:
            model.model_validate(options)
        except ValidationError as error:
            has_restored_text = False
            for item in error.errors():
                if item["type"] == "string_type" and attempt < 7:
                    has_restored_text |= _restore_text(options, written_options, item["loc"])
            if has_restored_text:
                continue
            for item in error.errors():
                _report_option_error(item, written_options, model, owner_text, key_path, faults)
            return False
        break
    _check_yaml_traps(options, written_options, key_path, faults)
    return True


@cache
def _build_strict_model(model: type[BaseModel]) -> type[BaseModel]:
    """Derive a model that refuses a misspelt option, unless it says otherwise."""
    if "extra" in model.model_config:
        return model
    return type(model.__name__, (model,), {"model_config": {"extra": "forbid"}, "__module__": model.__module__})


def _restore_text(options: Any, written: Any, error_path: Sequence[str | int]) -> bool:
    """Restore the text of a scalar that a model wants as text.

    `error_path` may carry pydantic's names of union members.
    """
    for position, step in enumerate(error_path):
        if isinstance(options, dict) and step in options:
            option_value = options[step]
            written_value = written.get(step)
        elif isinstance(options, list) and isinstance(step, int) and step < len(options):
            option_value = options[step]
            written_value = written[step]
        else:
            continue
        if isinstance(option_value, dict | list):
            return _restore_text(option_value, written_value, error_path[position + 1 :])
        if isinstance(written_value, WrittenScalar) and not isinstance(option_value, str):
            options[step] = str(written_value)
            return True
        return False
    return False


def _check_yaml_traps(options: Any, written_value: Any, key_path: str, faults: FaultCollector) -> None:
    """Refuse octal, base 60 and yes/no where a source takes text, too: other YAML readers see something else."""
    if isinstance(written_value, WrittenMap):
        for key, item in written_value.items():
            _check_yaml_traps(options, item, f"{key_path}.{key}", faults)
    elif isinstance(written_value, WrittenList):
        for item in written_value:
            _check_yaml_traps(options, item, key_path, faults)
    elif isinstance(written_value, WrittenScalar):
        yaml_reading = detect_misleading_retyping(written_value)
        if yaml_reading is not None:
            if str(written_value).isdigit():
                remedy = f"write {int(written_value)}, or "
            elif yaml_reading.startswith("the boolean"):
                remedy = "write true or false, or "
            else:
                remedy = "write "
            faults.add_error(
                f"{key_path}: YAML reads {written_value} as {yaml_reading}",
                written_value.place,
                f'{remedy}"{written_value}" in quotes',
            )


def _report_option_error(
    error_details: Any,
    written: WrittenMap,
    model: type[BaseModel],
    owner_text: str,
    key_path: str,
    faults: FaultCollector,
) -> None:
    place: Place = written.place
    node: Any = written
    path: list[str] = []
    parent: type[BaseModel] | None = model
    key_place: Place | None = None
    for step in error_details["loc"]:
        if isinstance(node, WrittenMap) and step in node:
            key_place = node.find_key(str(step)).place
            node = node[step]
            path.append(str(step))
        elif isinstance(node, WrittenList) and isinstance(step, int) and step < len(node):
            node = node[step]
            path.append(str(step + 1))
        else:
            if error_details["type"] == "missing":
                path.append(str(step))
            continue
        place = node.place
    where = ".".join([key_path, *path])
    if error_details["type"] == "extra_forbidden":
        word = str(error_details["loc"][-1])
        if len(path) <= 1:
            option_names = _list_option_names(parent)
        else:
            option_names = []
        faults.add_error(
            f"{key_path}{owner_text} has no option {word!r}",
            key_place or place,
            suggest_spelling(word, option_names) or (f"known: {', '.join(option_names)}" if option_names else ""),
        )
    elif error_details["type"] == "missing":
        faults.add_error(f"{key_path}{owner_text} lacks the option {path[-1]!r}", place)
    else:
        text = str(error_details["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        faults.add_error(f"{where}: {text[:1].lower() + text[1:]}", place)


def _list_option_names(model: type[BaseModel] | None) -> list[str]:
    if model is not None:
        return [field.alias or name for name, field in model.model_fields.items()]
    return []
