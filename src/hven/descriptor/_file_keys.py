"""Keys of files that are published as they are, and of where they lie."""

from hven.descriptor.value_schema import DescriptorSection, Expression, OneOrMore, Text


class FileSection(
    DescriptorSection, short="files", hints={"file": "files", "name": "title", "media_type": "type", "mime": "type"}
):
    """Files that are published as they are: a row of the table `files`, and an address, for each."""

    files: OneOrMore[Text]
    "file or files, relative to the root: *, ?, [abc], ** are patterns"
    ignore: OneOrMore[Text]
    "patterns of files to leave out"
    root: Text
    (
        "where they lie, default: beside the descriptor. A directory (one of `roots` in hven.toml, or below), "
        "https://host/path, ftp://host/path, s3://bucket/path"
    )
    at: Text
    "what their paths begin with here: raw makes raw/2020/a.fits of 2020/a.fits; needed where there are several roots"
    from_: Text
    "instead of files: the table whose rows name them, of this collection or schema.table"
    path: Text
    "with from: the path below the root, as a template over the row: '{year}/{name}.fits'"
    size: Expression
    "with from: bytes, an expression over the row; what is not known is asked when a reader comes"
    sha256: Expression
    "with from: checksum, as hexadecimal digits"
    checksums: bool
    (
        "whether each file is read for its SHA-256; default: true on disk, false elsewhere. Without it, size and "
        "time tell one state of a file from another"
    )
    proxied: bool
    (
        "true: bytes come through this site; false: readers are led to the other server; default: false for http and "
        "https of a public collection"
    )
    options: dict[str, Text]
    (
        "how the other server is asked: user, password of ftp; endpoint_url, region, key, secret, token, anon of s3; "
        "options of fsspec for other stores. $NAME is a secret's"
    )
    writers: OneOrMore[Text]
    "accounts and groups that may send such files (PUT and DELETE /push/COLLECTION.files/PATH); default: nobody"
    title: Text
    "what each of them is; default: its name"
    description: Text
    "what is in them"
    type: Text
    "media type; default: by the name's ending"
