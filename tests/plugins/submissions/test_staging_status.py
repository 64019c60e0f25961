"""`hven status` says who has staged how many bytes."""

from __future__ import annotations

import json
from pathlib import Path

from submission_site import make_file, open_submission_site, read_submission

from hven.plugins.submissions import staging_status
from hven.plugins.submissions.submission_store import SubmissionStore
from process_runner import run_hven


def test_who_has_staged_how_much(tmp_path: Path) -> None:
    with open_submission_site(tmp_path) as (site, _, people):
        assert staging_status.collect_status(site) == []
        anna, bob = people["anna"], people["bob"]
        contents = [make_file("alf"), make_file("bet", PADDING="x" * 60), make_file("gam")]
        first = anna.begin({"alf.fits": contents[0], "again.fits": contents[0]})
        anna.begin({"bet.fits": contents[1]})
        waiting = read_submission(bob.take(bob.begin({"gam.fits": contents[2]}, "lists.images"), "submit", note="x"))
        read_submission(anna.take(anna.begin({"delta.fits": make_file("delta")}), "submit"))
        read_submission(anna.take(anna.begin({"eps.fits": make_file("eps")}), "discard"))
        store = site.store.get_or_create(SubmissionStore)
        expected = [
            {
                "account": "anna",
                "bytes": len(contents[0]) + len(contents[1]),
                "submissions": 2,
                "oldest": first["created"],
                "expires": store.find_submission(first["number"]).expires,  # type: ignore[union-attr]
            },
            {
                "account": "bob",
                "bytes": len(contents[2]),
                "submissions": 1,
                "oldest": waiting["created"],
                "expires": "",
            },
        ]
        assert staging_status.collect_status(site) == expected
    (tmp_path / "hven.toml").write_text("")
    shown = json.loads(run_hven("--site", tmp_path, "status", "--json").stdout)
    assert shown["staging"] == expected
    lines = [line for line in run_hven("--site", tmp_path, "status").stdout.splitlines() if line.startswith("staged: ")]
    assert lines == [
        (
            f"staged: anna has {expected[0]['bytes']:,} bytes in 2 submissions, the oldest from {first['created'][:10]}; "
            f"the first expires on {expected[0]['expires'][:10]}"
        ),
        f"staged: bob has {expected[1]['bytes']:,} bytes in 1 submission, the oldest from {waiting['created'][:10]}",
    ]
