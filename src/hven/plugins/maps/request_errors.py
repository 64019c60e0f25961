"""Collect the errors of a request, so that a client learns of all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hven.model.errors import ParamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Value = TypeVar("Value")


class SeveralParamsError(ParamError):
    """Several parameters are wrong, each for its own reason."""

    def __init__(self, errors: Sequence[ParamError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(str(error) for error in errors), name=errors[0].name)


class ErrorCollector:
    """Collect errors of parameters."""

    def __init__(self) -> None:
        self._errors: list[ParamError] = []

    def call_or_collect_error(self, read: Callable[[], Value], default: Value) -> Value:
        """Return what a function reads, or a default in case of an error, which is kept."""
        try:
            return read()
        except ParamError as error:
            self._errors.append(error)
            return default

    def raise_errors(self) -> None:
        """Raise the errors, if there are any.

        Raises
        ------
        ParamError
            A parameter is wrong, or several are.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise SeveralParamsError(self._errors)
