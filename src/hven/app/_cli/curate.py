"""``hven new``, ``check``, ``schema``: what a curator does before anything is published."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven import adql, descriptor
from hven.app._cli import metadata_score
from hven.app._cli.context import settings, show_json, spelled
from hven.app._cli.context import site as open_site
from hven.app._cli.dead_links import dead_links
from hven.app._cli.engine_verbs import checked
from hven.descriptor import new as draft
from hven.ingest import run_examples, run_tests
from hven.ingest.sampling import refused
from hven.ingest.source_checks import check_sources
from hven.jobs import declared
from hven.model import plugins
from hven.model.errors import Fault, NotFound, UsageError
from hven.model.settings import exposed, lacking, secret, strangers
from hven.site.addresses import outdated

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.model.table import Levels

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection: letters, digits, underscores.")],
    source: Annotated[str, typer.Option("--from", metavar="FILE|URL", help="The data.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="csv, fits, votable, parquet, sql ... (default: by the file).")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="Which table of a file or database that has several.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Publish a PostgreSQL table in place, without a copy.")] = False,
    standard: Annotated[
        str | None, typer.Option("--standard", help="Map to epn-tap or obscore, as far as can be guessed.")
    ] = None,
    paper: Annotated[
        list[str] | None,
        typer.Option(
            "--paper",
            metavar="DOI|BIBCODE",
            help="What belongs to a paper: its table and files are copied; several times for several identifiers.",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="With --paper: its name, as the authors say.")
    ] = None,
) -> None:
    """Write a first descriptor, guessed from a file or an address."""
    found = settings(context)
    if paper:
        made = draft.create_of_paper(
            found, name, source, paper, licence=licence, kind=kind, table=table, standard=standard
        )
        print(f"wrote {made}")
        print(
            f"Look it over, then: {spelled(context, 'check', name)} && {spelled(context, 'ingest', name)}; a DOI of its own: {spelled(context, 'doi', name)}"
        )
        return
    if licence:
        raise UsageError("--licence belongs to --paper", remedy="write licence: into the descriptor")
    source, notes = draft.moved(found.directory, name, source)
    for note in notes:
        print(note)
    path = draft.create(
        found,
        name,
        source,
        kind="live" if live else kind,
        table=table,
        standard=standard,
        secret=partial(secret, found.directory),
    )
    then = "" if live or kind == "live" else f" && {spelled(context, 'ingest', name)}"
    print(f"wrote {path}")
    given = Path(source).expanduser().absolute()
    first = next(Path(given.anchor).glob(str(given.relative_to(given.anchor))), None)
    if first is not None and not first.parent.resolve().is_relative_to(found.directory.resolve()):
        print(
            f"{source} is read from where it is, and `hven backup` does not take it; if it shall, put it beside the descriptor and name it so there"
        )
    print(f"Look it over, then: {spelled(context, 'check', name)}{then}")


def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One collection (default: all).")] = None,
    tests: Annotated[
        bool, typer.Option("--tests", help="Also run the descriptors' tests over what is published.")
    ] = False,
    examples: Annotated[
        bool, typer.Option("--run-examples", help="Also run the example queries over what is published.")
    ] = False,
    links: Annotated[
        bool, typer.Option("--links", help="Also follow what published rows lead to, here and elsewhere.")
    ] = False,
    metadata: Annotated[
        bool,
        typer.Option("--metadata", help="Also score how well each collection is described, with the lines to add."),
    ] = False,
    least: Annotated[
        int | None, typer.Option("--least", metavar="N", min=0, max=100, help="With --metadata: fail below this score.")
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            "--subjects", metavar="FILE", help="With --metadata: look subjects up in this list of terms, too."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check hven.toml, descriptors and job types for all faults."""
    if subjects is not None and not metadata:
        raise UsageError("--subjects belongs to --metadata", remedy=f"hven check --metadata --subjects {subjects}")
    terms = descriptor.read_terms(subjects) if subjects is not None else None
    if least is not None and not metadata:
        raise UsageError("--least belongs to --metadata", remedy=f"hven check --metadata --least {least}")
    found = settings(context)
    names = (
        [name]
        if name
        else sorted(path.parent.name for path in found.collections.glob("*/*.yaml") if path.stem == path.parent.name)
    )
    if name and not (found.collections / name / f"{name}.yaml").is_file():
        raise NotFound(
            f"there is no descriptor {found.collections / name / (name + '.yaml')}",
            remedy=f"hven new {name} --from FILE writes one",
        )
    faults = [Fault(message=error.message, remedy=error.remedy) for error in plugins.faults()]
    policies: dict[str, Levels] = {}
    dates: list[str] = []
    read: list[Resource] = []
    engines: list[str] = []
    if faults:  # with one of them nothing else is told truly
        names = []
    elif name is None:
        told = list(checked(found))
        engines = [fact for fact in told if isinstance(fact, str)]
        faults += [fact for fact in told if not isinstance(fact, str)]
    for one in names:
        path = found.collections / one / f"{one}.yaml"
        resource, said = descriptor.checked(path, found)
        if resource is not None and not any(fault.severity == "error" for fault in said):
            read.append(resource)
            said += refused(resource, path.parent, found)
            said += check_sources(resource, path.parent, found)
            dates += [
                f"{spec.table.qualified}: a row is released {spec.embargo.words()}"
                for spec in resource.tables
                if spec.embargo is not None
            ]
            policies |= {
                spec.table.qualified: spec.table.policy for spec in resource.tables if spec.table.policy is not None
            }
        faults += said
    if name is None:
        faults += [*declared.check(found), *lacking(found), *strangers(found)]
        faults += exposed(found.directory, found.var, found.kept)
    else:
        faults += exposed(found.directory)
    spanning = name is not None and any(
        one.registration is not None or any(spec.spans for spec in one.tables) for one in read
    )
    others = [
        path for path in found.collections.glob("*/*.yaml") if path.stem == path.parent.name and path.stem != name
    ]
    loaded = [seen for path in others if spanning and (seen := descriptor.checked(path, found)[0]) is not None]
    faults += descriptor.wrong_ids(read, loaded)
    faults += descriptor.claimed(read, found, loaded)
    faults += descriptor.wrong_paths(read)
    faults += [fault for fault in outdated(found) if name is None or str(fault.place.file).endswith(f"/{name}.yaml")]
    if not any(fault.severity == "error" for fault in faults):
        faults += _tested(context, names, tests=tests, examples=examples, links=links)
    described = metadata_score.scored(context, read) if metadata and read else []
    faults += [fault for one in read if terms is not None for fault in descriptor.unknown_subjects(one, found, terms)]
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        listed = [
            {
                "file": fault.place.file,
                "line": fault.place.line,
                "column": fault.place.column,
                "severity": fault.severity,
                "message": fault.message,
                "remedy": fault.remedy,
            }
            for fault in faults
        ]
        show_json({"faults": listed, "collections": metadata_score.listed(described)} if metadata else listed)
    else:
        for fault in faults:
            print(f"{'warning: ' if fault.severity != 'error' else ''}{fault}")
        for line in [*engines, *dates]:
            print(line)
        for table, levels in policies.items():
            for does, text in (
                ("a row is seen by", levels.rows),
                ("that it has files is known to", levels.files),
                ("its files are taken by", levels.take),
            ):
                if text is not None:
                    print(f"{table}: {does} {'; '.join(adql.told(adql.parse_condition(text)))}")
        metadata_score.show(described)
        print(
            f"{len(names)} descriptor{'s' * (len(names) != 1)}: {_count(errors, 'error')}, {_count(len(faults) - errors, 'warning')}"
        )
    if errors or any(found.total < (least or 0) for found, _ in described):
        raise typer.Exit(1)


def _tested(context: typer.Context, names: list[str], *, tests: bool, examples: bool, links: bool) -> list[Fault]:
    found: list[Fault] = []
    panes = plugins.records("panes").values()
    if not (tests or examples or links or panes):
        return found
    with open_site(context) as site:
        for pane in panes:
            found += pane.tried(site)
        for one in names:
            found += run_tests(site, one) if tests else []
            found += run_examples(site, one) if examples else []
            if links:
                dead, told = dead_links(site, one)
                found += dead
                print(told, file=sys.stderr)
    return found


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here.")] = None,
) -> None:
    """Print the JSON Schema of descriptors, for editors."""
    if output is None:
        show_json(descriptor.schema())
    else:
        import orjson  # noqa: PLC0415  (for scripts alone)

        output.write_bytes(orjson.dumps(descriptor.schema(), option=orjson.OPT_INDENT_2) + b"\n")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
