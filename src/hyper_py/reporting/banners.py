"""What stands above a map when something is wrong with it, and the command that mends it if there is one."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_REMEDIES = (
    # What a warning says, and the options that mend it.
    ("set io.error_hdu, or mask the edges", "--error ERRORS.fits"),
    ("no beam", "--beam FWHM"),
    ("is the beam right", "--beam FWHM"),
    ("a fitted size is at its bound", "--set photometry.aper_sup=8"),
    ("lacks scales of its sources", "--set survey.psf=DIRTY_BEAM.fits"),
    ("inspect the map before you use the table", ""),
    ("given sources are not on the map", ""),
    ("have a size (FWHM_1, FWHM_2) below the beam", "--set detection.fixed_source_sizes=intrinsic"),
    ("left out, the map was read in pieces", "--set control.max_memory=16"),
)
_REPLACED = {"--error": "io.error_hdu", "--beam": "survey."}
"""Keys that an option stands for."""
_MOST_WORDS = 300
_LOUD_SHARE = 0.1
"""Real emission makes some squares loud in many a map; edges make many."""
_ASSUMED = "noise assumed"


@dataclass(frozen=True, kw_only=True)
class Banner:
    """A fault, and the command that mends it; an empty one if none does."""

    text: str
    command: str = ""


def banners(facts: Mapping[str, Any], entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Banner]:
    """Return what is wrong with a map.

    Parameters
    ----------
    facts : mapping
        Of its report data.
    entry : mapping
        Its part of the manifest.
    manifest : mapping
        Of the run.
    """
    found = []
    for text in map(str, entry.get("warnings", ())):
        options = next((options for said, options in _REMEDIES if said in text), None)
        if options is not None:
            command = _command(entry, manifest, options) if options else ""
            found.append(Banner(text=_sentence(text), command=command))
    noise = facts.get("noise")
    share = noise.get("loud_share") if isinstance(noise, Mapping) and noise.get("kind") == "global" else None
    if isinstance(share, float) and share > _LOUD_SHARE:
        found.append(
            Banner(
                text="In "
                f"{share:.0%} of the map the noise is more than three times stronger than elsewhere, "
                "but one rms is used for the whole map: sources in the noisy parts may be "
                "false. Give the errors of the map.",
                command=_command(entry, manifest, "--error ERRORS.fits"),
            )
        )
    counts, n = facts.get("flag_counts"), entry.get("n_sources", 0)
    assumed = counts.get(_ASSUMED) if isinstance(counts, Mapping) else None
    if isinstance(assumed, int) and n and 2 * assumed > n:
        found.append(
            Banner(
                text=f"The map is too small to measure the correlation of its noise: that of the beam was "
                f"assumed for {assumed} of {n} rows, and their errors are approximate. Use a larger cutout."
            )
        )
    return found


def _command(entry: Mapping[str, Any], manifest: Mapping[str, Any], options: str) -> str:
    """Return the command that runs the map again, with these options; an empty one if no command ran it."""
    from hyper_py.config import Config

    configuration = manifest["configuration"]
    if "path" not in entry or "paths" not in configuration:
        return ""  # an extraction in Python
    words = ["hyper-py", "run", str(entry["path"]), "-o", str(configuration["paths"]["output"]["dir_root"])]
    defaults = flat(Config().to_mapping())
    replaced = _REPLACED.get(options.split()[0], "paths.output.dir_root")
    for key, text in flat(configuration).items():
        elsewhere = key == "paths.output.dir_root" or key.startswith(("maps.", replaced))
        if defaults.get(key, "null") != text and not elsewhere:
            words += ["--set", f"{key}={text}"]
    return f"{shlex.join(words)} {options}"


def flat(values: Any, prefix: str = "") -> dict[str, str]:
    """Return the keys of a configuration by their paths."""
    if not isinstance(values, Mapping):
        return {prefix: json.dumps(values, ensure_ascii=False)}
    parts = ((f"{prefix}.{key}" if prefix else str(key), value) for key, value in values.items())
    return {path: text for key, value in parts for path, text in flat(value, key).items()}


def _sentence(text: str) -> str:
    short = text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"
    return f"{short[:1].upper()}{short[1:]}{'' if short.endswith(('.', '?', '…')) else '.'}"
