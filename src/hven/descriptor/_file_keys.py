"""Keys of files that are published as they are, and of where they lie."""

from hven.descriptor.value_schema import DescriptorSection, Expression, OneOrMore, Text


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
