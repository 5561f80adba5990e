import pytest

from configuration import registration


@pytest.mark.parametrize(
    ("setting", "params", "suffix"),
    [
        ("vanilla", {}, ""),
        ("semi", {"semi_anomaly_num": 5, "drawn": 3}, "_5_num"),
        ("fewshot", {"fewshot_exm": 2, "fewshot_aug_type": ("rotation", "flip")}, "_rotationflip_2_shot"),
        ("fewshot", {"fewshot_exm": 8, "fewshot_aug_type": ()}, "_normal_8_shot"),
        ("continual", {}, "_4_task"),
        ("noisy", {"noisy_ratio": 0.15}, "_0.15_ratio"),
        ("transfer", {"source": 0, "target": 1}, "_from_0_to_1"),
    ],
)
def test_file_names_are_those_of_upstream(setting: str, params: dict[str, object], suffix: str) -> None:
    assert registration.SETTINGS[setting].file_suffix(params, valid_task=4) == suffix


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(KeyError, match="semi_anomaly_num"):
        registration.SETTINGS["semi"].file_suffix({}, valid_task=0)


def test_a_model_goes_on_where_tasks_follow_each_other() -> None:
    assert {name for name, row in registration.SETTINGS.items() if row.goes_on} == {"continual", "transfer"}
