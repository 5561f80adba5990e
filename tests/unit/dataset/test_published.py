import pytest

from configuration.registration import DATASETS, load

TOTALS = {  # train, test good, test anomalous
    "mvtec2d": (3629, 467, 1258),
    "mpdd": (888, 176, 282),
    "mvtecloco": (1778, 575, 993),
    "mtd": (761, 952 - 761, 392),
    "btad": (1799, 451, 290),
    "mvtec2df3d": (2656, 249, 948),
    "mvtec3d": (2656, 249, 948),
    "visa": (8659, 962, 1200),
}
NUM_CLASSES = {
    "mvtec2d": 15,
    "mpdd": 6,
    "mvtecloco": 5,
    "mtd": 1,
    "btad": 3,
    "mvtec2df3d": 10,
    "mvtec3d": 10,
    "coad": 21,
    "visa": 12,
    "dagm": 10,
    "folder": 1,
}


@pytest.mark.parametrize("name", TOTALS)
def test_counts_of_the_classes_add_up_to_the_published_totals(name: str) -> None:
    published = load(DATASETS[name]).published
    assert tuple(sum(column) for column in zip(*published.values(), strict=True)) == TOTALS[name]


def test_both_halves_of_dagm_hold_16100_images() -> None:
    published = load(DATASETS["dagm"]).published
    defects_in_train = 79 + 66 + 66 + 82 + 70 + 83 + 4 * 150
    assert sum(sum(counts) for counts in published.values()) + defects_in_train == 16100


@pytest.mark.parametrize("name", NUM_CLASSES)
def test_number_and_order_of_classes(name: str) -> None:
    dataset_class = load(DATASETS[name])
    assert len(dataset_class.classes) == NUM_CLASSES[name]
    assert tuple(dataset_class.published or dataset_class.classes) == dataset_class.classes


def test_task_ids_that_are_not_in_alphabetical_order() -> None:
    loco = load(DATASETS["mvtecloco"]).classes
    assert loco == ("breakfast_box", "screw_bag", "pushpins", "splicing_connectors", "juice_bottle")
    assert load(DATASETS["dagm"]).classes[9] == "Class10"
    coad = load(DATASETS["coad"]).classes
    assert (coad[7], coad[8], coad[15], coad[19], coad[20]) == tuple(
        f"screw/{name}" for name in ("A8", "B1", "C1", "D1", "D2")
    )


def test_masks_with_soft_borders_are_cut_at_half_scale() -> None:
    thresholds = {name: load(DATASETS[name]).mask_threshold for name in NUM_CLASSES}
    assert {name for name, threshold in thresholds.items() if threshold == 128} == {"mtd", "coad"}
    assert set(thresholds.values()) == {1, 128}
