"""The configuration file, in YAML: read, checked, explained.

The sections are the one place where a key is written down; the commented template, the reference table of
the documentation and the error messages are derived from them. Nothing here imports NumPy, so that a wrong
configuration is reported at once.
"""

from hyper_py.config.maps import MAP_SECTIONS
from hyper_py.config.model import FILE_NAME, Config, find_config, load_config
from hyper_py.config.original import ORIGINAL_DEFAULTS, ORIGINAL_POLICY
from hyper_py.config.reference import reference_table, template
from hyper_py.config.text import apply_overrides, parse_yaml, read_mapping

__all__ = [
    "FILE_NAME",
    "MAP_SECTIONS",
    "ORIGINAL_DEFAULTS",
    "ORIGINAL_POLICY",
    "Config",
    "apply_overrides",
    "find_config",
    "load_config",
    "parse_yaml",
    "read_mapping",
    "reference_table",
    "template",
]
