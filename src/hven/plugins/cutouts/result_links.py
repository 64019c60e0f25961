"""The link by which results of queries describe the service of cut-outs (DataLink 1.1, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import (
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    write_target_column_reference,
)
from hven.plugins.cutouts import cutout_params

if TYPE_CHECKING:
    from hven.model.table import Table


def build_cutout_service_link(table: Table) -> LinkTemplate | None:
    """Describe the cut-out service of a row's file; pyvo looks for it beside the service of links."""
    if table.identifier_column is None:
        return None
    row_identifier = TemplateExpression(write_target_column_reference(table.identifier_column.name))
    service = ServiceDescriptor(
        address=(SITE_URL_EXPRESSION, "/soda/sync"),
        inputs=(
            ServiceParameter(param=cutout_params.ID_PARAM, value=(row_identifier,)),
            ServiceParameter(param=cutout_params.TABLE_PARAM, value=(table.qualified_name,)),
            *(ServiceParameter(param=param) for param in cutout_params.CUTOUT_PARAMS),
        ),
        standard_id=cutout_params.SODA_STANDARD_ID,
    )
    return LinkTemplate(
        semantics="#cuts",
        address=(),
        description=(f"Parts of the files of {table.qualified_name}",),
        type=("application/fits",),
        service=service,
    )
