"""What the keys ``entries`` and ``comments`` contain."""

from typing import Literal

from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Text


class EntriesSection(DescriptorSection, empty=True, hints={"authors": "submitters", "users": "submitters"}):
    """Rows that users propose in forms or by program. The moderators are the `writers` of the source `push`."""

    submitters: OneOrMore[Text]
    "who can propose rows: accounts, groups or `project:NAME:contributor`. Default: all accounts that see the table"
    warnings: Literal["show", "block"]
    "block: users can't submit rows with warnings; show: author and moderators see the warnings. Default: show"
    reason: Literal["optional", "required"]
    "required: submissions and acceptances need a reason, as refusals always do. Default: optional"
    history: Literal["private", "public"]
    (
        "public: everybody who sees a row sees its versions, with their authors, dates and the reasons of moderators; "
        "private: only authors and moderators do. Default: private"
    )


class CommentsSection(DescriptorSection, empty=True, hints={"users": "authors", "writers": "authors"}):
    """Comments on the rows of a table, and reports of errors in their values."""

    authors: OneOrMore[Text]
    "who can write comments: accounts, groups or `project:NAME:reader`. Default: all accounts that see the row"
    moderators: OneOrMore[Text]
    "who decides on comments. Default: those who may edit the texts of the collection"
