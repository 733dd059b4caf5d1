"""Print pip constraints that pin everything in pyproject.toml to the lowest version it promises.

python .ci/lowest.py [EXTRA ...] > constraints.txt
"""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

LOWEST = re.compile(r"(?P<name>[\w.-]+)(\[.*\])?\s*>=\s*(?P<version>[\w.]+)")


def main(extras: list[str]) -> None:
    """Print `name==version` for each requirement `name>=version`; one without a bound is left free."""
    file = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(file.read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    for requirement in chain(project["dependencies"], *(optional[name] for name in extras)):
        if found := LOWEST.match(requirement):
            print(f"{found['name']}=={found['version']}")


if __name__ == "__main__":
    main(sys.argv[1:])
