"""Noise and peaks of a map, as the options of an extraction say."""

from dataclasses import replace
from typing import cast

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.highpass import detect_high_pass
from hyper_py.detection.matched import detect_matched
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.noise.level import NoiseLevel
from hyper_py.noise.measure import local_rms
from hyper_py.numerics.parallel import once
from hyper_py.numerics.tiles import LazyPlane, Plane, combined, kept_like, sample, size_of
from hyper_py.options import Options

_LEAST_NOISE = 1e-7
"""Of the brightest pixel: the rounding of float32; less is no noise."""


def check_streamable(image: SkyImage, options: Options) -> None:
    """Refuse choices that need the whole map in memory for a map of which the pixels stay in their file.

    Raises
    ------
    ConfigurationError
        Says which.
    """
    background, white = options.background, options.fit_options.noise_model == "white"
    in_boxes = background.is_separate or (white and background.method != "conditional")
    if in_boxes and background.fix_min_box == 0.0 and not options.detection_only:
        raise ConfigurationError(
            f"{image.name}: background.fix_min_box = 0 fits one polynomial to the whole map, which is more "
            "than control.max_memory: set that higher, or background.fix_min_box to some beams"
        )


def noise_level(image: SkyImage, options: Options) -> NoiseLevel:
    """Return mean and rms of a map as the options say: given, from its error map, or measured.

    On a map with a primary beam it is measured where the noise is uniform, and then divided by the response.
    """
    detection = options.detection
    size = options.tile_size_pix
    mean = once(lambda: clipped_statistics(sample(image.data, size=size)).mean)
    if detection.use_manual_rms:
        return NoiseLevel(mean=mean, rms=detection.rms_value * options.working_unit)
    if image.error is not None and image.relative_rms is not None:
        known = combined(
            lambda data, error: np.where(np.isfinite(data), error, np.nan), image.data, image.error
        )
        typical = once(lambda: float(np.median(sample(known, size=size))))
        return NoiseLevel(mean=mean, rms=_times(typical, image.relative_rms))
    if detection.rms_map == "local":
        mesh = max(round(detection.rms_mesh_beams * image.beam_fwhm_pix), 8)
        local = cast(FloatArray, local_rms(image.flattened, mesh=mesh, size=size))
        return NoiseLevel(
            mean=mean, rms=local if image.relative_rms is None else _product(local, image.relative_rms)
        )
    rms = once(lambda: clipped_statistics(sample(image.flattened, size=size)).rms)
    return NoiseLevel(mean=mean, rms=rms if image.relative_rms is None else _times(rms, image.relative_rms))


def _times(rms: float, relative: FloatArray) -> FloatArray:
    """Return a relative rms in the unit of the map."""
    scaled = LazyPlane(size_of(relative), lambda *where: rms * relative[where])
    return cast(FloatArray, kept_like(scaled, relative))


def _product(plane: Plane, other: FloatArray) -> FloatArray:
    """Return two planes multiplied, an array if the other one is."""
    return cast(FloatArray, kept_like(combined(np.multiply, plane, other), other))


def check_noise(image: SkyImage, noise: NoiseLevel, options: Options) -> None:
    """Raise `InputError` for a map without noise: significance means nothing there."""
    if not noise.typical > 0.0:
        raise InputError(f"{image.name}: the map does not vary: nothing to detect")

    def brightest() -> float:
        values = image.data if image.is_whole else sample(image.data, size=options.tile_size_pix)
        return float(np.nanmax(np.abs(values - noise.mean)))

    share = noise.typical / once(brightest)
    if share < _LEAST_NOISE:
        raise InputError(
            f"{image.name}: the map has no noise, its rms is {share:.1g} of the brightest pixel: add noise "
            "to it if simulated, or set detection.use_manual_rms and detection.rms_value"
        )


def find_peaks(image: SkyImage, noise: NoiseLevel, options: Options) -> Peaks:
    """Detect peaks as section `detection` of the options says, where the noise is uniform.

    Raises
    ------
    InputError
        If the map does not vary, or has no noise.
    """
    check_noise(image, noise, options)
    detection, relative = options.detection, image.relative_rms
    beam, limits = image.central_beam_covariance, peak_limits(image, options)
    if detection.method == "matched":
        peaks = detect_matched(
            image.flattened,
            beam_covariance=beam,
            limits=limits,
            max_false_rate=detection.max_false_rate,
            size=options.tile_size_pix,
        )
    else:
        peaks = detect_high_pass(
            image.flattened,
            beam_covariance=beam,
            rms=flattened_rms(image, noise),
            limits=limits,
            kernel_size=detection.kernel_size_pix,
            snap_radius=detection.snap_radius_pix,
            size=options.tile_size_pix,
        )
    if relative is not None:
        peaks = replace(peaks, peak=peaks.peak * NoiseLevel(mean=0.0, rms=relative).at(peaks.x, peaks.y))
    return peaks


def flattened_rms(image: SkyImage, noise: NoiseLevel) -> float | FloatArray:
    """Return the rms of the flattened map of an image whose noise is given."""
    relative = image.relative_rms
    if relative is None:
        return noise.rms
    divided = LazyPlane(image.shape, lambda *where: noise.part(*where) / relative[where])
    return cast(FloatArray, kept_like(divided, image.data))


def peak_limits(image: SkyImage, options: Options) -> PeakLimits:
    """Return the limits of the checks in pixels of a map."""
    detection = options.detection
    return PeakLimits(
        sigma_threshold=detection.sigma_thres,
        roundlim=detection.roundlim,
        sharplim=detection.sharplim,
        min_distance=detection.dist_limit_arcsec / image.pixel_scale,
        margin=options.photometry.aper_inf * image.beam_fwhm_pix,
        shoulder_threshold=detection.shoulder_threshold if detection.shoulder_filter else None,
        shoulder_ring_factor=detection.shoulder_ring_factor,
        shoulder_n_angles=detection.shoulder_n_angles,
        shoulder_neighbor_mask=detection.shoulder_neighbor_mask,
    )
