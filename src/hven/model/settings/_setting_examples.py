"""Examples of hven.toml: one for each section, with all of its settings.

The page of settings is generated from them. `tests/descriptor/test_docs.py` loads each one, and refuses a setting that
no example has. A section that an engine brings has its example in its `SettingsSection`.
"""

from __future__ import annotations

# the settings that stand above all sections, by what they are about; in each group in this order
GENERAL_EXAMPLES = {
    "Name and addresses": """\
name = "Uraniborg"
title = "Observations of Tycho Brahe"
description = "Catalogues and instruments of the observatory at Hven."
authority = "uraniborg.example"
contact_name = "The data team"
contact_email = "vo@uraniborg.example"
public_url = "https://vo.uraniborg.example/hven"
root_path = "/hven"
""",
    "Processes and storage": """\
host = "0.0.0.0"
port = 8443
workers = 4
job_workers = 2
engine = "postgres"
plugins = []                        # the core alone
store = "$HVEN_STORE"
data = "/srv/hven/data"
variant = "blue"
keep_snapshots = 5
keep_changes = 90
disk_budget = "200 GiB"
""",
    "Collections": """\
access = "private"                 # of collections that do not set it
defaults = {publisher = "Uraniborg", contact = {name = "The data team", email = "vo@uraniborg.example"}}
rules = {no_quotes = "warning"}
roots = ["/archive/omega"]
""",
    "Other servers": """\
allow_private = true
ceilings = {"archive.example.org" = 0.5}
trusted_proxies = ["127.0.0.1", "10.1.0.0/24"]
cors = ["https://plots.example.org"]
origins = ["https://img.example.org"]
surveys = ["https://hips.example.org/DSSColor"]
""",
    "Pages": """\
language = "fr"
accent = "#0b5cad"
highlight = "#d98200"
logo = "logo.svg"
text = "welcome.md"
news = "actualites"
help = "aide"
credit = "Funded by the Royal Danish Treasury"
""",
}

SECTION_EXAMPLES = {
    "limits": """\
[limits]
maxrec_default = 100_000
maxrec_hard = 5_000_000
seconds = 30
memory = "4 GiB"
text = "500 kB"
upload = "200 MB"
upload_rows = 1_000_000
concurrent = 4
bodies = 16
user_tables = 20
user_rows = 10_000_000
user_bytes = "500 MB"
user_days = 90
signed_minutes = 30
copy_rows = 500_000
copy_bytes = "1 GiB"
copy_keys = 50_000
""",
    "jobs": """\
[jobs]
seconds = 1800
seconds_hard = 43_200
keep_days = 14
keep_days_hard = 30
archive_days = 365
maxrec_default = 1_000_000
maxrec_hard = 50_000_000
queued = 500
open = 2000
idle = 300
""",
    "schedule": """\
[schedule]
runs = 2
retry = 600
retry_most = 43_200
grace = 3600
stale = 3
""",
    "alerts": """\
[alerts]
webhook = "$ALERT_HOOK"
command = ["./notify.sh", "--urgent"]
mail_to = ["operators@uraniborg.example"]
mail_from = "hven@uraniborg.example"
smtp_host = "mail.uraniborg.example"
smtp_port = 465
smtp_user = "hven"
smtp_password = "$SMTP_PASSWORD"
smtp_tls = "tls"
repeat_failures = 5
repeat_hours = 12
""",
    "health": """\
[health]
operators = ["tycho", "sophie"]
open = false                       # true only where no reader reaches the server
see_as = true
verify_days = 14
verify_rate = "20 MB"
""",
    "python": """\
[python]
seconds = 300
memory = "8 GiB"
environment = {SPICE_KERNELS = "/data/kernels"}
""",
    "readers": """\
[readers.maser]
command = ["/opt/maser/bin/python", "./maser_reader.py"]
environment = {MASER_CACHE = "/var/cache/maser"}
seconds = 120
memory = "2 GiB"
processes = 4
idle = 600
""",
    "live": """\
[live]
pool = 8
at_once = 4
""",
    "files": """\
[files]
cache = "20 GiB"
at_once = 16
seconds = 60
fresh = 3600
""",
    "everywhere": """\
[everywhere]
registry = "https://reg.example.org/tap"
most = 50
hours = 12
seconds = 20
""",
    "remote": """\
[[remote]]
name = "amda"
url = "https://amda.example.org/tap"
kind = "epn"
tables = ["amdadb.epn_core"]
title = "AMDA"
seconds = 20
""",
    "people": """\
[people]
groups = {spica = ["anna", "bob"]}
aliases = {anna = ["anna@example.org", "A. Berg"]}
tables = ["team.members"]
""",
    "projects": """\
[projects.mars]
title = "Mars from orbit"
description = "Maps and spectra of the surface."
contact = "mars@uraniborg.example"
listed = true
open = true
news = "mars-news"
""",
    "login": """\
[login]
schemes = ["Bearer", "Basic"]
required = true
domain = "uraniborg.example"
own_passwords = false
proxy_header = "X-Remote-User"
proxies = ["127.0.0.1", "10.1.0.0/24"]
""",
    "registry": """\
[registry]
organisation = "Uraniborg"
organisation_url = "https://uraniborg.example"
organisation_ror = "https://ror.org/02feahw73"
address = "Island of Hven"
authorities = ["stjerneborg.example"]
ids = {tap = "ivo://uraniborg.example/__system__/tap/run"}
mirrors = {tap = ["http://old.uraniborg.example/tap"]}
""",
    "results": """\
[results]
keep = 5000
own = 20
rows = 1_000_000
seconds = 60
""",
    "tree": """\
[tree]
levels = ["mission|telescope|@facility", "@collection"]
branches = 50
""",
    "portals": """\
[portals.medoc]
host = "medoc.uraniborg.example"
title = "MEDOC"
description = "Solar observations."
collections = ["sdo"]
levels = ["@collection"]
accent = "#0b5cad"
highlight = "#d98200"
logo = "medoc.svg"
text = "medoc.md"
news = "medoc-news"
language = "fr"
contact_email = "medoc@uraniborg.example"
help = "medoc-help"
authority = "medoc.example"
administrators = ["sophie"]

[portals.psup]
path = "/psup"                     # instead of a host of its own
title = "PSUP"
""",
}
