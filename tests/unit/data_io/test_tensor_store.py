import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_io.tensor_store import CacheStatistics, TensorStore
from tests.full_disk import files_cut_at

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys
from pathlib import Path
import numpy as np
from data_io.tensor_store import TensorStore
store = TensorStore(Path(sys.argv[1]), 1)
for turn in range(4):
    for number in range(60):
        found = store.get("n", str(number))
        assert found is None or (found.shape == (50, 100) and (found == number).all()), number
        store.put("n", str(number), np.full((50, 100), number, np.float64))
"""


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.random.default_rng(0).standard_normal((3, 5)).astype(np.float16),
        np.array([True, False]),
        np.array(2.5),
        np.zeros((0, 3), np.float32),
        np.arange(6, dtype=">i4"),
        np.arange(12.0).reshape(3, 4).T,
        np.ones((1, 1, 1, 1, 1, 2), np.complex64),
    ],
)
def test_what_is_put_is_what_is_got(tmp_path: Path, array: np.ndarray) -> None:
    TensorStore(tmp_path, 1).put("images", "a", array)
    found = TensorStore(tmp_path, 1).get("images", "a")
    assert found is not None
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


def test_names_do_not_run_into_each_other(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    for namespace, key in (("a", "bc"), ("ab", "c"), ("x/../y", "Größe " * 100)):
        store.put(namespace, key, np.array([len(namespace)]))
    for namespace, key in (("a", "bc"), ("ab", "c"), ("x/../y", "Größe " * 100)):
        found = store.get(namespace, key)
        assert found is not None
        assert found[0] == len(namespace)
    assert store.get("a", "c") is None


def test_a_later_put_replaces_the_earlier(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    store.put("n", "k", np.zeros(3))
    store.put("n", "k", np.ones(5, np.int8))
    np.testing.assert_array_equal(store.get("n", "k"), np.ones(5, np.int8))
    assert len(files_in(tmp_path)) == 1


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"]), np.zeros((1,) * 7)])
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        TensorStore(tmp_path, 1).put("n", "k", array)


def test_no_altered_byte_and_no_truncation_is_trusted(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    store.put("n", "k", np.arange(8, dtype=np.float32))
    (path,) = files_in(tmp_path)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))] + [whole + b"\0"]
    for place in range(len(whole)):
        for flip in (1, 128):
            damaged.append(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert store.get("n", "k") is None
        assert not path.exists()
    path.write_bytes(whole)
    assert store.get("n", "k") is not None


def test_an_entry_under_another_name_is_not_trusted(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    store.put("n", "a", np.zeros(3))
    (first,) = files_in(tmp_path)
    store.put("n", "b", np.ones(3))
    (second,) = set(files_in(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    assert store.get("n", "b") is None
    assert store.get("n", "a") is not None


def test_the_limit_holds_and_the_least_recently_used_go_first(tmp_path: Path) -> None:
    array = np.zeros(100_000, np.uint8)
    store = TensorStore(tmp_path, 1)
    for number in range(8):
        before = set(files_in(tmp_path))
        store.put("n", str(number), array)
        (path,) = set(files_in(tmp_path)) - before
        os.utime(path, (0, time.time() - 10_000 + number))
    assert store.get("n", "0") is not None  # now the most recently used
    for number in range(8, 12):
        store.put("n", str(number), array)
    found = [number for number in range(12) if store.get("n", str(number)) is not None]
    assert {0, 8, 9, 10, 11} <= set(found)
    assert 1 not in found
    assert found == sorted(found)
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 2**20


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    store.put("n", "small", np.zeros(1000))
    store.put("n", "large", np.zeros(2**20))
    assert store.get("n", "large") is None
    assert store.get("n", "small") is not None
    off = TensorStore(tmp_path / "off", 0)
    off.put("n", "k", np.zeros(1))
    assert not (tmp_path / "off").exists()


def test_an_entry_may_fill_the_limit_to_the_last_byte(tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "probe", 1)
    store.put("n", "k", np.zeros(1, np.uint8))
    (probe,) = files_in(tmp_path / "probe")
    fitting = 2**20 - (probe.stat().st_size - 1)
    store = TensorStore(tmp_path / "full", 1)
    store.put("n", "too large", np.zeros(fitting + 1, np.uint8))
    store.put("n", "fitting", np.zeros(fitting, np.uint8))
    assert [store.get("n", key) is not None for key in ("too large", "fitting")] == [False, True]
    assert [path.stat().st_size for path in files_in(tmp_path / "full")] == [2**20]


def test_half_of_what_the_disk_could_offer_is_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=600_000 - sum(path.stat().st_size for path in files_in(folder)))

    monkeypatch.setattr("data_io.tensor_store.shutil.disk_usage", disk_usage)
    store = TensorStore(tmp_path, 1)
    for number in range(8):
        store.put("n", str(number), np.zeros(90_000, np.uint8))
        assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 300_000
    assert store.get("n", "7") is not None
    assert len(files_in(tmp_path)) >= 2


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    left, busy = tmp_path / "ab/cd.12.tmp", tmp_path / "ab/ef.34.tmp"
    left.write_bytes(b"1")
    busy.write_bytes(b"1")
    os.utime(left, (0, time.time() - 7200))
    TensorStore(tmp_path, 1).put("n", "k", np.zeros(1))
    assert not left.exists()
    assert busy.exists()


def test_many_are_what_one_by_one_is(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 10)
    keys = [str(number) for number in range(33)]
    store.put_many("n", keys, np.arange(33 * 4).reshape(33, 4))
    found = store.get_many("n", ["none", *keys])
    assert found[0] is None
    np.testing.assert_array_equal(
        np.stack([array for array in found if array is not None])[:, 0], np.arange(33) * 4
    )
    assert store.get_many("n", []) == []


def test_the_statistics_say_whether_anything_was_computed(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1)
    assert store.take_statistics().status == "cold"
    store.get("n", "k")
    store.put("n", "k", np.zeros(1))
    store.get_many("n", ["k", "k"])
    assert store.take_statistics() == CacheStatistics(hits=2, misses=1)
    store.get("n", "k")
    assert store.take_statistics().status == "warm"


def test_processes_share_a_store_that_is_too_small_for_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert all(path.suffix != ".tmp" for path in files_in(tmp_path))
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 1.2 * 2**20


def test_threads_that_write_and_read_one_name_see_whole_entries(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 100)

    def work(value: int) -> bool:
        store.put("n", "k", np.full(20_000, value))
        found = store.get("n", "k")
        return found is not None and bool((found == found[0]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(100)))


def test_a_folder_that_cannot_be_written_costs_one_line_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = TensorStore(tmp_path / "file/cache", 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            store.put("n", "k", np.zeros(1))
            assert store.get("n", "k") is None
    (record,) = caplog.records
    assert "nothing more is cached" in record.getMessage()


def test_a_write_that_is_cut_short_leaves_nothing_and_stops_the_writing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = TensorStore(tmp_path, 1)
    store.put("n", "before", np.zeros(10))
    with files_cut_at(4096), caplog.at_level(logging.WARNING):
        store.put("n", "large", np.zeros(10_000))
        store.put("n", "small", np.zeros(10))
    assert len(caplog.records) == 1
    assert len(files_in(tmp_path)) == 1
    assert store.get("n", "before") is not None
