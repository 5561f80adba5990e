import csv
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configuration.errors import UserError
from tests.full_disk import files_cut_at
from tools.files import locked
from tools.record_helper import (
    COLUMNS,
    ResultRow,
    append,
    append_summary,
    check_writable,
    code_version,
    read,
)

ROOT = Path(__file__).resolve().parents[3]
ROW = ResultRow(
    run_id="20240501-120000-abcdef",
    started_at="2024-05-01T12:00:00+00:00",
    paradigm="c2d",
    setting="vanilla",
    setting_params={},
    dataset="mvtec2d",
    model="patchcore",
    net="resnet18",
    backbone="resnet18",
    weights="imagenet",
    seed=66,
    train_task=3,
    train_category="carpet",
    valid_task=3,
    valid_category="carpet",
    n_train=280,
    n_test=117,
    n_test_anomalous=89,
    image_auroc=0.98765432,
    image_ap=1.0,
    image_f1max=0.5,
    pixel_auroc=None,
    pixel_ap=None,
    pixel_f1max=None,
    pixel_aupro=None,
    extra_metrics={},
    fit_seconds=1.5,
    predict_seconds=0.25,
    images_per_second=468.0,
    peak_memory_mb=900.0,
    peak_gpu_memory_mb=None,
    cache="cold",
    device="cpu",
    amp="off",
    config_hash="0123456789ab",
    data_hash="ba9876543210",
    code_version="0.1.0",
)
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.unit.tools.test_record_helper import ROW
from tools.record_helper import append
for number in range(int(sys.argv[3])):
    append(Path(sys.argv[1]), replace(ROW, run_id=f"{sys.argv[2]}-{number}", weights="w" * (number % 50)), "")
    print(number, flush=True)
