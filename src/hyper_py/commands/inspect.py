"""The command `inspect`: what is read from a map, and what is missing."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.commands.arguments import Overrides
from hyper_py.commands.terminal import say
from hyper_py.diagnostics import InputError

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.reading.inspection import Inspection


def inspect(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="FITS file.")],
    overrides: Overrides = None,
) -> None:
    """Show what is read from a map, and what is missing.

    The exit status is 1 if the map cannot be run as it is.
    """
    from hyper_py.config import Config, apply_overrides

    config = Config.from_mapping(apply_overrides({"version": 2}, overrides or []), source="--set")

    from hyper_py.reading.inspection import inspect_image
    from hyper_py.reading.recognise import is_casa_image
    from hyper_py.running.tasks import reading_options

    if path.is_dir() and not is_casa_image(path):
        raise InputError(f"{path}: a directory; name one of the maps in it")
    found = inspect_image(path, **reading_options(config))
    say(path)
    given = [] if found.problems else describe_given(path, config)
    *facts, result = describe(found)
    _show_facts([*facts, *given, result])
    if found.problems:
        raise typer.Exit(1)


def describe_given(path: Path, config: "Config") -> list[tuple[str, str]]:
    """Return what there is to say of the given sources of a configuration on a map; nothing without any."""
    from hyper_py.running.forced import fixed_sources

    fixed = fixed_sources(config)
    if fixed is None:
        return []
    from hyper_py.reading.io import open_cube
    from hyper_py.running.tasks import reading_options

    with open_cube(path, **reading_options(config)) as cube:
        image = cube.channel(0)
    here, small = fixed.on_map(image), fixed.below_beam(image.beam)
    text = f"{here.size} sources, {here.size - here.sum()} of them not on the map"
    small_ones = f", {small.sum()} with sizes below the beam" if small.any() else ""
    return [("given", text + small_ones), *(("note", note) for note in fixed.notes)]


def describe(found: "Inspection") -> list[tuple[str, str]]:
    """Return what was read from a map as pairs of a word and a line."""
    ny, nx = found.shape
    facts = [("file", found.hdus), ("map", f"extension {found.hdu}, {nx} x {ny} pixels (x, y)")]
    if found.n_channels > 1:
        facts.append(("cube", f"{found.n_channels} channels; what follows is of the first"))
    if found.blank_share:
        facts.append(("blank", f"{found.blank_share:.1%} of the pixels"))
    if found.projection:
        centre = "" if found.centre is None else "; centre {:.5f}, {:+.5f} deg".format(*found.centre)
        facts.append(("sky", f"{found.frame or 'unknown frame'} ({found.projection}){centre}"))
    if found.pixel is not None:
        facts.append(("pixel", _pixel(found)))
    if found.beam is not None:
        facts.append(("beam", _beam(found)))
    if found.unit:
        facts.append(("unit", _unit(found)))
    if found.frequency is not None:
        facts.append(("frequency", f"{found.frequency[0] / 1e9:.6g} GHz; from {found.frequency[1]}"))
    if found.rms is not None and found.peak is not None:
        times = f", {found.peak / found.rms:.3g} times that" if found.rms > 0 else ""
        rms = f"{found.rms:.4g} {found.unit}".strip()
        text = f"rms {rms} (3-sigma clipped); peak {found.peak:.4g}{times}"
        facts.append(("noise", text))
    if found.error is not None:
        text = (
            f"median {found.error[0]:.4g} {found.unit}; the map over its errors has rms {found.error[1]:.3g}"
        )
        facts.append(("errors", text))
    if found.primary_beam is not None:
        facts.append(("response", "primary beam from {:.3g} to {:.3g}".format(*found.primary_beam)))
    facts += [("note", text) for text in found.notes]
    if found.rms == 0.0:
        facts.append(("note", "the map does not vary: nothing can be detected in it"))
    facts += [("missing", text) for text in found.problems]
    if found.beam_pixels is not None and found.beam_pixels < 2.0:
        facts.append(
            ("note", f"a beam of {found.beam_pixels:.3g} pixels is too coarsely sampled to fit sizes")
        )
    return [*facts, ("result", _verdict(found))]


def _verdict(found: "Inspection") -> str:
    if found.problems:
        return "cannot be run as it is; inspect takes --set KEY=VALUE as run does, to try what is missing"
    if found.n_channels > 1:
        return "can be run as it is, channel by channel"
    return "can be run as it is"


def _pixel(found: "Inspection") -> str:
    x, y = found.pixel or (0.0, 0.0)
    low, high = found.pixel_area_range or (1.0, 1.0)
    times = f"{high / low - 1.0:.1%}" if high < 2.0 * low else f"a factor of {high / low:.3g}"
    varies = f"; areas vary by {times} over the map" if high > 1.001 * low else ""
    return f"{x:.4g} x {y:.4g} arcsec{varies}"


def _beam(found: "Inspection") -> str:
    beam = found.beam
    assert beam is not None  # for type checkers
    pixels = "" if found.beam_pixels is None else f", {found.beam_pixels:.3g} pixels"
    shape = f"{beam.major:.4g} arcsec" if beam.major == beam.minor else (
        f"{beam.major:.4g} x {beam.minor:.4g} arcsec at {beam.pa:.4g} deg east of north"
    )  # fmt: skip
    if beam.area is not None:
        pixels += f", area {beam.area:.4g} arcsec2 ({beam.flux_factor(beam.fwhm):.3g} times the Gaussian's)"
    many = f"; {found.n_beams} different ones in the cube" if found.n_beams > 1 else ""
    return f"FWHM {shape}{pixels}; from {beam.source}{many}"


def _unit(found: "Inspection") -> str:
    text = f"{found.unit}; from {found.unit_source}"
    if found.jy_per_pixel is None:
        return text
    low, high = found.jy_per_pixel
    factor = f"{low:.5g}" if high <= 1.001 * low else f"{low:.5g} to {high:.5g}"
    return f"{text}; 1 {found.unit} is {factor} Jy/pixel"


def _show_facts(facts: "Sequence[tuple[str, str]]") -> None:
    columns = max(get_terminal_size((100, 24)).columns, 40)
    for name, text in facts:
        indent = " " * 11
        lines = textwrap.wrap(
            text, columns - len(indent), break_long_words=False, break_on_hyphens=False
        ) or [""]
        say("\n".join([f"{name:<{len(indent)}}{lines[0]}", *(indent + line for line in lines[1:])]))
