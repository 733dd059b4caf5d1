"""How options are meant, where the original Hyper-Py means them differently."""

from dataclasses import MISSING, dataclass
from typing import Literal

from hyper_py.checked import Checked, NonNegative, Positive, document, option


@dataclass(frozen=True, kw_only=True)
class AmplitudeBounds(Checked, key_path="policy.amplitude_bounds"):
    """Bounds of fitted amplitudes, in units of the local peak."""

    isolated: NonNegative = option(MISSING, "Smallest amplitude of an isolated source.")
    grouped: NonNegative = option(MISSING, "Smallest amplitude of a member of a group.")
    largest: Positive = option(MISSING, "Largest amplitude.")


@dataclass(frozen=True, kw_only=True)
class Policy(Checked, key_path="policy"):
    """How options are meant, where the original Hyper-Py means them differently.

    The defaults are the meaning in a new configuration; the one in a configuration of the original is
    `hyper_py.config.ORIGINAL_POLICY`.
    """

    options_in_flux_unit: bool = option(
        False,
        "`rms_value`, `f_scale`, `lambda_l2` and weighted residuals are in the unit of the catalogue per "
        "pixel: mJy/pixel with `convert_mJy`, else Jy/pixel. Otherwise `rms_value` is in Jy/pixel, the "
        "others in units of the noise.",
    )
    background_passes: Literal[1, 2] = option(
        2,
        "How often a polynomial background is fitted under white noise; the second time the sources are "
        "known and subtracted.",
    )
    interpolate_neighbours: bool = option(
        False,
        "Before a separate polynomial is fitted, sources outside the group are replaced by a smooth "
        "interpolation, and only the group's own are masked. Otherwise all are masked.",
    )
    cutout_statistics: bool = option(
        False,
        "Mean and rms in the weights are the clipped ones of the cutout, and weights are made of the map "
        "that is fitted. Otherwise they are those of what the background left on its pixels, and weights "
        "are made of the map minus that background.",
    )
    cutout_ridge: bool = option(
        False,
        "The ridge penalty is on all coefficients, the constant included, in pixels of the cutout. "
        "Otherwise the constant is free, and coordinates run from -1 to 1.",
    )
    round_beam: bool = option(
        False, "Sizes are bounded in units of the mean beam. Otherwise of its minor and major axis."
    )
    moment_size_factor: Positive | None = option(
        None,
        "The largest size of a source is at least this times that of its second moments; None: no such rule.",
    )
    amplitude_bounds_separate: AmplitudeBounds | None = option(
        None, "Bounds of amplitudes on a background that was fitted before; None: they are free."
    )
    amplitude_bounds_joint: AmplitudeBounds | None = option(
        None, "Bounds of amplitudes without such a background; None: they are free."
    )
    start_sigma: Positive | None = option(
        None,
        "Smallest amplitude at which the fit of an isolated source starts, in rms of the cutout; None: it "
        "starts at the local peak.",
    )
    shift_pix: Positive | None = option(
        None, "How far a centre may move with `vary`, in pixels; None: half a beam."
    )
    moment_discs: bool = option(
        False,
        "A group is fitted on discs of its sources' moment sigmas plus `fit_aperture_sigma`. Otherwise on "
        "discs of the largest size plus `fit_aperture_sigma`, in a joint fit of at least `fix_min_box` "
        "beams.",
    )
    keep_below_noise: bool = option(
        False,
        "The catalogue keeps detections of which the fit left no peak or flux above its own error. Otherwise "
        "they are no sources; the log counts them, and `hyper-py why` names them.",
    )
    residuals_column: Literal["background", "residual"] = option(
        "background",
        "What RESIDUALS holds: the background under the source; or the clipped median of what is left after "
        "subtraction, in a joint fit the mean of the fitted background.",
    )


document(AmplitudeBounds, Policy)
