"""Keys of published files, and of who can see rows and files, and from when."""

from hven.descriptor.value_schema import (
    Condition,
    DescriptorSection,
    Expression,
    OneOrMore,
    Required,
    RetypedText,
    Text,
)


class EmbargoTermSection(DescriptorSection, short="default", name="term"):
    """Months, or a date. The value can depend on the row: {from: obs_collection, values: {suv: 24}, default: 0}."""

    from_: Expression
    "expression over the source's columns. Hven looks up the expression's value in 'values', ignoring case"
    values: dict[str, RetypedText]
    "number of months, or the date, for each value of 'from'"
    default: RetypedText
    (
        "number of months, or the date, for rows whose value is not in 'values'. If 'months' has no 'default', Hven "
        "computes no release date for these rows. If 'not_before' has no 'default', no earliest date applies to them"
    )


class EmbargoSection(DescriptorSection):
    """When rows become public. Each row gets a release date that conditions in `access` can compare with `now`."""

    from_: Required[Expression]
    (
        "moment from which Hven counts the months, for example t_max. It can be a timestamp, a time in ISO format, or "
        "a modified Julian date"
    )
    months: Required[EmbargoTermSection]
    "number of calendar months, for example 12. The number can depend on the row, for example on its obs_collection"
    exempt: Condition
    "condition on the source's columns. For rows that meet it, for example calibrators, 'months' is 0"
    not_before: EmbargoTermSection
    (
        "date before which no row becomes public, except rows that meet 'delivered'. A date without a time means "
        "23:59:59 on that day"
    )
    delivered: Condition
    (
        "condition on the source's columns. For rows that meet it, Hven computes no release date. These rows keep "
        "the date from the source or 'map', if there is one"
    )
    column: Text
    (
        "column with the release dates. Default: obs_release_date. If the source or 'map' gives a row a date in this "
        "column, Hven computes no other date for the row"
    )


class AccessSection(DescriptorSection, short="rows"):
    """Who can see the rows, who is allowed to know that the rows have files, and who can download these files."""

    rows: Text
    (
        "who can see which rows. 'public': everybody can see all rows. 'private': nobody can see the table until you "
        "grant access. 'members': only the project's members can see the table. Otherwise, write a condition on the "
        "row and the reader, for example release_date <= now or reader in (pi, coi) or 'team' in groups"
    )
    files: Text
    "condition that determines who is allowed to know that a row has files. Default: everybody who can see the row"
    take: Text
    (
        "condition that determines who can download a row's files. Default: everybody who is allowed to know about the "
        "files"
    )
    columns: OneOrMore[Text]
    (
        "columns that describe files. They are null for readers who must not know about the files. Default: columns "
        "with standard names and UCDs, such as access_url"
    )
    path: Text
    (
        "column that contains the path of the row's file, as listed in the table 'files'. With this key, the "
        "conditions in 'access' also apply to the file itself"
    )
    contact: Text
    "whom readers can ask for access to locked data. Default: the collection's contact"


class PublishedFilesSection(
    DescriptorSection,
    short="files",
    hints={"file": "files", "name": "title", "media_type": "type", "mime": "type"},
    name="file",
):
    """Files that Hven publishes unchanged. Each file has a row in the table `files`, and an address."""

    files: OneOrMore[Text]
    "path of a file, or a list of paths, relative to 'root'. You can use the patterns `*`, `?`, `[abc]` and `**`"
    ignore: OneOrMore[Text]
    "patterns of files to leave out"
    root: Text
    (
        "where the files are: a directory within the site or within one of the `roots` in hven.toml, "
        "https://host/path, ftp://host/path or s3://bucket/path. Default: the descriptor's directory"
    )
    at: Text
    (
        "prefix of the files' paths. With 'at: raw', 2020/a.fits becomes raw/2020/a.fits. Required if there are "
        "several roots"
    )
    from_: Text
    (
        "instead of 'files': the table whose rows name the files. Write the name of a table of this collection, or "
        "schema.table"
    )
    path: Text
    "with 'from': the path of the file below the root, as a template over the row, for example '{year}/{name}.fits'"
    size: Expression
    (
        "with 'from': the size in bytes, as an expression over the row. If the size is unknown, Hven requests it from "
        "the other server when a reader needs the size"
    )
    sha256: Expression
    "with 'from': the SHA-256 checksum in hexadecimal digits, as an expression over the row"
    checksums: bool
    (
        "whether Hven reads each file to compute its SHA-256. Default: true for files on disk, false for all others. "
        "Without checksums, Hven recognises a changed file by its size and modification time"
    )
    proxied: bool
    (
        "true: this site passes the files on to readers. false: it redirects readers to the other server. Default: "
        "false for http and https in a public collection without 'options', and otherwise true"
    )
    options: dict[str, Text]
    (
        "options for the other server. For ftp: user and password. For s3: endpoint_url, region, key, secret, token "
        "and anon. For other stores: the options of fsspec. $NAME inserts a secret"
    )
    writers: OneOrMore[Text]
    (
        "accounts and groups that can send and delete these files (PUT and DELETE /push/COLLECTION.files/PATH). "
        "Default: nobody"
    )
    title: Text
    "title of each file. Default: its name"
    description: Text
    "what is in the files"
    type: Text
    "media type. Default: Hven derives it from the file extension"
