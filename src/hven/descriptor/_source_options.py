"""Read the options of a source, and check them by the pydantic model of its kind."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hven.descriptor.value_schema import FaultCollector, describe_value
from hven.descriptor.written_yaml import (
    DECIMAL_PATTERN,
    INTEGER_PATTERN,
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    detect_misleading_retyping,
)
from hven.model import plugins
from hven.model.errors import TextPlace, UserError, suggest_spelling
from hven.model.resource import SourceSpec
from hven.sources import file_kinds
from hven.sources.source_keys import SourceDescriptorKey, find_source_descriptor_key

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALIDATION_ROUNDS = 8  # each round restores the text of more numbers


def read_source_spec(
    value: LocatedYamlMap | LocatedYamlScalar, key_path: str, faults: FaultCollector
) -> SourceSpec | None:
    """Read one ``source:`` entry: a name of files, or a map with the kind and its options."""
    if isinstance(value, LocatedYamlScalar):
        kind_name = file_kinds.find_file_kind_by_name(value)
        if kind_name is None:
            message = f"{key_path}: no kind of source is known for {describe_value(value)}"
            remedy = _suggest_package_for_file(value) or "write `{kind: csv, files: ...}`"
            faults.add_error(message, value.place, remedy)
            return None
        files_key = LocatedYamlScalar("files", value.page, value.start, value.end)
        option_entries = LocatedYamlMap({files_key: value}, value.place)
        return _check_source_options(kind_name, option_entries, key_path, faults, kind_place=value.place)
    kind_value = value.get("kind")  # type: ignore[call-overload]
    kind_place = value.place
    if isinstance(kind_value, LocatedYamlScalar):
        kind_place = kind_value.place
    kind_name = _find_source_kind(value)
    if kind_name is None:
        known_kinds = ", ".join(plugins.list_plugins("sources"))
        remedy = _suggest_package_for_file(_find_first_file(value)) or f"write one of {known_kinds}"
        faults.add_error(f"{key_path} lacks the key 'kind'", value.place, remedy)
        return None
    option_entries = LocatedYamlMap({key: option for key, option in value.items() if key != "kind"}, value.place)
    additions: dict[str, tuple[SourceDescriptorKey, Any]] = {}
    for key in list(option_entries):
        unused_key_error = plugins.find_disabled_plugin_error("source_keys", key)
        if unused_key_error is not None:
            faults.add_error(f"{key_path}: {unused_key_error.message}", key.place, unused_key_error.remedy)
            return None
        source_key = find_source_descriptor_key(key)
        if source_key is not None:
            additions[str(key)] = source_key, option_entries.pop(key)
    spec = _check_source_options(kind_name, option_entries, key_path, faults, kind_place=kind_place)
    for name, (source_key, addition) in additions.items():
        spec = _read_package_source_key(spec, source_key, addition, f"{key_path}.{name}", faults)
    return spec


def _find_source_kind(entries: LocatedYamlMap) -> str | None:
    """Return the kind that is written, or the kind by the name of the first file."""
    kind_value = entries.get("kind")  # type: ignore[call-overload]
    if isinstance(kind_value, LocatedYamlScalar):
        return str(kind_value)
    return file_kinds.find_file_kind_by_name(_find_first_file(entries))


def _find_first_file(entries: LocatedYamlMap) -> str:
    """Return the first name or pattern of files; an empty text: there is none."""
    first_file = entries.get("files")  # type: ignore[call-overload]
    if isinstance(first_file, LocatedYamlList) and first_file:
        first_file = first_file[0]
    if isinstance(first_file, LocatedYamlScalar):
        return str(first_file)
    return ""


def _suggest_package_for_file(file: str) -> str | None:
    """Explain how a file can be read that only a plug-in package reads; None: no package that is left out reads it."""
    package = file_kinds.find_disabled_package_of_file(file)
    if package is None:
        return None
    return f"add {package!r} to `plugins` in hven.toml; this plug-in package reads such files"


def _read_package_source_key(
    spec: SourceSpec | None, source_key: SourceDescriptorKey, value: Any, key_path: str, faults: FaultCollector
) -> SourceSpec | None:
    """Read the value of a key that a plug-in package adds to sources."""
    if not isinstance(value, LocatedYamlMap):
        message = f"{key_path} must be a map, not {describe_value(value)}"
        faults.add_error(message, value.place, f"write `{source_key.example}`")
        return None
    options = to_python_value(value)
    if spec is None:
        return None
    error_reporter = _OptionErrorReporter(source_key.options_class, value, key_path, "", faults)
    if not error_reporter.validate_and_report(options):
        return None
    if spec.kind == "live":
        message = f"{key_path}: a table that is read in place cannot have {source_key.noun}"
        faults.add_error(message, value.place, "write `kind: sql` to copy the rows")
        return None
    name = key_path.rpartition(".")[2]
    return replace(spec, additions={**spec.additions, name: options})


def to_python_value(value: Any) -> Any:
    """Convert written values to Python's: a plain text that looks like a number is one, by the rules of YAML 1.2."""
    if isinstance(value, LocatedYamlMap):
        return {str(key): to_python_value(inner_value) for key, inner_value in value.items()}
    if isinstance(value, LocatedYamlList):
        return [to_python_value(item) for item in value]
    if isinstance(value, LocatedYamlScalar):
        return _convert_yaml_scalar(value)
    return value


