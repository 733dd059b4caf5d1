"""What a configuration file of the original Hyper-Py means by the keys that it has and those that it lacks.

The fields of `hyper_py.policy.Policy` say what each of them decides.
"""

from typing import Any

from hyper_py.policy import AmplitudeBounds, Policy

ORIGINAL_POLICY = Policy(
    options_in_flux_unit=True,
    background_passes=1,
    interpolate_neighbours=True,
    cutout_statistics=True,
    cutout_ridge=True,
    round_beam=True,
    moment_size_factor=1.2,
    amplitude_bounds_separate=AmplitudeBounds(isolated=0.8, grouped=0.4, largest=1.3),
    amplitude_bounds_joint=AmplitudeBounds(isolated=0.4, grouped=0.2, largest=1.5),
    start_sigma=3.0,
    shift_pix=1.0,
    moment_discs=True,
    keep_below_noise=True,
    residuals_column="residual",
)

ORIGINAL_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "detection": {
        "method": "highpass",
        "sigma_thres": 5.0,
        "max_false_rate": None,
        "rms_map": "global",
        "rms_mesh_beams": 30.0,
        "use_manual_rms": False,
        "rms_value": 1e-6,
        "kernel_size_pix": 0,
        "roundlim": [-4.0, 4.0],
        "sharplim": [-2.0, 2.0],
        "dist_limit_arcsec": 0.0,
        "snap_radius_pix": 1.0,
        "shoulder_filter": False,
        "shoulder_threshold": 0.5,
        "shoulder_ring_factor": 1.5,
        "shoulder_n_angles": 16,
        "shoulder_neighbor_mask": 1.0,
        "deblend_residual": False,
        "deblend_sigma_thres": 4.5,
        "defects": "keep",
        "negative": False,
    },
    "photometry": {
        "aper_inf": 1.0,
        "aper_sup": 2.0,
        "fwhm_radius_ratio": 0.5,
        "aperture_correction": False,
    },
    "fit_options": {
        "noise_model": "white",
        "fit_method": "least_squares",
        "loss": "linear",
        "f_scale": 0.1,
        "max_nfev": 50000,
        "xtol": 1e-8,
        "ftol": 1e-8,
        "gtol": 1e-8,
        "weights": "snr",
        "power_snr": 5.0,
        "spatial_weight_sigma": 1.5,
        "fit_aperture_sigma": 1.0,
        "calc_covar": False,
        "min_method": "nmse",
        "verbose": False,
        "use_l2_regularization": True,
        "lambda_l2": 1e-4,
        "vary": False,
        "bg_fitters": ["least_squares"],
        "huber_epsilons": [1.1, 1.35, 1.7, 2.0],
    },
    "background": {
        "method": "polynomial",
        "fit_gauss_and_bg_separately": True,
        "pol_orders_separate": [0, 1, 2],
        "fix_min_box": 3.0,
        "fix_max_box": 5.0,
        "fit_gauss_and_bg_together": False,
        "polynomial_orders": [0],
        "pol_orders_bkg_no_sources": [0],
        "spectral_smoothing": 0.0,
    },
    "cube": {"positions": "per_channel", "channel": 1, "shapes": "fixed", "extent": "boxes"},
    "io": {"error_hdu": None, "fill_values": []},
    "overlaps": {"merged": "none"},
}
"""What keys mean that an original file lacks. Every key that decides what is measured is here, so that a new
default of ours never changes what an original file does."""
