"""What is shown of the events of a run."""

import pytest

from hyper_py.commands.progress import rate_of_maps


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(None, ""), (0.0, ""), (2.5, "2.5 maps/s"), (0.5, "30 maps/min"), (0.005, "18 maps/h")],
)
def test_rate_has_a_unit_that_suits_it(per_second, text):
    assert rate_of_maps(per_second) == text
