"""Run the mappings of a descriptor over its sources as ingest does, without a site."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from hven.descriptor import mapping as mappings
from hven.model import plugins
from hven.sources import ROW_NUMBER_COLUMN, SourceContext


def compile_mapping(spec, resource, source=0):
    one = spec.sources[source]
    module = plugins.load_plugin("sources", one.kind)
    options = module.Options.model_validate(dict(one.options))
    context = SourceContext(directory=resource.path.parent)
    mapping = mappings.compile_mapping(spec, module.open(options, context).list_columns(), resource)
    return mapping, module.open(options, context)


def run_mapping(engine, mapping, batch):
    """Run a mapping over a batch; return one Arrow table for each query, in the order of source rows."""
    batch = batch if isinstance(batch, pa.RecordBatch) else batch.combine_chunks().to_batches()[0]
    for call in mapping.calls:
        arguments = engine.evaluate_query(call.argument_query, {"source": batch, **mapping.lookups})
        batch = batch.append_column(
            call.output_column, call.load_function()(*[column.combine_chunks() for column in arguments.columns])
        )
    return batch, [
        engine.evaluate_query(query, {"source": batch, **mapping.lookups}).sort_by(ROW_NUMBER_COLUMN)
        for query in mapping.queries
    ]


def read_rows(engine, resource):
    """Read the rows of all tables as JSON values."""
    found = {}
    for spec in resource.tables:
        mapping, source = compile_mapping(spec, resource)
        found[spec.table.name] = []
        for batch in source.read_batches(mapping.needed_columns):
            for answer in run_mapping(engine, mapping, batch)[1]:
                table = answer.drop_columns([ROW_NUMBER_COLUMN])
                types = {column.name: column.type for column in mapping.table.columns}
                assert table.column_names == list(types)
                found[spec.table.name] += [
                    {name: _value_to_json(value, types[name]) for name, value in row.items()}
                    for row in table.to_pylist()
                ]
    return found


def _value_to_json(value, kind):
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or not kind.is_string:
        return value
    return str(value)
