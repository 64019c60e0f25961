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
        "where the files lie. Default: beside the descriptor. A directory (one of `roots` in hven.toml, "
        "or below), https://host/path, ftp://host/path, s3://bucket/path"
    )
    at: Text
    (
        "what their paths begin with here: with raw, 2020/a.fits becomes raw/2020/a.fits; needed if there"
        " are several roots"
    )
    from_: Text
    "instead of 'files': the table whose rows name the files, of this collection, or schema.table"
    path: Text
    "with 'from': the path below the root, as a template over the row: '{year}/{name}.fits'"
    size: Expression
    "with 'from': bytes, an expression over the row; an unknown size is asked for when a reader comes"
    sha256: Expression
    "with 'from': checksum, as hexadecimal digits"
    checksums: bool
    (
        "whether each file is read for its SHA-256. Default: true on disk, false elsewhere. Without "
        "checksums, size and time tell one state of a file from another"
    )
    proxied: bool
    (
        "true: bytes come through this site; false: readers are led to the other server. Default: false "
        "for http and https of a public collection"
    )
    options: dict[str, Text]
    (
        "how the other server is asked: user, password of ftp; endpoint_url, region, key, secret, token, "
        "anon of s3; options of fsspec for other stores. $NAME is a secret"
    )
    writers: OneOrMore[Text]
    ("accounts and groups that may send such files (PUT and DELETE /push/COLLECTION.files/PATH). Default: nobody")
    title: Text
    "title of each file. Default: its name"
    description: Text
    "what is in the files"
    type: Text
    "media type. Default: by the ending of the name"
