"""Keys of files that are published as they are, and of where they lie."""

from hven.descriptor.value_schema import DescriptorSection, Expression, OneOrMore, Text


class PublishedFilesSection(
    DescriptorSection,
    short="files",
    hints={"file": "files", "name": "title", "media_type": "type", "mime": "type"},
    name="file",
):
    """Files that are published as they are: a row of the table `files`, and an address, for each."""

    files: OneOrMore[Text]
    "file or files, relative to the root; *, ?, [abc], ** are patterns"
    ignore: OneOrMore[Text]
    "patterns of files to leave out"
    root: Text
    (
        "where the files are. Default: beside the descriptor. A directory (one of `roots` in hven.toml, or "
        "below), https://host/path, ftp://host/path, s3://bucket/path"
    )
    at: Text
    "prefix of their paths: with raw, 2020/a.fits becomes raw/2020/a.fits; required if there are several roots"
    from_: Text
    "instead of 'files': the table whose rows name the files: a table of this collection, or schema.table"
    path: Text
    "with 'from': the path below the root, as a template over the row: '{year}/{name}.fits'"
    size: Expression
    "with 'from': size in bytes, an expression over the row; Hven requests an unknown size when a reader needs it"
    sha256: Expression
    "with 'from': checksum, as hexadecimal digits"
    checksums: bool
    (
        "whether each file is read for its SHA-256. Default: true on disk, false elsewhere. Without checksums, "
        "Hven recognises a changed file by its size and time"
    )
    proxied: bool
    (
        "true: this site passes on the files; false: it redirects readers to the other server. Default: false "
        "for http and https in a public collection"
    )
    options: dict[str, Text]
    (
        "options for the other server: user and password for ftp; endpoint_url, region, key, secret, token and "
        "anon for s3; fsspec options for other stores. $NAME is a secret"
    )
    writers: OneOrMore[Text]
    "accounts and groups that may send such files (PUT and DELETE /push/COLLECTION.files/PATH). Default: nobody"
    title: Text
    "title of each file. Default: its name"
    description: Text
    "what is in the files"
    type: Text
    "media type. Default: by the file extension"
