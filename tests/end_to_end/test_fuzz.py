"""Files with random damage: a result, or one line and nothing written; never a traceback, never a hang."""

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from main import main
from tests.trees import Size, write_tree

CASES = 80  # of each kind
SECONDS = 120  # after which a run hangs
TOKENS = (
    b"\x00",
    b"\xff\xfe",
    b"../",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\n",
    b";",
    b"9" * 40,
)
KEYS = [
    "--set",
    "data_size=32",
    "--set",
    "data_crop_size=32",
    "--set",
    "mask_size=32",
    "--set",
    "train_batch_size=2",
]
STPM = [
    "-v",
    "-m",
    "stpm",
    "-n",
    "net_tiny",
    "-d",
    "mvtec2d",
    "-tid",
    "0",
    "1",
    "-ne",
    "1",
    "-g",
    "cpu",
    "--no-vis",
]
STPM += KEYS
PATCHCORE = ["-v", "-m", "patchcore", "-n", "net_tiny", "-g", "cpu", "--no-vis", "-sp", "0.1", *KEYS]


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """End a run that hangs."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, and a finished run of one with its model; what is damaged is a copy of it."""
    root = tmp_path_factory.mktemp("kept")
    size = Size(train=3, good=2, bad=2, side=32)
    for name in ("mvtec2d", "visa", "dagm", "mvtecloco"):
        write_tree(name, root / name, size)
    assert main([*STPM, "-dp", str(root / "mvtec2d"), "-wd", str(root / "work"), "--save-model"]) == 0
    shutil.copy(Path("checkpoints/net_tiny.safetensors"), root / "weights.safetensors")
    return root


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a content with some bytes changed, cut off, doubled, or strange words put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0 if found:
                found[place % len(found)] ^= 1 << rng.randrange(8)
            case 1:
                del found[place:]
            case 2:
                found[place:place] = rng.choice(TOKENS)
            case _:
                end = min(len(found), place + rng.randrange(1, 40))
                found[end:end] = found[place:end]
    return bytes(found)


KINDS = {  # what is damaged -> the words of a run that reads it, without -wd
    "work/results.csv": [*STPM, "-dp", "{root}/mvtec2d"],
    "work/runs/*/split.json": [*STPM, "-dp", "{root}/mvtec2d", "--split", "{path}"],
    "work/runs/*/models/step_0_task_1.safetensors": [
        *STPM, "-dp", "{root}/mvtec2d", "--load-model", "--load-model-dir", "{folder}",
    ],
    "weights.safetensors": [*PATCHCORE, "-d", "mvtec2d", "-dp", "{root}/mvtec2d", "-w", "{path}"],
    "mvtec2d/bottle/test/good/000.png": [*PATCHCORE, "-d", "mvtec2d", "-dp", "{root}/mvtec2d"],
    "mvtec2d/bottle/ground_truth/*/*.png": [*PATCHCORE, "-d", "mvtec2d", "-dp", "{root}/mvtec2d"],
    "visa/split_csv/1cls.csv": [*PATCHCORE, "-d", "visa", "-dp", "{root}/visa"],
    "dagm/Class1/Train/Label/Labels.txt": [*PATCHCORE, "-d", "dagm", "-dp", "{root}/dagm"],
    "mvtecloco/breakfast_box/defects_config.json": [*PATCHCORE, "-d", "mvtecloco", "-dp", "{root}/mvtecloco"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pattern", KINDS)
def test_damaged_files_end_in_a_result_or_in_one_line(
    pattern: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(pattern)
    ends = {0: 0, 2: 0}
    for number in range(CASES):
        root = tmp_path / str(number)
        shutil.copytree(kept, root)
        path = sorted(root.glob(pattern))[0]
        path.write_bytes(damaged(path.read_bytes(), rng))
        words = [word.format(root=root, path=path, folder=path.parent) for word in KINDS[pattern]]
        before = sorted(root.glob("work/runs/*"))
        outside = {found.name for found in tmp_path.iterdir()}
        capsys.readouterr()
        signal.alarm(SECONDS)
        code = main([*words, "-wd", str(root / "work")])
        signal.alarm(0)
        errors = capsys.readouterr().err
        assert code in ends, errors
        ends[code] += 1
        assert len(errors.splitlines()) <= (1 if code else 0), (number, errors)
        assert {found.name for found in tmp_path.iterdir()} == outside
        if code:
            assert sorted(root.glob("work/runs/*")) == before, (number, errors)
        shutil.rmtree(root)
    assert ends[2], "some damage is refused"


VALUES = (
    *(
        "",
        "null",
        "[]",
        "{}",
        "-1",
        "0",
        "1e999",
        ".nan",
        ".inf",
        "9" * 40,
        "9" * 5000,
        "true",
        "x",
        "[1, [2]]",
    ),
    *(
        "!!int foo",
        "!!python/object:os.system {}",
        "*a",
        "&a [*a]",
        "2024-13-45",
        "\x00",
        "\x1b[31m",
        "~nosuch/x",
    ),
    *(
        "../../..",
        "/dev/null",
        "/proc/self/mem",
        "'" * 7,
        "{default: 1, nosuch: 2}",
        "0x10",
        "1_000",
        "é",
        "\udcff",
    ),
)


@pytest.mark.slow
def test_any_value_of_any_key_is_one_line_or_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from configuration.config import config_values, load_config

    words = [*PATCHCORE, "-d", "mvtec2d", "-dp", str(tmp_path), "-wd", str(tmp_path / "work")]
    keys = sorted(config_values(load_config(words)))
    rng = random.Random(0)
    for _ in range(400):
        given = [f"{rng.choice(keys)}={rng.choice(VALUES)}" for _ in range(rng.choice((1, 1, 3)))]
        capsys.readouterr()
        signal.alarm(SECONDS)
        code = main([*words, *(word for value in given for word in ("--set", value)), "--dry-run"])
        signal.alarm(0)
        errors = capsys.readouterr().err.splitlines()
        assert code in (0, 2), given
        assert len(errors) <= 2 * len(given) + 2, (given, errors)
        assert all(line.isprintable() for line in errors), (given, errors)
    assert not (tmp_path / "work").exists()
