"""Run this Hyper-Py on one map: MAP OUT SETTINGS ("section.key": value; its defaults otherwise)."""

import json
import sys
from dataclasses import replace

from astropy.table import Table

import hyper_py


def main() -> None:
    map_path, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    options = hyper_py.Options()
    for name, value in settings.items():
        section, key = name.split(".")
        value = tuple(value) if isinstance(value, list) else value
        options = replace(options, **{section: replace(getattr(options, section), **{key: value})})
    catalog = hyper_py.extract_sources(hyper_py.read_image(map_path), options=options).catalog
    table = Table({name: catalog[name] for name in catalog.colnames})
    table.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
