"""Messages of the command line, in the words of Python."""

import inspect

import pytest

import hyper_py
from hyper_py.diagnostics import InputError
from hyper_py.interface.naming import ARGUMENTS, arguments_named, in_python


def test_arguments_exist():
    known = {
        *inspect.signature(hyper_py.read_image).parameters,
        *inspect.signature(hyper_py.extract_sources).parameters,
    }
    named = {word.removesuffix("=") for word in ARGUMENTS.values() if word.endswith("=") and " " not in word}
    assert named
    assert named <= known


def test_longer_keys_are_not_cut():
    assert in_python("set io.primary_beam_corrected to true") == "set primary_beam_corrected= to true"
    assert in_python("correct io.primary_beam") == "correct primary_beam="


def test_options_keep_their_names():
    text = "detection.rms_value"
    assert in_python(text) == text


def test_the_kind_of_an_error_stays():
    with pytest.raises(InputError, match=r"^set unit=$"), arguments_named():
        raise InputError("set units.bunit")
