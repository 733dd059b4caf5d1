"""The merged catalogue of a run, and what maps that overlap say of each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyper_py import __version__
from hyper_py.diagnostics import ConfigurationError, InputError

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.overlaps import GivenCatalogue


def merged_tables(
    layout: "Layout", config: "Config", good: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Write the catalogue of all maps, and, if some overlap, the tables that compare them.

    The channels of a cube are no maps that overlap.

    Parameters
    ----------
    layout : Layout
    config : Config
    good : sequence of str
        Maps that are complete, in the order of the inputs.

    Returns
    -------
    names : tuple of str
        Files written.
    notes : tuple of str
        What was compared, one line each.
    remarks : tuple of str
        What is remarkable about overlaps, one line each.
    """
    from hyper_py.writing.catalogues import write_merged
    from hyper_py.writing.overlaps import Overlaps, write_overlaps
    from hyper_py.writing.state import parts_of

    parts = {name: parts_of(layout, name) for name in good}
    names = [part for name in good for part in parts[name]]
    meta = {
        "creator": f"Hyper-Py {__version__}",
        "sigma_thres": config.detection.sigma_thres,
        "n_maps": len(good),
    }
    chosen, given = config.overlaps, given_catalogue(config)
    maps = [name for name in good if parts[name] == [name]]
    if chosen.merged == "none" or (len(maps) < 2 and given is None):
        return write_merged(layout, names, meta=meta), (), ()
    overlaps = Overlaps(layout, maps, radius_beams=chosen.radius_beams)
    shared = overlaps if overlaps.n_shared else None
    written = write_merged(layout, names, meta=meta, overlaps=shared, join=chosen.merged == "join")
    unit = "mJy" if config.units.convert_mJy else "Jy"
    tables, notes, remarks = write_overlaps(overlaps, flux_unit=unit, meta=meta, given=given)
    return (*written, *tables), notes, remarks


def given_catalogue(config: "Config") -> "GivenCatalogue | None":
    """Return the user's catalogue that maps are compared with; None if there is none.

    Raises
    ------
    ConfigurationError
        It cannot be read.
    """
    path, key = config.compared_catalogue(), "overlaps.catalogue"
    if path is None:
        return None
    from hyper_py.reading.source_table import fluxes_of_table, sources_of_table
    from hyper_py.running.forced import check_is_no_output
    from hyper_py.writing.overlaps import GivenCatalogue
    from hyper_py.writing.tables import read_any_table

    if not path.is_file():
        raise ConfigurationError(f"{key}: {path}: no such file")
    check_is_no_output(path, config, key=key)
    try:
        table = read_any_table(path)
        sources = sources_of_table(table, name=path.name, with_sizes=False)
        unit = "mJy" if config.units.convert_mJy else "Jy"
        flux, flux_err, notes = fluxes_of_table(table, name=path.name, unit=unit)
    except InputError as error:
        raise ConfigurationError(f"{key}: {error}") from None
    return GivenCatalogue(
        name=path.stem, ra=sources.longitude, dec=sources.latitude, flux=flux, flux_err=flux_err,
        ids=sources.hyper_ids.astype(str) if sources.ids is None else sources.ids,
        notes=(*sources.notes, *notes),
    )  # fmt: skip
