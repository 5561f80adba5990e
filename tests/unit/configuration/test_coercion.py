"""Values against type hints."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.coercion import coerce

BASE = Path("/base")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (False, bool, False),
        ("x", str, "x"),
        (None, int | None, None),
        (3, int | None, 3),
        ("native", int | Literal["native"], "native"),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([], tuple[str, ...], ()),
        ("a/b", Path, Path("/base/a/b")),
        ("/a/b", Path | None, Path("/a/b")),
        ("l2", Literal["l2", "l2sq"], "l2"),
    ],
)
def test_a_value_of_the_right_type_is_taken(value: object, hint: Any, expected: object) -> None:
    result = coerce(value, hint, BASE)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (True, float),
        (1, bool),
        (3.0, int),
        ("3", int),
        (float("nan"), float),
        (None, int),
        (3, str),
        ("None", str),
        ("None", Path | None),
        (3, Path),
        ("", Path),
        (True, Literal[1, 2]),
        ([1, "2"], tuple[int, ...]),
        (1, tuple[int, ...]),
        ({"a": 1}, int),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, hint: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        coerce(value, hint, BASE)


def test_yaml_1_1_s_off_gets_its_tip() -> None:
    with pytest.raises(ValueError, match="must be off or bf16, not False; put on, off, yes and no in quotes"):
        coerce(False, Literal["off", "bf16"], BASE)


def test_a_number_written_as_a_text_gets_its_tip_and_a_word_none() -> None:
    for value, line in (("1e-3", "not '1e-3'; write 1.0e-03"), ("much", "not 'much'")):
        with pytest.raises(ValueError, match="finite") as caught:
            coerce(value, float, BASE)
        assert str(caught.value) == f"must be a finite number, {line}"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_finite_number_changes(value: float) -> None:
    assert coerce(value, float, BASE) == value
