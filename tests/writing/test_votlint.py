"""The VOTable as a judge of the standard sees it: `votlint` of Debian's stilts."""

import shutil
import subprocess

import pytest

from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.running import runner


@pytest.mark.skipif(shutil.which("stilts") is None, reason="stilts is not installed (Debian package stilts)")
def test_votlint_has_nothing_to_say(tmp_path):
    path = write_map(tmp_path / "field.fits", small_image(n_sources=6))
    runner.run(make_config(tmp_path / "out", outputs={"tables": ["votable"]}), [path])
    command = ["stilts", "votlint", str(tmp_path / "out/params/params_field.vot")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 0, said
    assert "ERROR" not in said, said
    assert "WARNING" not in said, said
