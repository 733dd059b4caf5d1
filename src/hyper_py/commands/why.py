"""The command `why`: why there is, or is not, a source at a position."""

from pathlib import Path
from typing import Annotated

import typer

from hyper_py.commands.arguments import Overrides, configuration
from hyper_py.commands.terminal import say
from hyper_py.diagnostics import ConfigurationError


def why(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="FITS file of the map.")],
    x: Annotated[str, typer.Argument(help="Zero-based pixel, or right ascension with --sky.")],
    y: Annotated[str, typer.Argument(help="Zero-based pixel, or declination with --sky.")],
    sky: Annotated[
        bool, typer.Option("--sky", help="X and Y are RA and Dec (ICRS): degrees, or hh:mm:ss dd:mm:ss.")
    ] = False,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="Configuration file of the run.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Explain why there is, or is not, a source at a position: shows every check of the detection."""
    from hyper_py.running.inputs import map_name

    files = [str(path)] if config_file is None else [str(path), str(config_file)]
    config, _ = configuration(files, list(overrides or []))
    config = config.for_map(map_name(path))

    from hyper_py.pipeline.why import explain, pixel_of
    from hyper_py.reading.io import read_image
    from hyper_py.running.tasks import reading_options

    limit = 1e9 * config.control.max_memory
    image = read_image(path, max_memory=limit, **reading_options(config))
    try:
        place = pixel_of(image, x, y) if sky else (float(x), float(y))
    except ValueError:
        raise ConfigurationError(f"{x} {y}: not pixel coordinates; --sky for RA and Dec") from None
    for line in explain(image, *place, options=config.options()).lines():
        say(line)
