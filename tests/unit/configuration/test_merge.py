"""Reading a layer strictly, and tables by net."""

from itertools import pairwise
from pathlib import Path

import pytest

from configuration.errors import UserError
from configuration.merge import Value, by_net, merge, nearest, raise_all, read_layer


def written(folder: Path, text: str) -> str:
    (folder / "layer.yaml").write_text(text)
    return "layer.yaml"


def test_every_value_carries_its_file(tmp_path: Path) -> None:
    layer = read_layer(tmp_path, written(tmp_path, "a: 1\nb: [x, null]\n"))
    assert layer == {"a": Value(1, "layer.yaml"), "b": Value(["x", None], "layer.yaml")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: 1\nb: 2\na: 3\nb: 4\n",
            "layer.yaml: key 'a' stands twice; keep one\nlayer.yaml: key 'b' stands twice; keep one",
        ),
        ("a: {net: 1, net: 2}\n", "layer.yaml: key 'net' stands twice; keep one"),
        ("a: [1\nb: 2\n", "layer.yaml: line 2: did not find expected ',' or ']'"),
        ("- a\n", "layer.yaml: lines of the form 'key: value' are expected"),
        ("", "layer.yaml: lines of the form 'key: value' are expected"),
        ("1: a\n", "layer.yaml: lines of the form 'key: value' are expected"),
    ],
)
def test_a_layer_that_is_no_plain_yaml_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        read_layer(tmp_path, written(tmp_path, text))
    assert str(caught.value) == problem


def test_a_tag_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    name = written(tmp_path, f"a: !!python/object/apply:os.mkdir ['{trap}']\n")
    with pytest.raises(UserError, match="line 1: could not determine a constructor for the tag"):
        read_layer(tmp_path, name)
    assert not trap.exists()


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^other\.yaml: cannot be read \(No such file"):
        read_layer(tmp_path, "other.yaml")
    (tmp_path / "layer.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(UserError, match=r"^layer\.yaml: is neither UTF-8 nor UTF-16 text \(byte 3\)"):
        read_layer(tmp_path, "layer.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"^folder\.yaml: cannot be read \(Is a directory\)"):
        read_layer(tmp_path, "folder.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_what_windows_editors_write_is_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "layer.yaml").write_bytes("a: Größe\r\nb: 2\r\n".encode(encoding))
    found = read_layer(tmp_path, "layer.yaml")
    assert {key: value.value for key, value in found.items()} == {"a": "Größe", "b": 2}


LAUGHS = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LAUGHS, "the alias *a is not read; write its value out"),
        ("a: &a [*a]", "the alias *a is not read"),
        ("a: " + "[" * 100, "more than 20 values inside each other"),
        ("a: " + "[" * 50_000, "exceeded maximum nesting depth"),
        ("a: !!int foo", "invalid literal"),
        ("a: !!float foo", "could not convert"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("a: !!timestamp foo", "does not fit its tag"),
        ("a: !!binary é", "failed to"),
        ("? [a]\n: b", "unhashable key"),
        ("a: {b: 1, b: 2}", "key 'b' stands twice"),
        ("a: \x07", "control characters are not allowed"),
    ],
)
def test_what_yaml_can_be_made_to_do_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "layer.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_layer(tmp_path, "layer.yaml")
    (found,) = str(error.value).splitlines()
    assert found.startswith("layer.yaml: ")
    assert line in found


def test_the_later_layer_is_stronger() -> None:
    weak, strong = {"a": Value(1, "weak"), "b": Value(1, "weak")}, {"a": Value(0, "strong")}
    assert merge(weak, strong) == {"a": Value(0, "strong"), "b": Value(1, "weak")}


def test_a_table_by_net_prefers_the_first_net_and_then_the_default() -> None:
    table = {"resnet18": 1, "net_tiny": 2, "default": 3}
    assert by_net(table, ("net_tiny", "resnet18")) == 2
    assert by_net(table, ("net_cfa", "resnet18")) == 1
    assert by_net(table, ("net_cfa", "")) == 3
    assert by_net([1, 2], ("net_cfa",)) == [1, 2]
    tagged = {"timm/resnet18": 1, "timm/resnet34": 2, "timm/resnet34.a1": 3, "default": 4}
    assert [by_net(tagged, (f"timm/{net}",)) for net in ("resnet18.a1", "resnet34.a1", "resnet50.a1")] == [
        1,
        3,
        4,
    ]
    with pytest.raises(ValueError, match="no row for the net net_cfa;"):
        by_net({"resnet18": 1}, ("net_cfa", ""))


def test_problems_come_once_each_and_none_raises_nothing() -> None:
    raise_all([])
    with pytest.raises(UserError) as caught:
        raise_all(["a", "b", "a"])
    assert str(caught.value) == "a\nb"


def test_only_a_similar_name_is_suggested() -> None:
    assert nearest("patchcor", ["padim", "patchcore"]) == "; did you mean 'patchcore'?"
    assert nearest("xyz", ["padim", "patchcore"]) == ""
