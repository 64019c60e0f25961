"""What this package adds: the key ``submissions`` of tables, and pages at ``/submissions``."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="submissions",
    title="Let users submit files with their rows; Hven checks the files before it publishes them",
    uses=("entries", "push"),
    extensions={
        "hven.expiry": ("hven.plugins.submissions.expired_submissions",),
        "hven.status": ("hven.plugins.submissions.staging_status",),
    },
    jobs={"submission_catalogue": "hven.plugins.submissions.catalogue_job"},
    settings={"submissions": "hven.plugins.submissions.submission_section_keys:SUBMISSIONS_SECTION"},
    pages="hven.plugins.submissions.portal_pages:PAGES",
    table_links=("hven.plugins.submissions.portal_pages:SUBMISSION_LINKS",),
    scripts="hven.plugins.submissions:scripts",
    translations="hven.plugins.submissions:texts",
    table_keys={"submissions": "hven.plugins.submissions.submission_keys:SUBMISSIONS"},
    store_tables=PackageStateTables(
        names=("submissions", "submission_files", "submission_rows"),
        definitions="hven.plugins.submissions.store_tables:TABLES",
    ),
    event_kinds={
        "submissions.submitted": "hven.plugins.submissions.event_kinds:SUBMITTED",
        "submissions.decided": "hven.plugins.submissions.event_kinds:DECIDED",
        "submissions.expiring": "hven.plugins.submissions.event_kinds:EXPIRING",
    },
    account_removers=("hven.plugins.submissions.account_removal:remove_account_from_submissions",),
)
