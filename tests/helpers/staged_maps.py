"""Outputs of maps as a run leaves them."""

from helpers.runner_tasks import make_catalogue
from hyper_py.writing.catalogues import describe_columns, write_catalogue
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import as_json


def stage_map(layout, name, n, *, seed=0, pixel_scale=1.0):
    """Write catalogue and record of a map of n sources; return the catalogue."""
    catalog = make_catalogue(n, seed=seed, name=name)
    with Stage(layout.root) as stage:
        write_catalogue(stage, layout, catalog, name=name, pixel_scale=pixel_scale, meta={"rms": 1.0})
        state = {
            "checksum": "c",
            "fingerprint": "f",
            "n_sources": n,
            "pixel_scale": pixel_scale,
            "columns": describe_columns(catalog),
            "sizes": stage.sizes(),
        }
        stage.text(layout.state(name), as_json(state))
    return catalog
