"""``hven new``, ``check``, ``schema``: what a curator does before anything is published."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven import adql, descriptor
from hven.app._cli import metadata_score
from hven.app._cli.context import format_command, load_site_settings, open_site, show_json
from hven.app._cli.dead_links import check_links
from hven.app._cli.engine_verbs import check_engine_settings
from hven.descriptor import drafting
from hven.ingest import run_examples, run_tests
from hven.ingest.sampling import find_sample_faults
from hven.ingest.source_checks import check_sources
from hven.jobs import declared_types
from hven.model import plugins
from hven.model.errors import Fault, NotFoundError, UsageError
from hven.model.settings import find_exposed_files, find_missing_portal_items, find_unavailable_sections, resolve_secret
from hven.site.outdated_addresses import find_outdated_addresses

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.model.table import RowAccessPolicy

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def new(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection: letters, digits, underscores.")],
    source: Annotated[str, typer.Option("--from", metavar="FILE|URL", help="The data.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="csv, fits, votable, parquet, sql ... (default: by the file).")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="Which table of a file or database that has several.")
    ] = None,
    is_live: Annotated[
        bool, typer.Option("--live", help="Publish a PostgreSQL table in place, without a copy.")
    ] = False,
    standard: Annotated[
        str | None, typer.Option("--standard", help="Map to epn-tap or obscore, as far as can be guessed.")
    ] = None,
    paper_ids: Annotated[
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
    site_settings = load_site_settings(context)
    if paper_ids:
        descriptor_path = drafting.create_descriptor_for_paper(
            site_settings, name, source, paper_ids, licence=licence, kind=kind, table=table, standard=standard
        )
        print(f"wrote {descriptor_path}")
        print(
            f"Look it over, then: {format_command(context, 'check', name)} && "
            f"{format_command(context, 'ingest', name)}; a DOI of its own: "
            f"{format_command(context, 'doi', name)}"
        )
        return
    if licence:
        raise UsageError("--licence belongs to --paper", remedy="write licence: into the descriptor")
    source, notes = drafting.move_connection_line_to_secrets(site_settings.directory, name, source)
    for note in notes:
        print(note)
    path = drafting.create_descriptor(
        site_settings,
        name,
        source,
        kind="live" if is_live else kind,
        table=table,
        standard=standard,
        resolve_secret=partial(resolve_secret, site_settings.directory),
    )
    if is_live or kind == "live":
        next_command = ""
    else:
        next_command = f" && {format_command(context, 'ingest', name)}"
    print(f"wrote {path}")
    source_path = Path(source).expanduser().absolute()
    first_file = next(Path(source_path.anchor).glob(str(source_path.relative_to(source_path.anchor))), None)
    if first_file is not None and not first_file.parent.resolve().is_relative_to(site_settings.directory.resolve()):
        print(
            f"{source} is read from where it is, and `hven backup` does not take it; if it shall, put it "
            f"beside the descriptor and name it so there"
        )
    print(f"Look it over, then: {format_command(context, 'check', name)}{next_command}")


def check(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One collection (default: all).")] = None,
    run_descriptor_tests: Annotated[
        bool, typer.Option("--tests", help="Also run the descriptors' tests over what is published.")
    ] = False,
    run_example_queries: Annotated[
        bool, typer.Option("--run-examples", help="Also run the example queries over what is published.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--links", help="Also follow what published rows lead to, here and elsewhere.")
    ] = False,
    score_metadata: Annotated[
        bool,
        typer.Option("--metadata", help="Also score how well each collection is described, with the lines to add."),
    ] = False,
    min_score: Annotated[
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
    if subjects is not None and not score_metadata:
        raise UsageError("--subjects belongs to --metadata", remedy=f"hven check --metadata --subjects {subjects}")
    if subjects is not None:
        terms = descriptor.read_terms(subjects)
    else:
        terms = None
    if min_score is not None and not score_metadata:
        raise UsageError("--least belongs to --metadata", remedy=f"hven check --metadata --least {min_score}")
    site_settings = load_site_settings(context)
    if name:
        names = [name]
    else:
        names = sorted(
            path.parent.name
            for path in site_settings.collections_directory.glob("*/*.yaml")
            if path.stem == path.parent.name
        )
    if name and not (site_settings.collections_directory / name / f"{name}.yaml").is_file():
        raise NotFoundError(
            f"there is no descriptor {site_settings.collections_directory / name / (name + '.yaml')}",
            remedy=f"hven new {name} --from FILE writes one",
        )
    faults = [Fault(message=error.message, remedy=error.remedy) for error in plugins.find_plugin_faults()]
    policies: dict[str, RowAccessPolicy] = {}
    dates: list[str] = []
    read_resources: list[Resource] = []
    engines: list[str] = []
    if faults:  # with one of them nothing else is told truly
        names = []
    elif name is None:
        engine_facts = list(check_engine_settings(site_settings))
        engines = [fact for fact in engine_facts if isinstance(fact, str)]
        faults += [fact for fact in engine_facts if not isinstance(fact, str)]
    for collection_name in names:
        path = site_settings.collections_directory / collection_name / f"{collection_name}.yaml"
        resource, collection_faults = descriptor.check_and_read_descriptor(path, site_settings)
        if resource is not None and not any(fault.severity == "error" for fault in collection_faults):
            read_resources.append(resource)
            collection_faults += find_sample_faults(resource, path.parent, site_settings)
            collection_faults += check_sources(resource, path.parent, site_settings)
            dates += [
                f"{spec.table.qualified_name}: a row is released {spec.embargo.describe()}"
                for spec in resource.tables
                if spec.embargo is not None
            ]
            policies |= {
                spec.table.qualified_name: spec.table.policy
                for spec in resource.tables
                if spec.table.policy is not None
            }
        faults += collection_faults
    if name is None:
        faults += [
            *declared_types.find_declaration_faults(site_settings),
            *find_unavailable_sections(site_settings),
            *find_missing_portal_items(site_settings),
        ]
        faults += find_exposed_files(site_settings.directory, site_settings.var_directory, site_settings.data_directory)
    else:
        faults += find_exposed_files(site_settings.directory)
    needs_others = name is not None and any(
        collection_name.registration is not None or any(spec.span_places for spec in collection_name.tables)
        for collection_name in read_resources
    )
    other_descriptors = [
        path
        for path in site_settings.collections_directory.glob("*/*.yaml")
        if path.stem == path.parent.name and path.stem != name
    ]
    other_resources = [
        other_resource
        for path in other_descriptors
        if needs_others and (other_resource := descriptor.check_and_read_descriptor(path, site_settings)[0]) is not None
    ]
    faults += descriptor.find_series_id_faults(read_resources, other_resources)
    faults += descriptor.find_identifier_faults(read_resources, site_settings, other_resources)
    faults += descriptor.find_path_faults(read_resources)
    faults += [
        fault
        for fault in find_outdated_addresses(site_settings)
        if name is None or str(fault.place.file).endswith(f"/{name}.yaml")
    ]
    if not any(fault.severity == "error" for fault in faults):
        faults += _check_published(
            context,
            names,
            run_descriptor_tests=run_descriptor_tests,
            run_example_queries=run_example_queries,
            follow_links=follow_links,
        )
    if score_metadata and read_resources:
        scores = metadata_score.score_collections(context, read_resources)
    else:
        scores = []
    faults += [
        fault
        for collection_name in read_resources
        if terms is not None
        for fault in descriptor.find_subject_faults(collection_name, site_settings, terms)
    ]
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        fault_list = [
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
        show_json(
            {"faults": fault_list, "collections": metadata_score.scores_to_json(scores)}
            if score_metadata
            else fault_list
        )
    else:
        for fault in faults:
            print(f"{'warning: ' if fault.severity != 'error' else ''}{fault}")
        for line in [*engines, *dates]:
            print(line)
        for table, levels in policies.items():
            for rule_text, text in (
                ("a row is seen by", levels.rows),
                ("that it has files is known to", levels.files),
                ("its files are taken by", levels.take),
            ):
                if text is not None:
                    print(f"{table}: {rule_text} {'; '.join(adql.describe_policy(adql.parse_condition(text)))}")
        metadata_score.print_scores(scores)
        print(
            f"{len(names)} descriptor{'s' * (len(names) != 1)}: {_format_count(errors, 'error')}, "
            f"{_format_count(len(faults) - errors, 'warning')}"
        )
    if errors or any(site_settings.total < (min_score or 0) for site_settings, _ in scores):
        raise typer.Exit(1)


def _check_published(
    context: typer.Context,
    collections: list[str],
    *,
    run_descriptor_tests: bool,
    run_example_queries: bool,
    follow_links: bool,
) -> list[Fault]:
    faults: list[Fault] = []
    panes = plugins.load_records("panes").values()
    if not (run_descriptor_tests or run_example_queries or follow_links or panes):
        return faults
    with open_site(context) as site:
        for pane in panes:
            faults += pane.check_tables(site)
        for collection_name in collections:
            faults += run_tests(site, collection_name) if run_descriptor_tests else []
            faults += run_examples(site, collection_name) if run_example_queries else []
            if follow_links:
                link_faults, link_summary = check_links(site, collection_name)
                faults += link_faults
                print(link_summary, file=sys.stderr)
    return faults


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here.")] = None,
) -> None:
    """Print the JSON Schema of descriptors, for editors."""
    if output is None:
        show_json(descriptor.build_json_schema())
    else:
        import orjson  # noqa: PLC0415  (for scripts alone)

        output.write_bytes(orjson.dumps(descriptor.build_json_schema(), option=orjson.OPT_INDENT_2) + b"\n")


def _format_count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
