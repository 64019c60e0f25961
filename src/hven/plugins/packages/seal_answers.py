"""Answer the 16 requirements of CoreTrustSeal (2023-2025) as far as software can, and say what people must answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hven
from hven.model.settings import SECRETS_FILE
from hven.plugins.packages.handover_facts import HandoverSection, run_git

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.resource import CollectionSpec
    from hven.site import Site

COLUMNS = ("Requirement", "What this site shows", "What you must answer")


def collect_seal_answers(site: Site) -> list[HandoverSection]:
    """Answer the requirements of CoreTrustSeal for a site.

    Parameters
    ----------
    site
        The site.
    """
    rows = [(title, answer(site), question) for title, answer, question in REQUIREMENTS]
    intro = (
        "CoreTrustSeal certifies repositories. The second column is computed from this site now; no person has checked "
        "whether it is enough. The third column is what no software knows."
    )
    return [HandoverSection(title="The 16 requirements", intro=intro, columns=COLUMNS, rows=rows)]


def _list_resources(site: Site) -> list[CollectionSpec]:
    return list(site.get_published_state().resources.values())


def _count(site: Site, title: str, has_fact: Callable[[CollectionSpec], object]) -> str:
    resources = _list_resources(site)
    present = sum(bool(has_fact(resource)) for resource in resources)
    text = f"{present} of {len(resources)} collections have {title}"
    missing = [resource.name for resource in resources if not has_fact(resource)]
    if missing:
        text += f"; missing: {', '.join(missing[:3])}"
        if len(missing) > 3:
            text += f" and {len(missing) - 3} more"
    return f"{text}."


def _answer_mission(site: Site) -> str:
    return f"The site is called {site.settings.title or site.settings.name}. Its help pages can state the mission."


def _answer_rights(site: Site) -> str:
    resources = _list_resources(site)
    public_count = sum(resource.access == "public" for resource in resources)
    licences = _count(site, "a licence", lambda resource: resource.licence or resource.licence_url)
    return (
        f"{licences} {public_count} are public and {len(resources) - public_count} are not. Rights apply to each row "
        "and each file, in every service."
    )


def _answer_continuity(site: Site) -> str:
    is_repository = run_git(site.settings.directory, "rev-parse", "HEAD") is not None
    text = "The site's directory is a Git repository." if is_repository else "The directory is NOT a Git repository."
    return (
        f"{text} `hven package` hands over each collection as a BagIt bag or an RO-Crate, `hven backup` copies the "
        "whole site, and `hven rebuild` makes it again on an empty machine."
    )


def _answer_ethics(site: Site) -> str:
    embargo_count = sum(
        any(spec.table.policy is not None for spec in resource.tables) for resource in _list_resources(site)
    )
    return f"{embargo_count} collections have rules for single rows or files, such as embargoes."


def _answer_governance(site: Site) -> str:
    operator_count = len(site.settings.health.operators)
    return f"{operator_count} operators are named in hven.toml."


def _answer_expertise(site: Site) -> str:
    return _count(site, "a contact", lambda resource: resource.contact)


def _answer_provenance(site: Site) -> str:
    return (
        f"{len(site.published_records)} published tables have a record of their sources, software and time, which "
        "/prov gives as W3C PROV and IVOA ProvenanceDM. Snapshots never change; `hven history` lists all of them."
    )


def _answer_appraisal(site: Site) -> str:
    rule_count = sum(len(spec.rules) for resource in _list_resources(site) for spec in resource.tables)
    return f"{rule_count} rules check rows before they are published. Rows that break a rule are kept with the reason."


def _answer_preservation(site: Site) -> str:
    return (
        f"{len(site.published_records)} snapshots are published. Packages contain rows as Apache Parquet, products as "
        "they are, and the meaning of each column as text."
    )


def _answer_quality(site: Site) -> str:
    return _count(site, "descriptions", lambda resource: resource.description)


def _answer_workflows(site: Site) -> str:
    scheduled_count = sum(resource.schedule is not None for resource in _list_resources(site))
    return f"{scheduled_count} collections are synchronised by a schedule. Each run and its report is on record."


def _answer_discovery(site: Site) -> str:
    minted = {collection for collection, _ in site.identifiers.map_dois()}
    dois = _count(site, "a DOI", lambda resource: resource.doi or resource.name in minted)
    return f"{dois} The site answers OAI-PMH, and its landing pages have schema.org and signposting."


def _answer_reuse(site: Site) -> str:
    return _count(site, "a text how to cite them", lambda resource: resource.citation or resource.creators)


def _answer_storage(site: Site) -> str:
    times = [item.at for item in site.store.verifications.list_verifications().values()]
    text = f"{len(times)} snapshots were verified against their checksums"
    return f"{text}, the last one at {max(times)}." if times else f"{text}; run `hven verify`."


def _answer_infrastructure(site: Site) -> str:
    return f"Hven {hven.__version__}, free software under the BSD licence. Rows are in {site.settings.engine}."


def _answer_security(site: Site) -> str:
    has_tracked_secrets = bool(run_git(site.settings.directory, "ls-files", "--", SECRETS_FILE))
    place = f"{SECRETS_FILE} is IN the repository" if has_tracked_secrets else "Secrets are outside of the repository"
    return (
        f"{len(site.store.users.list_accounts())} accounts; tokens and passwords are stored as hashes. {place}. "
        "`hven audit` lists who was given access to what."
    )


REQUIREMENTS: tuple[tuple[str, Callable[[Site], str], str], ...] = (
    ("R01 Mission and scope", _answer_mission, "What is the mission, and who approved it?"),
    ("R02 Rights management", _answer_rights, "Which agreements do depositors sign?"),
    ("R03 Continuity of service", _answer_continuity, "Who takes over, and for how long is this funded?"),
    ("R04 Legal and ethical", _answer_ethics, "Which laws apply, and who watches over them?"),
    ("R05 Governance and resources", _answer_governance, "Who decides, and who pays?"),
    ("R06 Expertise and guidance", _answer_expertise, "Which advisory bodies and users do you ask?"),
    ("R07 Provenance and authenticity", _answer_provenance, "How do you check who depositors are?"),
    ("R08 Deposit and appraisal", _answer_appraisal, "Which data do you accept, and which do you refuse?"),
    ("R09 Preservation plan", _answer_preservation, "Which level of preservation do you promise, and until when?"),
    ("R10 Quality assurance", _answer_quality, "Who reviews data and metadata?"),
    ("R11 Workflows", _answer_workflows, "Where are the procedures written down?"),
    ("R12 Discovery and identification", _answer_discovery, "In which registries are you listed?"),
    ("R13 Reuse", _answer_reuse, "How do you follow what your users need?"),
    ("R14 Storage and integrity", _answer_storage, "Where are the copies, and when did you last restore one?"),
    ("R15 Technical infrastructure", _answer_infrastructure, "Which machines and networks do you use?"),
    ("R16 Security", _answer_security, "What is your plan for a break-in or a disaster?"),
)