def _convert_yaml_scalar(value: LocatedYamlScalar) -> str | int | float | bool | None:
    text = str(value)
    if not value.is_plain and value.style != "made-plain":
        return text
    if value.is_null:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if INTEGER_PATTERN.fullmatch(text) and str(int(text)) == text:
        return int(text)
    # -999.00 stays text: as a null word it must be found as it stands in the file; pydantic makes a number of it where
    # an option is one
    is_decimal = DECIMAL_PATTERN.fullmatch(text) and not INTEGER_PATTERN.fullmatch(text)
    if is_decimal and detect_misleading_retyping(value) is None and str(float(text)) == text:
        return float(text)
    return text


def _check_source_options(
    kind_name: str, option_entries: LocatedYamlMap, key_path: str, faults: FaultCollector, *, kind_place: TextPlace
) -> SourceSpec | None:
    options = to_python_value(option_entries)
    try:
        module = plugins.load_plugin("sources", kind_name)
    except UserError as error:
        faults.add_error(f"{key_path}: {error.message}", kind_place, error.remedy)
        return None
    model = _build_strict_model(module.Options)
    error_reporter = _OptionErrorReporter(model, option_entries, key_path, f" of kind {kind_name}", faults)
    if not error_reporter.validate_and_report(options):
        return None
    return SourceSpec(kind=kind_name, options=options, place=option_entries.place)


@cache
def _build_strict_model(model: type[BaseModel]) -> type[BaseModel]:
    """Derive a model that refuses a misspelt option, unless it says otherwise."""
    if "extra" in model.model_config:
        return model
    return type(model.__name__, (model,), {"model_config": {"extra": "forbid"}, "__module__": model.__module__})


def _restore_option_text(options: Any, written: Any, error_path: Sequence[str | int]) -> bool:
    """Restore the text of a scalar that a model wants as text; return whether there was one.

    `error_path` may have pydantic's names of union members.
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
            return _restore_option_text(option_value, written_value, error_path[position + 1 :])
        if isinstance(written_value, LocatedYamlScalar) and not isinstance(option_value, str):
            options[step] = str(written_value)
            return True
        return False
    return False


def _refuse_ambiguous_yaml_scalars(written_value: Any, key_path: str, faults: FaultCollector) -> None:
    """Refuse octal, base 60 and yes/no where a source takes text, too: other YAML readers see something else."""
    if isinstance(written_value, LocatedYamlMap):
        for key, inner_value in written_value.items():
            _refuse_ambiguous_yaml_scalars(inner_value, f"{key_path}.{key}", faults)
    elif isinstance(written_value, LocatedYamlList):
        for item in written_value:
            _refuse_ambiguous_yaml_scalars(item, key_path, faults)
    elif isinstance(written_value, LocatedYamlScalar):
        yaml_reading = detect_misleading_retyping(written_value)
        if yaml_reading is None:
            return
        if str(written_value).isdigit():
            remedy = f"write {int(written_value)}, or "
        elif yaml_reading.startswith("the boolean"):
            remedy = "write true or false, or "
        else:
            remedy = "write "
        message = f"{key_path}: {written_value.page.format_name} reads `{written_value}` as {yaml_reading}"
        faults.add_error(message, written_value.place, f'{remedy}"{written_value}" in quotes')


class _OptionErrorReporter:
    """Validates options by a model, and reports its errors with the places of the written values.

    `owner_text` names the kind of the source in messages; it begins with a blank, or is empty.
    """

    def __init__(
        self, model: type[BaseModel], written: LocatedYamlMap, key_path: str, owner_text: str, faults: FaultCollector
    ) -> None:
        self._model = model
        self._written = written
        self._key_path = key_path
        self._owner_text = owner_text
        self._faults = faults

    def validate_and_report(self, options: dict[str, Any]) -> bool:
        """Return whether options are valid; numbers that the model wants as text become the text as written."""
        for validation_round in range(1, MAX_VALIDATION_ROUNDS + 1):
            try:
                self._model.model_validate(options)
                break
            except ValidationError as error:
                option_errors = error.errors()
            has_restored_text = False
            for option_error in option_errors:
                if option_error["type"] == "string_type" and validation_round < MAX_VALIDATION_ROUNDS:
                    has_restored_text |= _restore_option_text(options, self._written, option_error["loc"])
            if not has_restored_text:
                for option_error in option_errors:
                    self._report_error(option_error)
                return False
        _refuse_ambiguous_yaml_scalars(self._written, self._key_path, self._faults)
        return True

    def _report_error(self, option_error: Any) -> None:
        place: TextPlace = self._written.place
        node: Any = self._written
        path: list[str] = []
        key_place: TextPlace | None = None
        for step in option_error["loc"]:
            if isinstance(node, LocatedYamlMap) and step in node:
                key_place = node.find_key(str(step)).place
                node = node[step]
                path.append(str(step))
            elif isinstance(node, LocatedYamlList) and isinstance(step, int) and step < len(node):
                node = node[step]
                path.append(str(step + 1))
            else:
                if option_error["type"] == "missing":
                    path.append(str(step))
                continue
            place = node.place
        if option_error["type"] == "extra_forbidden":
            option_name = str(option_error["loc"][-1])
            known_names = []
            if len(path) <= 1:
                known_names = [field.alias or name for name, field in self._model.model_fields.items()]
            remedy = suggest_spelling(option_name, known_names)
            if not remedy and known_names:
                remedy = f"use one of {', '.join(known_names)}"
            message = f"{option_name!r} is not a valid option of {self._key_path}{self._owner_text}"
            self._faults.add_error(message, key_place or place, remedy)
        elif option_error["type"] == "missing":
            self._faults.add_error(f"{self._key_path}{self._owner_text} lacks the option {path[-1]!r}", place)
        else:
            reason = str(option_error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
            option_path = ".".join([self._key_path, *path])
            self._faults.add_error(f"{option_path}: {reason[:1].lower()}{reason[1:]}", place)
