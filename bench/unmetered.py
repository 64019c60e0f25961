"""``hven`` that counts no requests and no queries for `/metrics`. To see what counting costs, for nothing else."""

from __future__ import annotations

from hven.app import _cli as cli
from hven.site.counters import ProcessCounters


def count_nothing(*_: object) -> None:
    """Count nothing."""


for name in ("count_request_start", "count_request_end", "count_query_start", "count_query_end"):
    setattr(ProcessCounters, name, count_nothing)

if __name__ == "__main__":
    cli.main()
