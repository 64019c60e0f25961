"""Events of submissions, for packages that tell accounts of them; and what is discarded soon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from submission_site import Person, make_file, make_image, path_of, read_submission

from hven.plugins.submissions.event_kinds import write_expiry_lines
from hven.plugins.submissions.submission_store import SubmissionStore
from hven.site import Site
from hven.site.auth import Principal

if TYPE_CHECKING:
    from hven.site.api.events import SiteEvent


class EventRecorder:
    def __init__(self) -> None:
        self.events: list[SiteEvent] = []

    def record_event(self, _connection: object, event: SiteEvent) -> None:
        self.events.append(event)


def set_expiry(site: Site, number: int, hours: int) -> None:
    store = site.store.get_or_create(SubmissionStore)
    submission = store.find_submission(number)
    assert submission is not None
    expiry = datetime.now(UTC) + timedelta(hours=hours)
    store.change_submission(submission, {"expires": expiry.isoformat(timespec="microseconds").replace("+00:00", "Z")})


def test_who_learns_of_which_step(site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = EventRecorder()
    anna, mia = people["anna"], people["mia"]
    moderated = anna.begin({"a.fits": make_image(OBJECT="event", EXPTIME=20.0)}, "lists.images")
    own = anna.begin({"b.fits": make_file("event")})
    expired = anna.begin({"c.fits": make_file("event", PROG_ID="1")})
    monkeypatch.setattr("hven.site.store._site_events.load_event_services", lambda: (recorder,))
    anna.take(moderated, "edit", note="hush")
    submitted = read_submission(anna.take(read_submission(anna.get(path_of(moderated))), "submit"))
    read_submission(mia.take(submitted, "refuse", reason="hush"))
    again = read_submission(anna.take(read_submission(anna.get(path_of(submitted))), "submit"))
    read_submission(mia.take(again, "accept"))
    read_submission(anna.take(own, "submit"))
    set_expiry(site, expired["number"], -1)
    people["bob"].get("/submissions")
    number, path = moderated["number"], path_of(moderated)
    own_number = expired["number"]
    events = [(event.kind, sorted(event.accounts), str(event.message), event.path) for event in recorder.events]
    events = [event for event in events if event[0].startswith("submissions.")]
    assert events == [
        ("submissions.submitted", ["mia"], f"submission {number} to lists.images is submitted", path),
        ("submissions.decided", ["anna"], f"submission {number} to lists.images is refused", path),
        ("submissions.submitted", ["mia"], f"submission {number} to lists.images is submitted", path),
        ("submissions.decided", ["anna"], f"submission {number} to lists.images is saved", path),
        (
            "submissions.decided",
            ["anna"],
            f"submission {own_number} to oidb.granules is discarded",
            path_of(expired),
        ),
    ]


def test_what_is_discarded_soon(site: Site, people: dict[str, Person]) -> None:
    soon, later = (people["bob"].begin({"s.fits": make_file("soon", PROG_ID=word)}) for word in ("s", "l"))
    set_expiry(site, soon["number"], 40)
    set_expiry(site, later["number"], 60)
    lines = write_expiry_lines(site, Principal(name="bob"))
    assert [line.partition(" (")[0] for line in lines] == [f"submission {soon['number']}"]
    assert write_expiry_lines(site, Principal(name="eve")) == []
    assert write_expiry_lines(site, Principal()) == []
    read_submission(people["bob"].take(read_submission(people["bob"].get(path_of(soon))), "discard"))
    assert write_expiry_lines(site, Principal(name="bob")) == []
