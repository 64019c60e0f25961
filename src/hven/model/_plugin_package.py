"""The record of a plug-in package: all that it adds to Hven, listed in one place.

The package has a module ``plugin``, which holds the record under the name ``PLUGIN``. Hven finds its own packages below
`hven.plugins`, and those of other projects by entry points of the group ``hven.plugins``. The module imports nothing
but this one: what the record names is imported when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
_NAMES_OBJECTS = {"names_objects": True}  # metadata of the fields that name objects as ``module:name``


@dataclass(frozen=True, kw_only=True)
class CommandLineVerb:
    """A verb of the command line.

    Parameters
    ----------
    function
        Place of the function as ``module:name``. Its parameters are options and arguments of typer; the first line of
        its docstring is the help text. A verb with verbs of its own names a ``typer.Typer``.
    after
        The verb behind which ``hven --help`` lists this one; it stands at the end if there is no such verb.
    heading
        The heading below which ``hven --help`` lists it. Empty: that of the verb in `after`.
    examples
        Command lines, as a user types them, for the help of the verb and the page of the command line. Together they
        show each option.
    group_help
        Help text of a verb with verbs of its own; empty: it has none.
    """

    function: str
    after: str = ""
    heading: str = ""
    examples: tuple[str, ...] = ()
    group_help: str = ""


@dataclass(frozen=True, kw_only=True)
class FileSignature:
    """How files are recognised that a kind of source reads with this package.

    The kind may be one of Hven, of another package, or of this one. If a site leaves out the package, messages about
    such files name it.

    Parameters
    ----------
    kind
        The kind of source.
    extensions
        Endings of their names, in lower case: ``lbl``.
    leading_pattern
        A regular expression for their beginning, decompressed. Empty: the beginning tells nothing.
    first_line_pattern, text_title
        For files that begin with text: a regular expression for the first line that is not blank, and what such a file
        is, in words with an article. Sources of text refuse these files and name the kind. Empty: they read them.
    media_types
        Media types by extension, which `hven new` proposes for addresses of such files.
    """

    kind: str
    extensions: tuple[str, ...] = ()
    leading_pattern: bytes = b""
    first_line_pattern: str = ""
    text_title: str = ""
    media_types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FilePictureAddresses:
    """Where a service has pictures of the files of a collection, below the address of the collection.

    Parameters
    ----------
    picture, thumbnail
        Address of the picture of a file, and of its thumbnail, with ``{path}`` for the path of the file:
        ``preview/{path}``.
    """

    picture: str
    thumbnail: str


@dataclass(frozen=True, kw_only=True)
class PackageStateTables:
    """Tables of a package in the system state, which only the package reads and writes.

    Hven creates and upgrades them when it opens a state, and backups contain them.

    Parameters
    ----------
    names
        Names of the tables.
    definitions
        Place of the `hven.site.api.store_tables.PackageTableSet` as ``module:name``.
    format
        Version of the tables; a change of their columns adds one, and a step to `PackageTableSet.upgrade_steps`.
    oldest_format
        Oldest version of the package's tables whose programs can also use these, because each later version only added
        tables, or columns with a default; None: `format`.
    """

    names: tuple[str, ...]
    definitions: str
    format: int = 1
    oldest_format: int | None = None


@dataclass(frozen=True, kw_only=True)
class PluginPackage:
    """All that a plug-in package adds.

    A mapping has the names of plug-ins of one kind, and the dotted names of the modules in which their records stand.
    A function or a record inside a module is named as ``module:name``.

    Parameters
    ----------
    name
        Name of the package: lower-case letters, digits and underscores.
    title
        What it does, in a line.
    uses
        Names of other plug-in packages that it imports.
    sources, descriptions, documents, engines, formats, media, functions, protocols, jobs, identity, ingest_steps,
    panes, resolvers
        Plug-ins of the groups of `hven.model.plugins.PLUGIN_GROUPS`.
    files
        Files that kinds of sources read because of this package: its own kinds, and those that read the files by its
        media.
    file_pictures
        Where a service of the package has pictures of files; None: nowhere. The column ``thumbnail_url`` of EPN-TAP
        tables gets these addresses for files that can be drawn, and pages of files show the pictures.
    upload_kinds
        Kinds of sources of the package whose files can be uploaded as tables. The kind recognises them by their
        content.
    verbs
        Verbs of the command line by their names.
    settings
        Settings that it adds to hven.toml, each the place of a `hven.model.settings.SettingsSection`. ``{"night": ..}``
        is a section of its own. ``{"files:night": ..}`` adds settings to the section ``[files]``: they are its part
        ``night``. The name is the key of the values in `hven.model.settings.Settings.brought`.
    checks
        Functions for ``hven check``: ``check(settings) -> Iterator[Fault | str]``, faults of what the settings name;
        texts describe it.
    table_keys
        Keys of tables that it adds to descriptors, each the place of a `hven.descriptor.api.keys.TableDescriptorKey` as
        ``module:name``.
    collection_keys
        Keys at the top of descriptors that it adds, each the place of a
        `hven.descriptor.api.keys.CollectionDescriptorKey` as ``module:name``. Their values are in
        `hven.model.resource.CollectionSpec.extensions`.
    source_keys
        Keys that it adds to sources in descriptors, whatever their kind, each the place of a
        `hven.sources.source_keys.SourceDescriptorKey` as ``module:name``. They add columns to the rows of a source.
    column_proposals
        Functions that propose attributes for columns that lack them, each as ``module:name``: ``propose(columns,
        published_table) -> Sequence[Mapping[str, str]]`` with the columns of an `hven.descriptor.PublishedTableInfo`.
        For each column, it returns values by their keys ``ucd``, ``unit`` and ``description``. `hven check --metadata`
        shows them.
    address_rewriter
        Place of a function that builds a `hven.services.address_rewriting.AddressRewriter` from the settings, as
        ``module:name``: it replaces old addresses of requests before they are routed; empty: none.
    extensions
        Modules that it adds to extension points of other packages, by the names of the points: ``{"night.reports":
        ("hven_weather.night_report",)}``. The package that has the point, ``night``, defines what such a module
        contains, and loads all of them (`hven.model.plugins.load_extensions`).
    store_tables
        Tables of the package in the system state; None: it has none.
    collection_folders
        Folders in ``var`` of a site with files that the package makes of collections: ``var/<folder>/<collection>``.
        `hven remove --purge` deletes these, also if the settings leave out the package.
    account_removers
        Functions that delete what the package keeps of an account that is removed: ``remove(site, account)`` with the
        `hven.site.Site` and the name of the account, each as ``module:name``. Hven also calls them if the settings
        leave out the package, whose tables may be missing then.
    used_keys
        Keys of the core's descriptors that have an effect only with a package that uses them (``files.writers``), and
        words of such keys (``prepare.spectra``).
    pages
        Place of its pages in the portal, a `hven.portal.api.pages.PortalPages`, as ``module:name``; empty: none.
    table_links
        Links that pages of tables and of their rows show, each the place of a
        `hven.portal.api.table_links.TableLinkKind` as ``module:name``.
    search_conditions
        Conditions of searches in tables that no column has, by the parameters of addresses (``_area``), each the place
        of a `hven.portal.api.search_forms.SearchCondition` as ``module:name``. A column of that name comes first.
    table_pages
        Place of what it adds to the pages of tables besides templates and links, a
        `hven.portal.api.table_pages.TablePageExtension`, as ``module:name``; empty: nothing.
    scripts
        Folder with its scripts and style sheets for browsers, as ``module:folder``. A module at the top of the folder
        is a pane: ``moon.js`` exports a function ``mount(element, workspace)`` for elements with
        ``data-pane="moon"``. Templates link to a style sheet by ``asset("night/moon.css")``; those of Hven's own
        packages are part of the portal's. Empty: none.
    translations
        Folder with its catalogues of gettext, ``<language>.po``, as ``module:folder``: ``hven_weather.night:texts``.
        They translate texts of its pages and its messages; their contexts are those of the portal's own catalogues.
        Empty: none.
    request_observers
        Classes that get each request that a server has answered, subclasses of `hven.site.RequestObserver`, as
        ``module:name``.
    counters
        Counters that `hven.site.counters.ProcessCounters.count_event` counts and the metrics show, with a sentence on
        each, by their names after ``hven_``, which end in ``_total``.
    request_gates
        Classes that can refuse requests before services answer them, subclasses of
        `hven.services.admission.RequestGate`, as ``module:name``.
    answer_cache
        Place of a class that can repeat answers of services, a `hven.services.admission.AnswerCache`, as
        ``module:name``. Its argument is an
        `hven.services.face.ServiceContext`. Empty: none.
    result_links
        Functions that write links about the rows of results of queries, each as ``module:name``: ``write(tables,
        base_url) -> str`` with the tables of the query and the address of the site. They return values of the header
        ``Link``, or an empty text, and run for each answer.
    row_changes
        Place of a function that lists the changes of a row by people, as ``module:name``:
        ``list(site, table, row_key) -> list[hven.site.api.row_changes.RowChange]``. Empty: none.
    query_observers
        Classes that are told of the queries of services, pages and jobs, subclasses of `hven.query.QueryObserver`, as
        ``module:name``.
    landing_pages
        Place of what it adds to the pages of collections and releases, a
        `hven.portal.api.landing_pages.LandingPageExtension`, as ``module:name``; empty: nothing.
    file_preparations
        What `hven prepare` and its job type make of files before clients request them, by the words of the key
        ``prepare``, each the place of a `hven.services.file_preparation.FilePreparation` as ``module:name``. Products
        are in `collection_folders`.
    file_archivers
        What packs files into archives, by the kind of archive (``zip``), each the place of a
        `hven.services.file_archives.FileArchiver` as ``module:name``. Pages and services offer the files of rows in
        archives of these kinds.
    file_services
        Services of rows' own files, by their names, each the place of a function ``build_link(table) -> LinkTemplate |
        None`` as ``module:name``. Results of queries describe such a service by the link, whose semantics are the name
        of the descriptor; None: they do not. ObsCore leads to the links of a row if its file has such a service.
    function_definitions
        Functions of queries and of expressions in descriptors, by their names in lower case, each the place of a
        `hven.adql.signatures.FunctionDefinition` as ``module:name``. (`functions` has modules with one function each.)
    engine_functions
        What engines need to compute these functions, by the names of the engines, each the place of a
        `hven.engines.api.engine_functions.EngineFunctions` as ``module:name``.
    job_providers
        Job types that the package makes of what a site declares, each the place of an object of the protocol
        `hven.jobs.JobTypeProvider` as ``module:name``.
    header_columns
        Columns that sources which read headers of files can have by this package: ``file.footprint``. Each is the
        place of a function ``compute(headers, longitudes) -> pa.Array`` as ``module:name``, with the cards of each
        header by their keywords, and the option ``longitudes`` of the source. Without the package, the column is
        empty.
    sky_names
        Names that it adds to `hven.sky`, each the place of an object as ``module:name``.
    external_accounts
        Place of a class that knows the accounts of people who log in elsewhere, a `hven.site.auth.ExternalAccounts`, as
        ``module:name``. Empty: none.
    remote_stores
        Classes that read files on other servers, by the schemes of addresses (``ftp``), each the place of a
        `hven.sources.remote_stores.RemoteStore` as ``module:name``.
    remote_file_cache
        Place of the class through which services read these files, a `hven.services.remote_files.RemoteFileCache`, as
        ``module:name``. Its argument is the settings of the site. Empty: none.
    identifiers
        Place of a class that knows the DOIs of collections and releases, a `hven.site.PersistentIdentifiers`, as
        ``module:name``. Its argument is the database of the system state. Empty: the package gives no DOIs.
    federated_planner
        Place of a function that plans queries over tables of several engines, as ``module:name``:
        ``plan(bound_query, engines, engines_by_table, relations, limits) -> QueryPlan``. It gets the bound query, which
        reads only what the user may see, the `hven.site.EngineRegistry`, the names of the engines and the relations of
        the tables by their qualified names, and the `hven.model.settings.QueryLimits`. Tables in memory have no engine.
        Empty: none; the site then refuses such queries unless another package plans them.
    event_kinds
        Kinds of events that the package announces to accounts (`hven.site.api.events.notify_accounts`), by their names
        (``nights.clear``), each the place of an `hven.site.api.events.EventKind` as ``module:name``.
    event_service
        Place of an object that records such events and delivers them, an `hven.site.api.events.EventService`, as
        ``module:name``. Empty: none; without such a package, events are lost.

    Raises
    ------
    ValueError
        The name has other characters.
    """

    name: str
    title: str
    uses: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    files: tuple[FileSignature, ...] = ()
    file_pictures: FilePictureAddresses | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    ingest_steps: Mapping[str, str] = field(default_factory=dict)
    panes: Mapping[str, str] = field(default_factory=dict)
    resolvers: Mapping[str, str] = field(default_factory=dict)
    upload_kinds: tuple[str, ...] = ()
    verbs: Mapping[str, CommandLineVerb] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    checks: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    table_keys: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    collection_keys: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    source_keys: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    column_proposals: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    address_rewriter: str = field(default="", metadata=_NAMES_OBJECTS)
    extensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store_tables: PackageStateTables | None = None
    collection_folders: tuple[str, ...] = ()
    account_removers: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    used_keys: tuple[str, ...] = ()
    pages: str = field(default="", metadata=_NAMES_OBJECTS)
    table_links: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    search_conditions: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    table_pages: str = field(default="", metadata=_NAMES_OBJECTS)
    scripts: str = ""
    translations: str = ""
    request_observers: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    counters: Mapping[str, str] = field(default_factory=dict)
    request_gates: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    answer_cache: str = field(default="", metadata=_NAMES_OBJECTS)
    result_links: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    row_changes: str = field(default="", metadata=_NAMES_OBJECTS)
    query_observers: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    landing_pages: str = field(default="", metadata=_NAMES_OBJECTS)
    file_preparations: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    file_archivers: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    file_services: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    function_definitions: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    engine_functions: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    job_providers: tuple[str, ...] = field(default=(), metadata=_NAMES_OBJECTS)
    header_columns: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    sky_names: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    external_accounts: str = field(default="", metadata=_NAMES_OBJECTS)
    remote_stores: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    remote_file_cache: str = field(default="", metadata=_NAMES_OBJECTS)
    identifiers: str = field(default="", metadata=_NAMES_OBJECTS)
    federated_planner: str = field(default="", metadata=_NAMES_OBJECTS)
    event_kinds: Mapping[str, str] = field(default_factory=dict, metadata=_NAMES_OBJECTS)
    event_service: str = field(default="", metadata=_NAMES_OBJECTS)

    def __post_init__(self) -> None:
        if not _NAME_PATTERN.fullmatch(self.name):
            message = (
                f"a plug-in package cannot be called {self.name!r}: use lower-case letters, digits and underscores"
            )
            raise ValueError(message)

    def list_object_references(self, field_name: str) -> list[tuple[str, str]]:
        """List the objects that a field names.

        Parameters
        ----------
        field_name
            One of `OBJECT_FIELDS`.

        Returns
        -------
        places
            The place of each object as ``module:name``, after its key in the field. An object without a key has the
            name of the package.
        """
        value = getattr(self, field_name)
        if isinstance(value, Mapping):
            return list(value.items())
        places = value if isinstance(value, tuple) else filter(None, (value,))
        return [(self.name, place) for place in places]


OBJECT_FIELDS = tuple(item.name for item in fields(PluginPackage) if "names_objects" in item.metadata)
