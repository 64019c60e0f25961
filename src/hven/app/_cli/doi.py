"""``hven doi``: DOIs of collections and releases - what would be told, drafts, publication, files for a library, and what is withdrawn."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hven.app._cli.context import moment, show_json, show_table, spelled
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, UserError
from hven.services import citing, minting
from hven.services.face import Surroundings
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from hven.model.resource import Citation
    from hven.services.citing import Cited
    from hven.site import Site

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def doi(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="Without one: all that have a DOI, or were withdrawn.")] = None,
    label: Annotated[str, typer.Option("--release", metavar="LABEL", help="Of this release, which gets a DOI of its own.")] = "",
    draft: Annotated[bool, typer.Option("--draft", help="Reserve it at DataCite; it leads nowhere yet and can be thrown away there.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Publish it for good, or bring what DataCite has up to date.")] = False,
    withdraw: Annotated[str | None, typer.Option("--withdraw", metavar="REASON", help="Say on its page, and at DataCite, that it is withdrawn, and why.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write the metadata for a library that registers it: .xml or .json.")] = None,
    known: Annotated[str | None, typer.Option("--is", metavar="DOI", help="Keep the DOI that a library registered for it.")] = None,
    suffix: Annotated[str, typer.Option("--suffix", metavar="TEXT", help="What shall stand behind the prefix.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Give collections and releases DOIs; say what they lack for one."""
    chosen = [word for word, said in {"--draft": draft, "--publish": publish, "--withdraw": withdraw is not None, "--to": to is not None, "--is": known is not None}.items() if said]  # fmt: skip
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are different things", remedy=f"hven doi NAME {chosen[0]}")
    if name is None:
        if chosen or label or suffix:
            raise UsageError("which collection?", remedy=f"hven doi NAME {' '.join(chosen)}".rstrip())
        _list(context, as_json=as_json)
        return
    if withdraw is not None and len(withdraw.strip()) < 3:
        raise UsageError("say why it is withdrawn: that stands on its page for good", remedy='--withdraw "superseded by R6, whose fluxes are right"')  # fmt: skip
    with open_site(context) as site:
        one = _cited(site, name, label)
        if to is not None:
            _write(site, one, to)
        elif known is not None:
            kept = minting.recorded(site.store, one, known)
            _done(context, one, kept, "kept")
        elif withdraw is not None and not dry_run:
            _withdrawn(context, site, one, " ".join(withdraw.split()))
        elif (draft or publish) and not dry_run:
            one = replace(one, withdrawn="")
            kept, done = minting.mint(site.settings, site.store, one, "draft" if draft else "findable", suffix)
            _done(context, one, kept, done)
        else:
            one = one if withdraw is None else replace(one, withdrawn=" ".join(withdraw.split()))
            _show(context, site, one, chosen, suffix, as_json=as_json)


def _cited(site: Site, name: str, label: str) -> Cited:
    """Gather what everybody sees: nothing else gets a DOI."""
    around = Surroundings.of(site, ANONYMOUS)
    now = site.current()
    try:
        return citing.cited(around, now, now.catalogue(ANONYMOUS, around.policies), name, label)
    except NotFound as error:
        if name in now.resources and not label:
            raise NotFound(f"nothing of {name} is published for everybody", remedy="hven status tells what is") from error  # fmt: skip
        raise


def _report(one: Cited) -> tuple[list[str], bool]:
    found = list(citing.lacking(one))
    lines = [f"{'warning: ' if severity != 'error' else ''}{one.resource.path}: {message}" for severity, message in found]  # fmt: skip
    return lines, any(severity == "error" for severity, _ in found)


