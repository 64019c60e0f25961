"""Show in the metrics what each class of users costs. A class is a section ``[request_limits.NAME]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.request_limits.shared_counts import get_shared_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    Metric = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]

_METRIC_TEXTS = {
    "answered": ("user_class_requests_total", "Answered requests, by the section of limits that applies to the user."),
    "seconds": ("user_class_seconds_total", "Seconds in which these requests were answered."),
    "rows": ("user_class_rows_total", "Rows of their answers."),
    "refused": ("user_class_refusals_total", "Requests of these users that were refused with status 429."),
}


def list_metrics() -> Iterator[Metric]:
    """List the costs of each class, added up over all processes."""
    totals_by_class = get_shared_counts().sum_class_costs()
    for attribute, (name, help_text) in _METRIC_TEXTS.items():
        samples = [
            ("", {"class": class_name}, getattr(totals, attribute)) for class_name, totals in totals_by_class.items()
        ]
        yield name, "counter", help_text, samples
