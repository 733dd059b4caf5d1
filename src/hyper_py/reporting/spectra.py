"""Spectra of sources that were measured in every channel of a cube: table and figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from hyper_py.writing.layout import Layout
from hyper_py.writing.rows import read_rows, recorded
from hyper_py.writing.staging import Stage
from hyper_py.writing.table_columns import prepare_table, template_of
from hyper_py.writing.tables import write_table

COLUMNS = (
    "HYPER_ID", "RA", "DEC", "CHANNEL", "FREQUENCY", "VELOCITY", "WAVELENGTH", "SPECTRAL_VALUE", "FLUX",
    "FLUX_ERR", "FLUX_PEAK", "FLUX_PEAK_ERR", "FLUX_GAUSS", "FLUX_GAUSS_ERR", "FLUX_ULIM", "RESIDUALS",
    "STATUS", "FLAGS",
)  # fmt: skip
"""Columns of the table, those of them that the channels' catalogues have."""


def spectra_table(layout: Layout, channels: Sequence[str]) -> Table:
    """Return one row for each source and channel, sorted by source, then by channel.

    Parameters
    ----------
    layout : Layout
    channels : sequence of str
        Names of complete channels in which the same sources were measured.
    """
    records = [recorded(layout, name) for name in channels]
    known = {name: (unit, text) for name, unit, text in records[0].columns}
    names = [name for name in COLUMNS if name in known]
    rows = [read_rows(layout, record)[names] for record in records]
    table = Table(np.concatenate(rows))
    table = table[np.lexsort((table["CHANNEL"], table["HYPER_ID"]))]
    for name in names:
        table[name].unit, table[name].description = known[name][0] or None, known[name][1]
    table.meta["pixel_scale"] = min(one.pixel_scale for one in records if one.pixel_scale)
    return table


def write_spectra(
    layout: Layout, cube: str, channels: Sequence[str], *, meta: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write the spectra of a cube's sources as tables, and as a figure; return the files' names."""
    from hyper_py.reporting.spectra_figure import draw_spectra

    table = spectra_table(layout, channels)
    prepared = prepare_table(table, pixel_scale=table.meta["pixel_scale"], meta=dict(meta))
    template = template_of(prepared, text_widths={}, meta=prepared.meta)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            write_table(stage.path(layout.spectra(cube, form)), [prepared], form=form, template=template)
        if len(table):
            draw_spectra(table, stage.path(layout.spectra_figure(cube)), title=cube)
    return stage.names
