"""Catalogues written as the package writes them."""

from hyper_py.writing.table_columns import prepare_table, template_of
from hyper_py.writing.tables import write_table


def write_batches(path, batches, form, *, pixel_scale=0.013):
    """Write catalogues as the batches of one table; return them as they were prepared."""
    prepared = [prepare_table(batch, pixel_scale=pixel_scale) for batch in batches]
    widths = {"MAP_ID": max((len(str(v)) for b in prepared for v in b["MAP_ID"]), default=1)}
    template = template_of(prepared[0], text_widths=widths, meta=prepared[0].meta)
    write_table(path, iter(prepared), form=form, template=template)
    return prepared


def write_one(writer, path, catalogue):
    """Write one catalogue; return it as it was prepared."""
    prepared = prepare_table(catalogue, pixel_scale=0.013)
    writer(path, template_of(prepared, text_widths={}, meta=prepared.meta), [prepared])
    return prepared
