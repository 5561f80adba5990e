"""Which file or flag a value comes from, and what the values of a run become."""

from pathlib import Path

import pytest

from configuration.config import config_values, load_config
from tests.stub_house import House
from tests.unit.configuration.loading import built, refused, trained

pytestmark = pytest.mark.usefixtures("house")


def test_a_paradigm_that_is_not_there_is_refused(house: House) -> None:
    assert refused(*house.vanilla, "-p", "f2d") == ["--paradigm f2d: not built yet; use c2d"]
    assert refused(*house.vanilla, "-p", "x") == ["--paradigm x: no such paradigm; see --list"]


def test_a_setting_is_needed() -> None:
    assert refused("-m", "bank", "-d", "bolts")[0].startswith("no setting: give exactly one of --vanilla,")


def test_weights_are_for_methods_with_a_pretrained_backbone(house: House) -> None:
    house.trained.write_text(house.trained.read_text().replace("_backbone: wide_resnet50\n", ""))
    assert trained("-w", "none").run.backbone == ""
    assert refused("-v", "-m", "trained", "-d", "bolts", "-w", "imagenet", "--partial-weights") == [
        "--weights: trained has no pretrained backbone",
        "--partial-weights: trained has no pretrained backbone",
    ]


def test_a_limit_of_memory_leaves_a_quarter_to_images_and_one_to_features(house: House) -> None:
    words = ("--set", "data_memory_mb=3000", "--set", "feature_memory_mb=900")
    free, bound = built(house, *words).data, built(house, *words, "--set", "memory_limit_mb=8003").data
    assert (free.data_memory_mb, free.feature_memory_mb, free.memory_limit_mb) == (3000, 900, None)
    assert (bound.data_memory_mb, bound.feature_memory_mb, bound.memory_limit_mb) == (2000, 900, 8003)


def test_the_cache_is_where_it_is_typed(house: House) -> None:
    assert built(house, "--cache-dir", "/fast", "-wd", "/results").output.cache_dir == Path("/fast")
    assert refused(*house.vanilla, "--no-cache", "--cache-dir", "/fast") == [
        "--cache-dir: has no effect without the cache, which --no-cache turns off"
    ]


def test_made_fields_know_where_they_come_from(house: House) -> None:
    config = built(house, "-tid", "1", "-rp", "/all")
    assert (config.origin["train_task_ids"], config.origin["device"]) == ("--train-task-id", "--gpu-id")
    assert config.origin["valid_task_ids"] == "2_train_base/centralized_learning.yaml"
    assert config.origin["backbone"] == config.origin["net"] == "1_model_base/bank.yaml"
    assert config.origin["setting"] == "--vanilla"
    assert config.origin["root"] == config.data.root_origin == "-rp, joined with data_path '/bolts'"
    assert config.origin["num_epochs"] == "the method trains in no epochs"
    assert config.origin["paradigm"] == "--paradigm (default)"
    assert trained("-ne", "3").origin["num_epochs"] == "--num-epochs"


def test_the_values_are_listed_once_and_without_their_origins(house: House) -> None:
    values = config_values(built(house, "--set", "bolts_split=small"))
    assert values["bolts_split"] == "small"
    assert values["_distance"] == "l2sq"
    assert values["data_size"] == 224
    assert "root_origin" not in values


def test_a_device_that_is_not_there_is_noted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    config = load_config([*house.vanilla[:-2], "-g", "3"])
    assert config.run.device == "cpu"
    assert config.notes == ("no GPU here: asked for GPU 3, running on the CPU",)


def test_a_key_is_at_home_in_one_file(house: House) -> None:
    for path, name, line in (
        (house.bank, "1_model_base/bank.yaml", "bolts_split: small"),
        (house.bolts, "3_dataset_base/bolts.yaml", "_knob: 1"),
        (house.train, "2_train_base/centralized_learning.yaml", "_knob: 1"),
        (house.train, "2_train_base/centralized_learning.yaml", "bolts_split: full"),
    ):
        before = path.read_text()
        path.write_text(f"{before}{line}\n")
        assert refused(*house.vanilla)[0] == f"{name}: unknown key '{line.partition(':')[0]}'"
        path.write_text(before)


def test_a_value_of_a_data_set_is_named_as_a_method_s(house: House) -> None:
    before = house.bolts.read_text()
    house.bolts.write_text(before.replace("bolts_split: full", "bolts_split: half"))
    assert refused(*house.vanilla) == [
        "3_dataset_base/bolts.yaml: 'bolts_split' must be full or small, not 'half'"
    ]
    house.bolts.write_text(before.replace("bolts_split: full\n", ""))
    assert refused(*house.vanilla) == ["3_dataset_base/bolts.yaml: key 'bolts_split' is missing"]


def test_a_method_without_a_net_is_refused(house: House) -> None:
    house.bank.write_text(house.bank.read_text().replace("net: resnet18\n", ""))
    assert refused(*house.vanilla)[0].endswith("1_model_base/bank.yaml: key 'net' is missing")


def test_the_files_of_a_run_have_to_be_there(house: House) -> None:
    house.train.unlink()
    assert refused(*house.vanilla) == [
        "2_train_base/centralized_learning.yaml: cannot be read (No such file or directory); restore it"
    ]


def test_a_backbone_may_be_a_table_by_net(house: House) -> None:
    before = house.trained.read_text()
    house.trained.write_text(before.replace("wide_resnet50", "{net_trained: vgg16}"))
    assert trained().run.backbone == "vgg16"
    house.trained.write_text(before.replace("wide_resnet50", "{resnet18: vgg16}"))
    (line,) = refused("-v", "-m", "trained", "-d", "bolts")
    assert line.startswith("1_model_base/trained.yaml: '_backbone' has no row for the net net_trained;")


def test_a_table_by_net_may_have_rows_of_timm_and_a_default(house: House) -> None:
    before = house.bank.read_text()
    rows = "{timm/resnet10t: 5, resnet18: 7, default: 3}"
    house.bank.write_text(before.replace("_patch_size: 3", f"_patch_size: {rows}"))
    for net, size in (("timm/resnet10t", 5), ("resnet18", 7), ("wide_resnet50", 3)):
        assert config_values(built(house, "-n", net))["_patch_size"] == size
