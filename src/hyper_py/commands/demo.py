"""The command `demo`: a map simulated, its sources extracted and compared with the truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.commands.terminal import say
from hyper_py.commands.validate import draw, show_tables
from hyper_py.diagnostics import ConfigurationError, InputError

if TYPE_CHECKING:
    from hyper_py.simulation.simulate import Simulation

DEMO_SKY = {
    "name": "demo", "shape": [240, 320], "n_sources": 60, "unit": "Jy/beam", "peak_range": [5.0, 60.0]
}  # fmt: skip
DEMO_MAP = "demo.fits"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Output directory.")] = Path(
        "hyper_demo"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 1,
) -> None:
    """Simulate a map, extract its sources and compare them with the truth."""
    map_path = output / DEMO_MAP
    if output.is_dir() and any(output.iterdir()) and not map_path.exists():
        raise ConfigurationError(f"{output}: not empty, and not of an earlier demo; choose another directory")

    from hyper_py.config import Config
    from hyper_py.running import runner
    from hyper_py.running.scoring import validate_files
    from hyper_py.simulation.simulate import simulate_image
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.simulated_files import truth_path, write_simulation
    from hyper_py.writing.staging import write_text
    from hyper_py.writing.state import as_json

    simulation = simulate_image("deep", seed=seed, **DEMO_SKY)
    write_simulation(map_path, simulation)
    say(_summary(simulation))
    root = str(output.absolute())
    config = Config.from_mapping(
        {
            "version": 2,
            "paths": {"output": {"dir_root": root}},
            "control": {"parallel_maps": False},
            "outputs": {"tables": ["ecsv", "ipac", "csv"]},
        }
    )
    result = runner.run(config, [map_path])
    if result.failures:
        raise InputError(result.failures[0].reason)
    say(f"Extracted: {result.n_sources} sources in {result.seconds:.1f} s.")
    layout = Layout.from_config(config)
    catalog = layout.table(map_path.stem, "ecsv")
    validation = validate_files(output / catalog, truth_path(map_path))
    write_text(output, "validation.json", as_json(validation.to_dict()))
    draw(validation, output / "validation.png", title="hyper-py demo")
    counts, *others = validation.tables()
    show_tables([counts, *(table for table in others if "all sources" in table.title)])
    places = {
        "report/index.html": "report",
        "validation.png": "measured against true, in four panels",
        catalog: "catalogue (and as .txt, .csv)",
        layout.region(map_path.stem, "ellipses"): "apertures, for DS9 or CARTA",
        DEMO_MAP: "the map",
        truth_path(map_path).name: "its truth",
    }
    shown = [(str(output / name), what) for name, what in places.items() if (output / name).exists()]
    say("\nWhere to look:")
    width = max(len(name) for name, _ in shown)
    for name, what in shown:
        say(f"  {name:<{width}}  {what}")
    say("\nNow your own: hyper-py inspect MAP.fits, then hyper-py run MAP.fits -o OUT")


def _summary(simulation: "Simulation") -> str:
    ny, nx = simulation.image.shape
    low, high = simulation.model.peak_range
    return (
        f"Simulated: {nx} x {ny} pixels, {len(simulation.truth)} sources with peaks of {low:g} to {high:g} "
        "times the noise."
    )