def _show(context: typer.Context, site: Site, one: Cited, chosen: list[str], suffix: str, *, as_json: bool) -> None:
    kept = site.store.citations.find(one.resource.name, one.label)
    name = (kept and kept.doi) or (minting.proposed(site.settings, one, suffix) if site.settings.doi.prefix else one.doi)  # fmt: skip
    attributes = minting.told(one, name) if name else citing.datacite(one)
    lines, wrong = _report(one)
    if as_json:
        show_json(attributes)
    else:
        print(orjson.dumps(attributes, option=orjson.OPT_INDENT_2).decode())
    state = "none yet" if kept is None or kept.doi is None else f"{kept.state} since {moment(kept.changed)}"
    same = kept is not None and kept.told == attributes
    print("\n".join([*lines, f"DOI {name or 'by a library'}: {state}{', as DataCite has it' if same else ''}; nothing was sent"]), file=sys.stderr)  # fmt: skip
    if not chosen and not wrong:
        options = "--publish" if site.settings.doi.prefix else "--to FILE"
        print(f"then: {spelled(context, 'doi', one.resource.name, *(['--release', one.label] if one.label else []), options)}", file=sys.stderr)  # fmt: skip
    if wrong:
        raise typer.Exit(1)


def _write(site: Site, one: Cited, to: Path) -> None:
    kept = site.store.citations.find(one.resource.name, one.label)
    name = (kept and kept.doi) or one.doi
    attributes = {**citing.datacite(one), **({"doi": name} if name else {}), "url": one.address}
    lines, wrong = _report(one)
    if to.suffix == ".json":
        data = orjson.dumps({"data": {"type": "dois", "attributes": attributes}}, option=orjson.OPT_INDENT_2) + b"\n"
    elif to.suffix == ".xml":
        data = citing.datacite_xml(attributes).encode()
    else:
        raise UsageError(f"{to} is neither .xml nor .json", remedy="libraries mostly take .xml")
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if wrong:
        raise UserError(f"{one.title} cannot be registered so", remedy="mend what is told above")
    to.write_bytes(data)
    print(f"wrote {to}: DataCite 4.6 of {one.title}, which shall lead to {one.address}")
    if not name:
        print(f"once it is registered: hven doi {one.resource.name}{f' --release {one.label}' if one.label else ''} --is 10.xxxx/..")  # fmt: skip


def _withdrawn(context: typer.Context, site: Site, one: Cited, reason: str) -> None:
    kept = minting.withdraw(site.store, replace(one, withdrawn=""), reason)
    gone = replace(one, withdrawn=reason, withdrawn_on=kept.changed[:10])
    ours = kept.doi and site.settings.doi.prefix and kept.doi.lower().startswith(f"{site.settings.doi.prefix}/")
    print(f"{one.title} is withdrawn: {one.address} says so, and why, also once its data are taken away")
    if ours:
        minting.mint(site.settings, site.store, replace(gone, doi=kept.doi), "withdrawn")
        print(f"DataCite knows it, too; {kept.doi} leads there as before")
    elif kept.doi:
        print(f"{kept.doi} is registered by somebody else: tell them; it shall go on leading there")
    print(f"its data are there until: {spelled(context, 'release', 'remove', one.label, one.resource.name) if one.label else spelled(context, 'remove', one.resource.name)}")  # fmt: skip


def _done(context: typer.Context, one: Cited, kept: Citation, done: str) -> None:
    print(f"https://doi.org/{kept.doi}: {kept.state}, {done}; leads to {kept.url}")
    lines, _ = _report(one)
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if kept.state == "draft":
        print(f"to publish it for good: {spelled(context, 'doi', one.resource.name, *(['--release', one.label] if one.label else []), '--publish')}")  # fmt: skip
    elif not one.label and one.resource.doi is None and kept.doi is not None:
        if minting.noted(one.resource.path, kept.doi):
            print(f"wrote doi: {kept.doi} into {one.resource.path}")
        else:
            print(f"write this into {one.resource.path}, so that results and registries tell it: doi: {kept.doi}")


def _list(context: typer.Context, *, as_json: bool) -> None:
    with open_site(context) as site:
        found = site.store.citations.all()
    rows: list[dict[str, Any]] = [
        {"collection": one.collection, "release": one.label, "doi": one.doi, "state": one.state, "changed": one.changed, "url": one.url, "reason": one.reason}
        for one in found
    ]  # fmt: skip
    if as_json:
        show_json(rows)
        return
    for row in rows:
        row["changed"] = moment(row["changed"])
    show_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows], title="DOIs")
