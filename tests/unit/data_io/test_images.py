"""The image table: the same batches wherever it is kept, nothing decoded twice."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from configuration.errors import UserError
from data_io import images as module
from data_io.decode import Geometry
from data_io.images import HeldImages, folder_images, image_table
from data_io.loaders import ScoringLoader, TrainLoader, with_reader
from data_io.records import ScoringBatch
from data_io.table import Decoder, Storage, Table
from data_io.tensor_store import TensorStore

GEOMETRY = Geometry(32, 32)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    found = [tmp_path / f"{index}.png" for index in range(9)]
    for path in found:
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
    return found


def table_of(paths: list[Path], memory_mb: int = 100, store: TensorStore | None = None) -> Table:
    return image_table(paths, GEOMETRY, Storage(torch.device("cpu"), memory_mb, 2, store))


def test_held_and_streamed_images_are_the_same(paths: list[Path], tmp_path: Path) -> None:
    held, streamed = table_of(paths), table_of(paths, memory_mb=0)
    stored = table_of(paths, memory_mb=0, store=TensorStore(tmp_path / "cache", 100))
    assert (held.place, streamed.place, stored.place) == ("memory", "disk", "disk")
    rows = torch.tensor([4, 0, 4, 8])
    for other in (streamed, stored):
        assert torch.equal(held.read(rows), other.read(rows))


def test_second_run_decodes_nothing(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table_of(paths, store=TensorStore(tmp_path / "cache", 100))

    def refuse(path: Path, _geometry: Geometry) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(module, "decode_image", refuse)
    second = table_of(paths, store=TensorStore(tmp_path / "cache", 100))
    assert torch.equal(first.read(torch.arange(9)), second.read(torch.arange(9)))


def test_replaced_file_gets_another_key(paths: list[Path]) -> None:
    before = table_of(paths).key
    Image.new("RGB", (40, 50), "red").save(paths[3])
    after = table_of(paths).key
    assert (before != after).nonzero().flatten().tolist() == [3]


def test_broken_file_ends_the_table(paths: list[Path]) -> None:
    paths[5].write_text("no picture")
    for memory_mb in (0, 100):
        with pytest.raises(UserError, match=r"5\.png"):
            table_of(paths, memory_mb)


def test_loaders_give_every_image_once_in_order(paths: list[Path]) -> None:
    table = table_of(paths)
    rows = table.rows_of(paths[2:])
    for loader in (TrainLoader(table, rows, 3), ScoringLoader(table, rows, 3)):
        batches = list(loader)
        assert [len(batch.image) for batch in batches] == [3, 3, 1]
        assert len(batches) == len(loader)
        assert torch.equal(torch.cat([batch.image_key for batch in batches]), table.key[2:])
        image = torch.cat([batch.image for batch in batches])
        assert torch.equal(image, table.read(rows).float() / 255)


def test_a_reader_is_lent_to_a_copy_of_the_loader_and_to_its_scoring_twin(paths: list[Path]) -> None:
    table = table_of(paths)
    train = TrainLoader(table, torch.arange(9), 4)
    lent = with_reader(train, lambda batch: {"layer1": 2 * batch.image})
    twins: list[TrainLoader | ScoringLoader] = [lent, lent.for_scoring()]
    for twin in twins:
        for batch in twin:
            assert torch.equal(batch.features["layer1"], 2 * batch.image)
        assert (twin.num_images, len(twin), twin.batch_size) == (9, 3, 4)
    assert all(not batch.features for batch in train)
    assert all(type(batch) is ScoringBatch and not batch.features for batch in train.for_scoring())


def test_a_picture_of_one_image_can_be_had(paths: list[Path]) -> None:
    table = table_of(paths)
    loader = ScoringLoader(table, torch.tensor([5, 2, 7]), 2)
    assert torch.equal(loader.pixels(1), table.read(torch.tensor([2]))[0])


def test_chosen_order_and_batch_limit(paths: list[Path]) -> None:
    table = table_of(paths)
    loader = TrainLoader(table, torch.arange(9), 2, batch_limit=2)
    assert (loader.num_images, len(loader)) == (4, 2)
    keys = torch.cat([batch.image_key for batch in loader.in_order(torch.tensor([3, 1, 1]))])
    assert torch.equal(keys, table.key[[8, 3, 3]])  # of 0, 3, 5 and 8, which are spread evenly


@pytest.mark.parametrize(("images", "place"), [(341, "memory"), (342, "disk")])  # of 3 KiB in 1 MiB
def test_memory_has_a_bound(images: int, place: str) -> None:
    decoder = Decoder(
        "images",
        (3, 32, 32),
        torch.uint8,
        lambda path: int(path.stem),
        lambda path: np.full((3, 32, 32), int(path.stem) % 256, np.uint8),
    )
    shown: list[tuple[str, int]] = []

    def progress(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        shown.append((what, total))
        return items

    storage = Storage(torch.device("cpu"), 1, 0, progress=progress)
    table = Table([Path(str(row)) for row in range(images)], decoder, storage)
    assert table.place == place
    assert len(table) == images
    assert table.read(torch.tensor([300]))[0, 0, 0, 0] == 300 % 256
    assert shown == [("decode", images)]
    assert 0 < table.seconds < 60


def test_no_more_than_a_few_rows_are_decoded_ahead() -> None:
    begun: list[int] = []

    def decode(path: Path) -> NDArray[np.uint8]:
        begun.append(int(path.stem))
        return np.zeros(1, np.uint8)

    ahead: list[int] = []

    def progress(items: Iterable[Any], _what: str, _total: int) -> Iterable[Any]:
        for done, item in enumerate(items, start=1):
            ahead.append(len(begun) - done)
            yield item

    decoder = Decoder("bytes", (1,), torch.uint8, lambda path: int(path.stem), decode)
    paths = [Path(str(row)) for row in range(100)]
    Table(paths, decoder, Storage(torch.device("cpu"), 1, 2, progress=progress))
    assert sorted(begun) == list(range(100))
    assert max(ahead) <= 4 * 2


def test_the_images_of_a_folder_and_of_those_below_it_are_squashed(tmp_path: Path) -> None:
    for name, colour in (("a.png", "red"), ("deep/er/b.jpg", "blue"), ("deep/c.png", "lime")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), colour).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    table = folder_images(tmp_path, 8, Storage(torch.device("cpu"), 100, 2))
    assert [path.name for path in table.paths] == ["a.png", "c.png", "b.jpg"]
    found = table.read(torch.arange(3))
    assert found.shape == (3, 3, 8, 8)
    assert found.float().mean((2, 3)).argmax(1).tolist() == [0, 1, 2]
    for folder in (tmp_path / "empty", tmp_path / "a.png", tmp_path / "none"):
        with pytest.raises(UserError, match="no image in it"):
            folder_images(folder, 8, Storage(torch.device("cpu"), 100, 2))


def test_images_that_exist_as_a_tensor_only_are_read_by_row() -> None:
    image = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    images = HeldImages(image, torch.tensor([7, 8, 9, 10]))
    assert torch.equal(images.read(torch.tensor([3, 1])), image[[3, 1]])
    assert (images.key.tolist(), images.device) == ([7, 8, 9, 10], torch.device("cpu"))


def test_rows_may_have_any_shape_and_type(paths: list[Path], tmp_path: Path) -> None:
    decoded: list[Path] = []

    def decode(path: Path) -> NDArray[np.float32]:
        decoded.append(path)
        return np.full((2, 5), int(path.stem) / 3, np.float32)

    decoder = Decoder("points", (2, 5), torch.float32, lambda path: 100 + int(path.stem), decode)
    store = TensorStore(tmp_path / "cache", 100)
    tables = [
        Table(paths, decoder, Storage(torch.device("cpu"), memory_mb, 2, store)) for memory_mb in (100, 0)
    ]
    assert [table.place for table in tables] == ["memory", "disk"]
    assert len(decoded) == len(paths), "the second table reads the cache"
    for table in tables:
        found = table.read(table.rows_of([paths[7], paths[2]]))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, torch.tensor([7 / 3, 2 / 3]).view(2, 1, 1).expand(2, 2, 5))
