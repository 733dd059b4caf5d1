"""Classes of options that check themselves, on a class made for the test."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from astropy import units as u

from hyper_py.checked import (
    AtLeastOne,
    Checked,
    Many,
    Positive,
    Range,
    document,
    entries,
    nearest_key,
    option,
    same_option,
    section,
    what_is_allowed,
)
from hyper_py.diagnostics import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Lens(Checked, key_path="camera.lens"):
    """What gathers the light."""

    focus: Positive = option(MISSING, "Focal length in mm.")
    kind: Literal[None, "zoom", "prime"] = option(None, "How it is built.")
    stops: Many[Annotated[int, Range(at_least=1, at_most=32)]] = option((2, 4), "f-numbers.")
    field: tuple[float, float] = option((1.0, 2.0), "Field of view in degrees.")

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong."""
        if self.field[0] > self.field[1]:
            yield "field must rise"


@dataclass(frozen=True, kw_only=True)
class Camera(Checked, key_path="camera"):
    """A camera."""

    lens: Lens | None = option(None, "The lens; null for none.")
    frames: AtLeastOne = option(1, "Number of frames.")
    title: str = option("a", "What it is called.")


@dataclass(frozen=True, kw_only=True)
class Studio(Checked):
    """A studio."""

    camera: Camera = section(Camera)
    frames: AtLeastOne = same_option(Camera, "frames")


def refused(make: Any, *lines: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).splitlines() == list(lines)


def test_values_are_taken_as_the_types_that_are_asked_for():
    lens = Lens(focus=50, stops=8, field=[0, 1])
    assert (lens.focus, lens.stops, lens.field) == (50.0, (8,), (0.0, 1.0))
    assert [type(v) for v in (lens.focus, *lens.stops, *lens.field)] == [float, int, float, float]
    assert Camera(frames=2e3).frames == 2000


@pytest.mark.parametrize("value", [np.float32(50), np.int64(50), np.array(50.0)])
def test_scalars_and_arrays_of_numpy_are_numbers_and_lists(value):
    lens = Lens(focus=value, stops=np.arange(1, 4), kind=np.str_("zoom"))
    assert (type(lens.focus), lens.focus, lens.stops, lens.kind) == (float, 50.0, (1, 2, 3), "zoom")


@pytest.mark.parametrize(
    "value", [True, "50", 0, -1.0, float("nan"), float("inf"), 10**400, None, [50.0], {}]
)
def test_what_is_no_positive_number_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"^camera\.lens\.focus = .*: must be a number > 0$"):
        Lens(focus=value)


def test_a_quantity_does_not_lose_its_unit_in_silence():
    refused(lambda: Lens(focus=5 * u.cm), "camera.lens.focus = <Quantity 5. cm>: must be a number > 0")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"kind": "zom"}, "camera.lens.kind = 'zom': must be one of null, zoom, prime; did you mean 'zoom'?"),
        ({"kind": "PRIME"}, "camera.lens.kind = 'PRIME': must be one of null, zoom, prime; did you mean 'prime'?"),
        ({"kind": "xyz"}, "camera.lens.kind = 'xyz': must be one of null, zoom, prime"),
        ({"kind": 0}, "camera.lens.kind = 0: must be one of null, zoom, prime"),
        ({"stops": ()}, "camera.lens.stops = []: must be a list of one or more, each a whole number >= 1 and <= 32"),
        ({"stops": (2, 33)}, "camera.lens.stops[1] = 33: must be a list of one or more, each a whole number >= 1 and <= 32"),
        ({"stops": 2.5}, "camera.lens.stops = 2.5: must be a list of one or more, each a whole number >= 1 and <= 32"),
        ({"field": (1,)}, "camera.lens.field = [1]: must be a list of 2 numbers"),
        ({"field": (2, 1)}, "camera.lens: field must rise"),
    ],
)  # fmt: skip
def test_one_line_names_key_value_what_is_allowed_and_the_nearest_word(given, line):
    refused(lambda: Lens(focus=1, **given), line)
    refused(lambda: replace(Lens(focus=1), **given), line)
    refused(lambda: Studio(camera={"lens": {"focus": 1, **given}}), line)


def test_every_fault_has_its_line():
    refused(
        lambda: Studio.from_values({"camera": {"lens": {"kind": "x"}, "frame": 1, "title": ""}, "frames": 0, 5: 1}),
        "camera.lens.focus: missing; must be a number > 0",
        "camera.lens.kind = 'x': must be one of null, zoom, prime",
        "camera.title = '': must be a non-empty text",
        "camera.frame: unknown key; the nearest known key is camera.frames",
        "camera: its keys are lens, frames, title",
        "frames = 0: must be a whole number >= 1",
        "5: unknown key; known here are camera, frames",
    )  # fmt: skip


def test_sections_are_mappings_objects_or_empty():
    expected = Studio(camera=Camera(lens=Lens(focus=3.0)))
    assert Studio(camera={"lens": {"focus": 3}}) == expected
    assert Studio.from_values({"camera": {"lens": Lens(focus=3)}}) == expected
    assert Studio.from_values({"camera": None}) == Studio()
    refused(lambda: Studio(camera=5), "camera = 5: must be a section, with keys below it")
    refused(
        lambda: Studio(camera={"lens": 5}), "camera.lens = 5: must be {focus, kind, stops, field} or null"
    )


def test_to_mapping_is_what_it_is_made_from():
    studio = Studio(camera={"lens": {"focus": 3}})
    mapping = studio.to_mapping()
    assert mapping["camera"]["lens"] == {"focus": 3.0, "kind": None, "stops": [2, 4], "field": [1.0, 2.0]}
    assert Studio.from_values(mapping) == studio


def test_what_is_written_on_the_fields_feeds_entries_and_docstrings():
    known = entries(Studio)
    assert list(known) == [
        "camera", "camera.lens", "camera.lens.focus", "camera.lens.kind", "camera.lens.stops",
        "camera.lens.field", "camera.frames", "camera.title", "frames",
    ]  # fmt: skip
    assert known["camera"][1:] == ("A camera.", "", None)
    assert known["camera.frames"][1:] == ("Number of frames.", "a whole number >= 1", 1)
    assert known["frames"][1:] == known["camera.frames"][1:]
    document(Camera)
    assert "frames : a whole number >= 1; default 1\n    Number of frames.\n" in (Camera.__doc__ or "")
    assert (Camera.__doc__ or "").startswith("A camera.\n\nAttributes\n")


def test_nearest_key_prefers_the_name_itself_then_the_section():
    known = entries(Studio)
    assert nearest_key("camera.lens.frames", known) == "the nearest known key is camera.frames"
    assert nearest_key("camera.lens.fokus", known) == "the nearest known key is camera.lens.focus"
    assert nearest_key("camera.lens.titel", known) == "the nearest known key is camera.title"
    assert nearest_key("camera.lens.focus:3", known) == "a blank is missing after its colon"


def test_what_is_allowed_is_said_in_words():
    assert what_is_allowed(bool | None) == "true or false or null"
    assert what_is_allowed(tuple[Literal["a", "b"], ...]) == "a list, each one of a, b"
