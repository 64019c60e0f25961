"""Timing: when something is done again - every so long, or by the five fields of cron in a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = 5  # of cron: minute, hour, day of the month, month, day of the week
_WORDS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_EVERY = ("0-59", "0-23")  # minutes, hours
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When something is due: `every` (seconds) or `cron`, one of the two.

    Attributes
    ----------
    cron
        Five fields, or ``@daily`` and its like, as Debian's cron understands them: 0 and 7 are Sunday; with both days given, either
        will do; a time that the clocks skip in spring is made up at once, one that comes twice in autumn counts once, unless it comes
        every hour (``*``).
    jitter
        Seconds by which it may be late, at random: so that not everybody asks at the full hour.
    zone
        Time zone (IANA) in which `cron` is read.

    Raises
    ------
    ValueError
        Neither or both are given, `cron` cannot be read or never comes, there is no such zone. The message says which.
    """

    every: float | None = None
    cron: str | None = None
    jitter: float = 0.0
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError("one of every and cron")
        if self.every is not None and not 1 <= self.every <= 366 * 86400:
            raise ValueError("every is between a second and a year")
        if self.jitter < 0:
            raise ValueError("jitter is not negative")
        self._place  # noqa: B018  (looked up now, so that a wrong name is told now)
        if self.cron is not None:
            next(self._fires(datetime.now(UTC)))

    @cached_property
    def _place(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):  # not there; not a name; a directory
            raise ValueError(f"there is no time zone {self.zone!r}; one is called Europe/Paris") from None

    @cached_property
    def _line(self) -> str:
        text = " ".join((self.cron or "").split()).lower()
        return _WORDS.get(text, text)

    def _fires(self, moment: datetime) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError

        fields = self._line.split()
        if len(fields) != FIELDS:
            raise ValueError(f"cron has {FIELDS} fields (minute hour day month weekday), as in '15 3 * * *', not {self.cron!r}")
        if fields[1] not in {"*", "*/1"}:  # cronsim takes what begins with a star for a rhythm, also `*/15 2` and `15 */2`
            fields[:2] = (f"{every}{field[1:]}" if field[0] == "*" else field for every, field in zip(_EVERY, fields, strict=False))
        try:
            return iter(CronSim(" ".join(fields).upper(), moment.astimezone(self._place)))
        except CronSimError as error:
            raise ValueError(f"{self.cron!r} is no line of cron: {str(error).lower()}") from None

    def after(self, moment: datetime) -> datetime:
        """Give the next time after a moment (aware), in UTC and without jitter."""
        moment = moment.astimezone(UTC)
        if self.every is not None:
            return moment + timedelta(seconds=self.every)
        found = (one.astimezone(UTC) for one in self._fires(moment))
        # in an hour that comes twice, cronsim goes on from its first time
        return next((one for one in found if one > moment), datetime.max.replace(tzinfo=UTC))  # the latter: the calendar ends before

    def __str__(self) -> str:
        """Write it as a descriptor does: ``every 1 h``, ``cron 15 3 * * * (Europe/Paris)``."""
        if self.every is not None:
            return f"every {span(self.every)}"
        return f"cron {self.cron}" + (f" ({self.zone})" if self.zone != "UTC" else "")


def span(seconds: float) -> str:
    """Write a length of time for people: ``1 h``, ``1 d 6 h``, ``90 s``: two units at most."""
    left = round(seconds)
    if left < 100:
        return f"{seconds:.3g} s"
    words: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(words) < 2:
            words.append(f"{left // size} {unit}")
            left %= size
        elif words:
            break
    return " ".join(words)
