"""Background polynomials chosen by settings given as keywords."""

from hyper_py.background import selection
from hyper_py.background.selection import Choice


def select_background(data, mask=None, *, boxes, rms, beam_area, **choice):
    return selection.select_background(
        data, mask, boxes=boxes, choice=Choice(**choice), rms=rms, beam_area=beam_area
    )


def select_backgrounds(data, mask=None, *, boxes, rms, beam_area, **choice):
    return selection.select_backgrounds(
        data, mask, boxes=boxes, choice=Choice(**choice), rms=rms, beam_area=beam_area
    )
