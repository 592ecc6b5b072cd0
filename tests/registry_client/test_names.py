"""Names that could climb, hide or confuse are no names; versions sort as people count."""

import random
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client.names import is_digest, is_file_name, is_name, plain_name, version_order


@pytest.mark.parametrize("name", ["flight-delay", "1", "v1.2_3", "A", "a" * 128, "1..2", "CON"])
def test_plain_names_are_accepted(name):
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0", "a\n", "a ", " a", ".hidden", "-rf", "_x", "a" * 129,
        "%2e%2e", "é", "\N{FULLWIDTH FULL STOP}", "a:b", "~", "$HOME", "1\N{ARABIC-INDIC DIGIT ONE}",
    ],
)  # fmt: skip
def test_names_with_path_tricks_are_refused(name):
    assert not is_name(name)


@given(st.text())
def test_a_name_is_always_one_visible_path_component(text):
    if is_name(text):
        assert PurePosixPath("root", text).parts == ("root", text)
        assert text.isascii()
        assert text not in {".", ".."}


@given(st.text())
def test_a_file_name_is_always_one_visible_path_component(text):
    if is_file_name(text):
        assert PurePosixPath("root", text).parts == ("root", text)
        assert not text.startswith(".")


@pytest.mark.parametrize("name", ["model.onnx", "onnx::MatMul_1", "_weights", "a b"])
def test_file_names_of_exporters_are_accepted(name):
    assert is_file_name(name)


@pytest.mark.parametrize("name", ["", ".x", "..", "a/b", "a\\b", "a\n", "a\0", "é", "a" * 256, "a\x7f"])
def test_other_file_names_are_refused(name):
    assert not is_file_name(name)


def test_versions_sort_by_number_and_then_by_text():
    ordered = ["1", "2", "9", "10", "0100", "beta", "v10", "v2"]
    shuffled = random.Random(3).sample(ordered, len(ordered))

    assert sorted(shuffled, key=version_order) == ordered


def test_a_digest_is_64_hex_digits_and_nothing_else():
    assert is_digest("0123456789abcdef" * 4)
    for text in ("", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "../" + "a" * 61, "a" * 64 + "\n"):
        assert not is_digest(text)


def test_columns_are_named_as_exporters_name_inputs():
    assert [plain_name(name) for name in ("a b", "c-d", "e/f", "g_1")] == ["a_b", "c_d", "e_f", "g_1"]
