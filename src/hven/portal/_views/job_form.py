"""A job of any kind as a form: its parameters as fields, made of the kind's own record; and what such a form sends as what the job understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.jobs import Type
    from hven.model.params import Param, Params, Upload
    from hven.site.auth import Reader


def form(
    kind: Type, who: Reader, given: Params | None = None, fault: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what the page shows of the form of a kind.

    Parameters
    ----------
    given
        What was sent and could not be taken: it stays in the fields.
    fault
        Why: ``name`` of the parameter, ``message``, ``remedy``.
    """
    return {
        "kind": kind.name,
        "title": kind.title,
        "description": kind.description or "",
        "params": [_field(param, kind, given) for param in kind.params],
        "files": bool(kind.files),
        "closed": kind.access != "public" and who.name is None,
        "fault": fault,
    }


def _field(param: Param, kind: Type, given: Params | None) -> dict[str, Any]:
    file = param.name in kind.files
    texts = () if given is None or file else given.all(param.name)
    return {
        "name": param.name,
        "unit": param.unit,
        "description": param.description,
        "required": param.required,
        "many": param.many,
        "default": param.default,
        "allowed": param.allowed,
        "minimum": param.minimum,
        "maximum": param.maximum,
        "file": file,
        "value": "\n".join(texts) if texts else param.default or "",
        "chosen": texts or ((param.default,) if param.default else ()),
        "kind": "number" if param.type.is_numeric and not param.type.is_array else "text",
        "step": "1" if param.type.is_integer else "any",
        "truth": param.type.is_boolean,
    }


def sent(kind: Type, given: Params) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    """Return what a form gave for a job: fields that were left empty are none, lines are values of what may be several, files are those of the kind."""
    pairs: list[tuple[str, str]] = []
    for param in kind.params:
        texts = given.all(param.name)
        several = param.many and not param.allowed
        values = (line for text in texts for line in text.splitlines()) if several else iter(texts)
        pairs += [(param.name, value.strip()) for value in values if value.strip()]
    files = {name: file for name, file in given.files.items() if name in kind.files and (file.filename or file.size)}
    return pairs, files