"""


def start_writer(work_dir: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(work_dir), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def append_often(work_dir: Path) -> None:
    for _ in range(1000):
        append(work_dir, ROW, "")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows), "a row is not whole"
    return rows


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tiny disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_columns_are_those_that_users_scripts_rely_on() -> None:
    expected = (
        "run_id, started_at, paradigm, setting, setting_params, dataset, model, net, backbone, weights, "
        "seed, train_task, train_category, valid_task, valid_category, n_train, n_test, n_test_anomalous, "
        "image_auroc, image_ap, image_f1max, pixel_auroc, pixel_ap, pixel_f1max, pixel_aupro, extra_metrics, "
        "fit_seconds, predict_seconds, images_per_second, peak_memory_mb, peak_gpu_memory_mb, cache, device, "
        "amp, config_hash, data_hash, code_version"
    )
    assert list(COLUMNS) == expected.split(", ")


def test_a_row_reads_back_with_six_decimals_and_empty_where_nothing_exists(tmp_path: Path) -> None:
    extra = {"auroc_logical": 1 / 3, "spro_0.05": None, "auroc_structural": float("nan")}
    params: dict[str, object] = {"noisy_ratio": 0.1, "drawn": 7}
    row = replace(ROW, setting="noisy", setting_params=params, extra_metrics=extra, pixel_ap=float("nan"))
    append(tmp_path, row, "_0.1_ratio")
    (found,) = rows_of(tmp_path / "results.csv")
    assert tuple(found) == COLUMNS
    assert (found["image_auroc"], found["image_ap"]) == ("0.987654", "1.000000")
    assert (found["pixel_auroc"], found["pixel_ap"], found["peak_gpu_memory_mb"]) == ("", "", "")
    assert found["setting_params"] == '{"noisy_ratio":0.1,"drawn":7}'
    assert json.loads(found["extra_metrics"]) == {"auroc_logical": 0.333333}
    assert (found["seed"], found["fit_seconds"]) == ("66", "1.500")
    file = tmp_path / "benchmark/noisy/mvtec2d/patchcore/task_3/result_0.1_ratio.csv"
    assert file.read_bytes() == (tmp_path / "results.csv").read_bytes()


def test_awkward_text_stays_in_its_cell_and_on_its_line(tmp_path: Path) -> None:
    append(tmp_path, replace(ROW, weights='a,"b"\nc', valid_category="Größe"), "")
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 2
    (found,) = rows_of(tmp_path / "results.csv")
    assert (found["weights"], found["valid_category"]) == ('a,"b"\\nc', "Größe")


@pytest.mark.parametrize(
    ("delimiter", "line_end", "encoding"),
    [(",", "\r\n", "utf-8"), (",", "\n", "utf-8-sig"), (";", "\r\n", "utf-8-sig"), ("\t", "\r\n", "utf-16")],
)
def test_a_table_that_a_spreadsheet_saved_is_read_and_added_to(
    delimiter: str, line_end: str, encoding: str, tmp_path: Path
) -> None:
    row = replace(ROW, setting_params={"a": 1, "b": "x;y"}, valid_category="Größe")
    append(tmp_path, row, "")
    path = tmp_path / "results.csv"
    ours = path.read_bytes()
    with path.open(newline="") as file:
        cells = list(csv.reader(file))
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter, lineterminator=line_end).writerows(cells)
    assert path.read_bytes() != ours
    check_writable(tmp_path)
    assert read(tmp_path)[0].setting_params == {"a": 1, "b": "x;y"}
    append(tmp_path, row, "")
    assert path.read_bytes() == ours + ours[ours.index(b"\n") + 1 :]


def test_processes_that_append_at_once_lose_no_row_and_write_one_header(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, 25) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = [row["run_id"] for row in rows_of(tmp_path / "results.csv")]
    assert sorted(found) == sorted(f"{name}-{number}" for name in "abc" for number in range(25))
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()


def test_a_row_waits_for_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with locked(tmp_path):
        writer = threading.Thread(target=append, args=(tmp_path, ROW, ""))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        assert not path.exists()
    writer.join(10)
    assert len(rows_of(path)) == 1


def test_a_killed_process_leaves_whole_rows_only(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "a", 10**6)
    assert writer.stdout is not None
    for _ in range(5):
        last = int(writer.stdout.readline())
    writer.kill()
    writer.wait(60)
    writer.stdout.close()
    assert len(rows_of(tmp_path / "results.csv")) > last


@pytest.mark.parametrize("torn", [b"2024", b'2024,"half a ce'])
def test_a_torn_row_is_cut_off_before_the_next(tmp_path: Path, torn: bytes) -> None:
    append(tmp_path, ROW, "")
    path = tmp_path / "results.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    check_writable(tmp_path)
    append(tmp_path, ROW, "")
    assert path.read_bytes() == whole + whole[whole.index(b"\n") + 1 :]


def test_a_row_torn_inside_a_character_is_none(tmp_path: Path) -> None:
    append(tmp_path, ROW, "")
    path = tmp_path / "results.csv"
    path.write_bytes(path.read_bytes() + "2024,Größe".encode()[:-4])
    assert [row.run_id for row in read(tmp_path)] == [ROW.run_id]


def test_a_run_that_goes_on_writes_its_row_where_it_lacks(tmp_path: Path) -> None:
    append(tmp_path, ROW, "")
    later = replace(ROW, fit_seconds=9.0)
    (table,) = tmp_path.glob("benchmark/**/*.csv")
    table.unlink()
    append(tmp_path, later, "", again=True)
    assert rows_of(tmp_path / "results.csv") == rows_of(table)
    assert [row["fit_seconds"] for row in rows_of(table)] == ["1.500"]
    append(tmp_path, replace(later, valid_category="all"), "", again=True)
    assert [row["valid_category"] for row in rows_of(table)] == ["carpet", "all"]
    for _ in range(2):
        append_summary(tmp_path, [ROW], {}, again=True)
    assert len(rows_of(tmp_path / "summary.csv")) == 1
    append_summary(tmp_path, [replace(ROW, run_id="another")], {}, again=True)
    assert len(rows_of(tmp_path / "summary.csv")) == 2


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b"\xff\xfem\x00y\x00"])
def test_a_file_of_ones_own_is_never_taken_for_a_torn_table(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    for write in (check_writable, lambda folder: append(folder, ROW, "")):
        with pytest.raises(UserError, match="move it away"):
            write(tmp_path)
    assert path.read_bytes() == content


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("run_id,star")
    check_writable(tmp_path)
    append(tmp_path, ROW, "")
    assert len(rows_of(tmp_path / "results.csv")) == 1


def test_a_table_of_another_version_is_refused_before_and_after_training(tmp_path: Path) -> None:
    append(tmp_path, ROW, "")
    for path in sorted(tmp_path.rglob("*.csv")):
        kept = path.read_text()
        path.write_text("run_id,score\n1,0.5\n")
        with pytest.raises(UserError, match=f"{path}: .*move it away"):
            check_writable(tmp_path)
        with pytest.raises(UserError, match="move it away"):
            append(tmp_path, ROW, "")
        assert path.read_text() == "run_id,score\n1,0.5\n"
        path.write_text(kept)
    check_writable(tmp_path)


def test_check_writable_leaves_an_empty_folder(tmp_path: Path) -> None:
    check_writable(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^.*file/work: cannot be written .*-wd elsewhere$"):
        check_writable(tmp_path / "file/work")


def test_a_write_that_is_cut_short_is_undone(tmp_path: Path) -> None:
    with files_cut_at(8192), pytest.raises(UserError, match=r"results\.csv: cannot be written"):
        append_often(tmp_path)
    path = tmp_path / "results.csv"
    assert 7192 < path.stat().st_size < 8192
    rows_of(path)
    assert path.read_bytes().endswith(b"\n")


def test_a_full_disk_is_one_line_and_leaves_whole_rows(tiny_disk: Path) -> None:
    check_writable(tiny_disk)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        append_often(tiny_disk)
    tables = sorted(tiny_disk.rglob("*.csv"))
    assert len(tables) == 2
    for path in tables:
        assert len(rows_of(path)) > 50
        assert path.read_bytes().endswith(b"\n")
    with pytest.raises(UserError, match="No space left on device"):
        check_writable(tiny_disk)


def test_the_summary_averages_the_rows_that_are_given(tmp_path: Path) -> None:
    rows = [
        replace(ROW, setting_params={"k": 1, "drawn": 2}, pixel_ap=0.5, extra_metrics={"a": 0.25, "b": 1.0}),
        replace(
            ROW, valid_task=5, setting_params={"k": 1, "drawn": 3}, image_ap=0.5, extra_metrics={"a": 0.75}
        ),
    ]
    line = append_summary(tmp_path, rows, {"fm_image_ap": 0.125, "fm_all_image_ap": 0.1})
    assert line.startswith("mean of 2 rows  image_auroc 0.9877  image_ap 0.7500")
    assert line.endswith("pixel_ap 0.5000 (of 1)  forgetting of image_ap 0.1250")
    (found,) = rows_of(tmp_path / "summary.csv")
    assert list(found)[:11] == list(COLUMNS[:11])
    assert (found["train_task"], found["valid_task"]) == ("3", "3 5")
    assert (found["mean_image_ap"], found["fm_image_ap"]) == ("0.750000", "0.125000")
    assert found["fm_all_image_ap"] == "0.100000"
    assert (found["mean_pixel_ap"], found["fm_image_auroc"]) == ("0.500000", "")
    assert found["mean_extra_metrics"] == '{"a":0.5,"tasks_with_pixel_ap":1}'
    assert found["setting_params"] == '{"k":1}'


def test_the_summary_refuses_what_it_has_no_column_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fm_auroc"):
        append_summary(tmp_path, [ROW], {"fm_auroc": 0.1})
    with pytest.raises(ValueError, match="no row"):
        append_summary(tmp_path, [], {})


def test_the_code_version_names_a_commit_or_a_version() -> None:
    assert code_version().removesuffix("-dirty").replace(".", "").isalnum()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    rows = [
        replace(ROW, run_id="a", pixel_ap=None, extra_metrics={"auroc_logical": 0.25}),
        replace(ROW, run_id="b", setting_params={"drawn": 3}, weights="", peak_gpu_memory_mb=None),
    ]
    for row in rows:
        append(tmp_path, row, "")
    with (tmp_path / "results.csv").open("a") as file:
        file.write("torn,2026")
    found = read(tmp_path)
    assert [row.run_id for row in found] == ["a", "b"]
    assert found[0].extra_metrics == {"auroc_logical": 0.25}
    assert (found[0].pixel_ap, found[0].seed, found[0].n_train) == (None, ROW.seed, ROW.n_train)
    assert found[0].image_auroc == pytest.approx(ROW.image_auroc, abs=1e-6)
    assert found[1].setting_params == {"drawn": 3}
    assert (found[1].weights, found[1].peak_gpu_memory_mb) == ("", None)
    assert read(tmp_path, "b") == found[1:]


@pytest.mark.parametrize("damage", [("66", "many"), ("{}", "{"), ("0.987654", "x")])
def test_a_cell_that_is_no_value_of_its_column_is_named(damage: tuple[str, str], tmp_path: Path) -> None:
    append(tmp_path, ROW, "")
    path = tmp_path / "results.csv"
    path.write_text(path.read_text().replace(*damage))
    with pytest.raises(UserError, match=r"results\.csv: line 2 is no row of results"):
        read(tmp_path)
    assert read(tmp_path, "another run") == []
