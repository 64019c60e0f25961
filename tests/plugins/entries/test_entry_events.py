"""Events of entries and comments, for packages that tell accounts of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hven.plugins.entries.comment_store import CommentStore, RowComment
from hven.plugins.entries.entry_store import ACCEPTED, SUBMITTED, EntryStep, EntryStore, TableEntry
from hven.site import Site

if TYPE_CHECKING:
    from hven.site.api.events import SiteEvent


class EventRecorder:
    def __init__(self) -> None:
        self.events: list[SiteEvent] = []

    def record_event(self, _connection: object, event: SiteEvent) -> None:
        self.events.append(event)


def test_who_learns_of_which_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = EventRecorder()
    monkeypatch.setattr("hven.site.store._site_events.load_event_services", lambda: (recorder,))
    entries = site.store.get_or_create(EntryStore)
    first_step = EntryStep(by="anna", action="save", state="draft")
    entry, _ = entries.add_entry(TableEntry(table="bad.stars", author="anna", row_values={"name": "hush"}), first_step)
    entry = entries.add_step(entry, EntryStep(by="anna", action="submit", state=SUBMITTED, moderators=("mia", "group")))
    entries.add_step(entry, EntryStep(by="mia", action="accept", state=ACCEPTED))
    comments = site.store.get_or_create(CommentStore)
    draft = RowComment(table="bad.stars", row_key="[1]", text="hush, learn", author="anna")
    comment = comments.add_comment_and_notify(draft, ("mia",))
    comments.decide_comment_and_notify(comment, "accepted", "mia", "")
    draft = RowComment(table="bad.stars", row_key="[1]", kind="report", column="mag", text="hush, no", author="anna")
    report = comments.add_comment_and_notify(draft, ("mia",))
    comment_path, report_path = (
        f"/comments/bad.stars?comment={number}#comment-{number}" for number in (comment.number, report.number)
    )
    path = f"/entries/bad.stars/{entry.number}"
    assert [(event.kind, list(event.accounts), str(event.message), event.path) for event in recorder.events] == [
        ("entries.submitted", ["mia", "group"], f"entry {entry.number} of bad.stars is submitted", path),
        ("entries.decided", ["anna"], f"entry {entry.number} of bad.stars is accepted", path),
        ("comments.new", ["mia"], "a new comment on bad.stars is waiting for a decision", comment_path),
        ("comments.decided", ["anna"], "your comment on bad.stars is accepted", comment_path),
        ("comments.new", ["mia"], "a report of an error in bad.stars is waiting for a decision", report_path),
    ]
    assert all(event.table == "bad.stars" for event in recorder.events)
