"""A directory as a source, judged by Debian's slapd: people and groups, page by page, and everything that goes wrong on the way."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from ldap_server import PASSWORD, SUFFIX, LdapServer, run_server
from pydantic import ValidationError

from hven.ingest import sync
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import HvenError, SourceError
from hven.plugins.directories import ldap
from hven.site import Site
from hven.site._people_tables import find_groups_and_aliases
from hven.sources import SourceContext
from hven.testing.source import SourceContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("ldap3")  # it warns of a library of its own when it is imported
pytestmark = [pytest.mark.outside, pytest.mark.xdist_group("ldap")]

PERSON = """\
dn: uid={uid},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: {uid}
sn: {uid}
cn: {name}
{more}"""
PEOPLE = (
    ("anna", "Anna Berg", "mail: anna@example.org\nmail: a.berg@example.org\nmemberOf: cn=spica,ou=groups,dc=example,dc=org\nmemberOf: cn=p1\\2C wp2,ou=groups,dc=example,dc=org\n"),
    ("zoe", "Zoé Müller-Łącka", "mail: zoe@example.org\nmemberOf: cn=spica,ou=groups,dc=example,dc=org\n"),
    ("eve", "Eve", ""),
)  # fmt: skip
COLUMNS = {"account": "uid", "name": "cn", "email": "mail", "member_of": "memberOf"}
ROWS: list[dict[str, Any]] = [
    {"account": "anna", "name": "Anna Berg", "email": "anna@example.org; a.berg@example.org", "member_of": "spica"},
    {"account": "anna", "name": "Anna Berg", "email": "anna@example.org; a.berg@example.org", "member_of": "p1, wp2"},
    {"account": "zoe", "name": "Zoé Müller-Łącka", "email": "zoe@example.org", "member_of": "spica"},
    {"account": "eve", "name": "Eve", "email": None, "member_of": None},
]
MANY = 620  # more than the directory gives at once


def entries() -> str:
    found = [
        f"dn: ou={name},{SUFFIX}\nobjectClass: organizationalUnit\nou: {name}\n"
        for name in ("people", "groups", "many", "other")
    ]
    found += [PERSON.format(uid=uid, name=name, more=more) for uid, name, more in PEOPLE]
    found += [
        f"dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name.replace(chr(92) + '2C', ',')}\n"
        + "".join(f"member: uid={uid},ou=people,{SUFFIX}\n" for uid in members)
        for name, members in (("spica", ("anna", "zoe")), ("p1\\2C wp2", ("anna",)))
    ]
    found += [
        f"dn: cn={number},ou=many,{SUFFIX}\nobjectClass: person\ncn: {number}\nsn: {number}\n" for number in range(MANY)
    ]
    found += [
        f"dn: ou=part,ou=other,{SUFFIX}\nobjectClass: referral\nobjectClass: extensibleObject\nou: part\nref: ldap://other.example.net/ou=part\n"
    ]
    return "\n".join(found)


@pytest.fixture(scope="module")
def slapd() -> Iterator[LdapServer]:
    with run_server(entries()) as running:
        yield running


def people(slapd: LdapServer, **more: Any) -> dict[str, Any]:
    said = {
        "base": f"ou=people,{SUFFIX}",
        "filter": "(uid=*)",
        "columns": COLUMNS,
        "each": "member_of",
        "short": ["member_of"],
    }
    return slapd.options(**{**said, **more})


def open_source(options: dict[str, Any], **around: Any) -> ldap.LdapSource:
    found = ldap.open(
        ldap.Options.model_validate(options), SourceContext(**{"resolve_secret": lambda _: PASSWORD, **around})
    )
    assert isinstance(found, ldap.LdapSource)
    return found


def rows(options: dict[str, Any], **around: Any) -> list[dict[str, Any]]:
    found = list(open_source(options, **around).read_batches())
    return pa.Table.from_batches(found).to_pylist() if found else []


class TestLdap(SourceContract):
    """What every source keeps."""

    kind = "ldap"
    has_files = False
    rows = ROWS

    @pytest.fixture(autouse=True)
    def _running(self, slapd: LdapServer) -> None:
        self.slapd = slapd

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return people(self.slapd)

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, resolve_secret=lambda _: PASSWORD)


def test_members_of_groups(slapd: LdapServer) -> None:
    """The other way round: groups that list their members by name."""
    said = {
        "base": f"ou=groups,{SUFFIX}",
        "filter": "(objectClass=groupOfNames)",
        "columns": {"member_of": "cn", "account": "member"},
    }
    assert rows(slapd.options(**said, each="account", short="account")) == [
        {"member_of": group, "account": name}
        for group, name in (("spica", "anna"), ("spica", "zoe"), ("p1, wp2", "anna"))
    ]
    assert rows(slapd.options(base=f"ou=groups,{SUFFIX}", filter="(cn=spica)", columns={"dn": "dn"})) == [
        {"dn": f"cn=spica,ou=groups,{SUFFIX}"}
    ]


@pytest.mark.parametrize("page", [1, 100, 500])
def test_pages(slapd: LdapServer, page: int) -> None:
    size = {"base": f"ou=many,{SUFFIX}", "filter": "(cn=*)" if page > 1 else "(cn=1*)", "columns": {"cn": "cn"}}
    found = [row["cn"] for row in rows(slapd.options(**size), page_row_limit=page)]
    assert sorted(found) == sorted(str(number) for number in range(MANY) if page > 1 or str(number).startswith("1"))


def test_budgets(slapd: LdapServer) -> None:
    many = {"base": f"ou=many,{SUFFIX}", "filter": "(cn=*)", "columns": {"cn": "cn"}}
    for budget, told in (
        ({"entries": 600}, r"127\.0\.0\.1 returned more than 600 entries; use a stricter `filter`"),
        ({"bytes": 20_000}, r"sends more than `bytes` allows"),
    ):
        with pytest.raises(SourceError, match=told):
            rows(slapd.options(**many, **budget))
    for said, told in (
        ({"page": 9_999}, r"adminLimitExceeded"),
        (
            {"base": SUFFIX, "filter": "(objectClass=*)"},
            r"did not return all entries below dc=example,dc=org: sizeLimitExceeded",
        ),
    ):  # a part is never taken for the whole
        with pytest.raises(SourceError, match=told):
            rows(
                slapd.options(**{**many, **{name: one for name, one in said.items() if name != "page"}}),
                page_row_limit=said.get("page"),
            )


def test_ldap_connections_use_tls_and_check_certificates(slapd: LdapServer, tmp_path: Path) -> None:
    secure = f"ldaps://127.0.0.1:{slapd.tls_port}"
    assert rows(people(slapd)) == rows(people(slapd, url=secure)) == rows(people(slapd, starttls=False)) == ROWS
    (tmp_path / "own.pem").write_bytes((slapd.place / "ca.pem").read_bytes())
    assert rows(people(slapd, ca="own.pem"), directory=tmp_path) == ROWS
    with pytest.raises(SourceError, match=r"the certificates in none\.pem cannot be read"):
        rows(people(slapd, ca="none.pem"))
    for url in (slapd.url, secure):
        with pytest.raises(
            SourceError, match=r"no directory returned a valid response: 127\.0\.0\.1 \(.*(certificate|CERTIFICATE)"
        ):
            rows(people(slapd, url=url, ca=None))
        other = url.replace("127.0.0.1", "127.0.0.2")  # of which the certificate says nothing
        with pytest.raises(SourceError, match=r"127\.0\.0\.2 \(.*(match|mismatch|refused)"):
            rows(people(slapd, url=other))


def test_unauthorised_logins_are_reported(slapd: LdapServer) -> None:
    with pytest.raises(
        SourceError,
        match=r"127\.0\.0\.1 rejects cn=reader,dc=example,dc=org: the name or the password is wrong",
    ) as told:
        rows(people(slapd), resolve_secret=lambda _: "another secret")
    assert "another secret" not in str(told.value)
    with pytest.raises(
        SourceError, match=r"has no entry ou=people,dc=example,dc=org, or does not show it to anonymous users"
    ):
        rows(people(slapd, bind=None, password=None))
    with pytest.raises(SourceError, match=r"cannot be read here"):
        rows(people(slapd), resolve_secret=None)


def test_what_is_elsewhere(slapd: LdapServer) -> None:
    with pytest.raises(SourceError, match=r"has no entry ou=none,dc=example,dc=org"):
        rows(people(slapd, base=f"ou=none,{SUFFIX}"))
    with pytest.raises(
        SourceError, match=r"did not return all entries below dc=example,dc=net: ldap://elsewhere\.example\.net"
    ):
        rows(people(slapd, base="dc=example,dc=net"))
    told: list[str] = []
    assert rows(people(slapd, base=f"ou=other,{SUFFIX}"), on_notice=told.append) == []
    assert [one.split(" for ")[0] for one in told] == ["127.0.0.1 refers to ldap://other.example.net/ou=part??sub"]
    with pytest.raises(SourceError, match=r"cannot search by '\(uid='"):
        rows(people(slapd, filter="(uid="))


def test_the_first_that_answers(slapd: LdapServer) -> None:
    with socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))  # and nobody listens
        nobody = f"ldap://127.0.0.1:{shut.getsockname()[1]}"
        assert rows(people(slapd, url=[nobody, slapd.url])) == ROWS
        with pytest.raises(
            SourceError,
            match=r"no directory returned a valid response: 127\.0\.0\.1 \(.*refused.*until then, the published rows stay",
        ):
            rows(people(slapd, url=[nobody, nobody]))


@contextmanager
def rubbish(*answer: bytes) -> Iterator[str]:
    """Listen, and answer whoever comes with bytes, the last again and again; without any stay silent."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not over.is_set():
                try:
                    here, _ = listening.accept()
                except OSError:
                    return
                here.settimeout(5)
                with here:
                    try:
                        here.recv(1 << 16)
                        for part in answer:
                            here.sendall(part)
                        while answer and len(answer[-1]) > 1000 and not over.is_set():
                            here.sendall(answer[-1])
                        over.wait(2 if not answer else 0)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"ldap://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\0" * 40,),
        (bytes(range(255, 1, -1)),),
        (b"0\x84\0\0\0\x10\2\1\1a\x84\0\0\0\7\n\1\0\4\0\4\0", b"0" * 4000),  # lets in, then pours
        (b"0\x85\x0f\xff\xff\xff\xff", b"x" * 60_000),  # says that 64 GB come
        (b"",),
        (),
    ],
    ids=["http", "zeros", "down", "pours", "long", "leaves", "silent"],
)
def test_a_server_that_is_no_directory(answer: tuple[bytes, ...]) -> None:
    with rubbish(*answer) as url:
        said = {"url": url, "base": SUFFIX, "columns": {"a": "cn"}, "bytes": 500_000, "seconds": 1}
        with pytest.raises(SourceError, match=r"127\.0\.0\.1 did not return a valid LDAP response|more than `bytes`"):
            rows({**said, "starttls": False})
        with pytest.raises(
            SourceError, match=r"no directory returned a valid response: 127\.0\.0\.1 \(|more than `bytes`"
        ):
            rows(said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"url": "https://ldap.example.org"}, "the address of a directory must be"),
        ({"url": "ldap://me:secret@ldap.example.org"}, "the address of a directory must be"),
        ({"url": []}, "at least 1 item"),
        ({"bind": "cn=reader"}, "give both `bind` and `password`"),
        ({"bind": "cn=reader", "password": "sesame"}, r"as `\$NAME`"),
        ({"each": "member_of"}, "there is no column 'member_of'"),
        ({"short": ["b"]}, "there is no column 'b'"),
        ({"columns": {}}, "at least 1 item"),
    ],
)
def test_options(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ldap.Options.model_validate({"url": "ldaps://ldap.example.org", "base": SUFFIX, "columns": {"a": "cn"}, **said})


DESCRIPTOR = """\
collection: people
access: private
title: Who is in which group
description: From the directory
tables:
  members:
    description: A row for each group of each person
    source:
      kind: ldap
      url: {url}
      starttls: true
      ca: {ca}
      bind: cn=reader,dc=example,dc=org
      password: $LDAP
      base: ou=people,dc=example,dc=org
      filter: (uid=*)
      columns: {{account: uid, name: cn, email: mail, member_of: memberOf}}
      each: member_of
      short: member_of
    columns:
      account: {{type: string, required: true, description: uid there}}
      name: {{type: string, description: cn there}}
      email: {{type: string, description: mail there}}
      member_of: {{type: string, description: A group}}
    sync: {{}}
"""


def test_people_by_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP", PASSWORD)
    (tmp_path / "hven.toml").write_text('[people]\ntables = ["people.members"]\n')
    place = tmp_path / "collections" / "people" / "people.yaml"
    place.parent.mkdir(parents=True)
    with run_server(entries()) as running:
        place.write_text(DESCRIPTOR.format(url=running.url, ca=running.place / "ca.pem"))
        with Site(settings.load_settings(tmp_path)) as site:

            def find_memberships(name: str) -> tuple[list[str], list[str]]:
                site.refresh_published_state()
                groups, names = find_groups_and_aliases(site, name)
                return sorted(groups), sorted(names)

            ingest_collection(site, "people")
            assert find_memberships("anna") == (
                ["p1, wp2", "spica"],
                ["a.berg@example.org", "anna berg", "anna@example.org"],
            )
            assert find_memberships("zoé müller-łącka") == ([], [])  # an account is asked by its name
            assert find_memberships("zoe") == (["spica"], ["zoe@example.org", "zoé müller-łącka"])
            running.change(
                f"cn=spica,ou=groups,{SUFFIX}\ndelete member uid=anna,ou=people,{SUFFIX}\nadd member uid=eve,ou=people,{SUFFIX}"
            )
            report = sync.sync_collection(site, "people")
            assert "1 added, 1 changed" in report.format_text() or "added" in report.format_text(), report.format_text()
            assert find_memberships("anna")[0] == ["p1, wp2"]
            assert find_memberships("eve")[0] == ["spica"]
            running.process.kill()
            running.process.wait()
            with pytest.raises(HvenError, match=r"no directory returned a valid response: 127\.0\.0\.1"):
                sync.sync_collection(site, "people")
            assert find_memberships("eve")[0] == ["spica"]  # until then the published rows stay
