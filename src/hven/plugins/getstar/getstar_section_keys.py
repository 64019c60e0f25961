"""What the key ``getstar`` contains."""

from typing import Annotated

from pydantic import Field

from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class OldFieldSection(DescriptorSection, short="name", name="old field"):
    """Name and UCD of a column in answers for old programs."""

    name: Text
    "name of the FIELD. Default: the name of the column; for the position: RAJ2000 and DEJ2000"
    ucd: Text
    "UCD of the FIELD, from the list that preceded UCD1+, for example PHOT_JHN_V"


class GetstarSection(DescriptorSection, hints={"name": "names", "columns": "fields"}):
    """The table of stars that `/getstar` reads."""

    names: Required[OneOrMore[Text]]
    (
        "names of the stars, as templates that contain columns of text or whole numbers, for example ['{main_id}', "
        "'HD {HD}', 'TYC {TYC1}-{TYC2}-{TYC3}']"
    )
    radius: Annotated[float, Field(ge=0, le=60)]
    (
        "largest distance in arcsec between the position that the resolver returns for a name and the star in the "
        "table. Default: 2"
    )
    epoch: Annotated[float, Field(ge=1800, le=2100)]
    "epoch of the positions, as a Julian year. Default: 2000"
    links: dict[str, Text]
    (
        "pages about the star on other servers, as 'title: address'. The address is a template that contains columns, "
        "for example https://simbad.cds.unistra.fr/simbad/sim-id?Ident=HD{HD}"
    )
    fields: dict[str, OldFieldSection]
    "names and UCDs of columns in answers for old programs, as 'column: {name: .., ucd: ..}'"
    server: Text
    "name of the server in answers for old programs, for example SearchCal Server v6.0.0. Default: Hven"
    style_sheet: Text
    "address of the XSL style sheet to which answers for old programs refer"
