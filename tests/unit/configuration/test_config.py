"""Layers, types and sections; every defect that the old command line had stays cured."""

from pathlib import Path

import pytest

from configuration.config import config_values, load_config
from tests.stub_house import House
from tests.unit.configuration.loading import built, refused, trained

pytestmark = pytest.mark.usefixtures("house")


def test_a_stronger_layer_wins_key_by_key(house: House) -> None:
    config = built(house)
    assert config.data.data_size == 224, "model YAML over data set YAML"
    assert config.data.num_task == 3, "data set YAML where nobody else says anything"
    assert trained(setting="-s").setting.semi_anomaly_num == 2, "model YAML over train YAML"
    assert trained("-san", "7", setting="-s").setting.semi_anomaly_num == 7, "command line over all"
    assert built(house, "--set", "data_crop_size=200").data.data_crop_size == 200


def test_every_value_knows_where_it_comes_from(house: House) -> None:
    config = built(house, "--seed", "7", "--set", "_patch_size=5")
    assert config.origin["seed"] == "--seed"
    assert config.origin["_patch_size"] == "--set _patch_size"
    assert config.origin["data_size"] == "1_model_base/bank.yaml"
    assert config.origin["num_task"] == "3_dataset_base/bolts.yaml"
    assert config.origin["vis_num"] == "2_train_base/centralized_learning.yaml"
    assert config.origin.keys() >= config_values(config).keys()


def test_own_keys_fill_the_records_of_method_and_data_set(house: House) -> None:
    config = built(house, "--set", "bolts_split=small")
    assert vars(config.params) == {
        "layers": ("layer2", "layer3"),
        "sampler_percentage": 0.1,
        "patch_size": 3,
        "distance": "l2sq",
        "limit": None,
    }
    assert vars(config.dataset_params) == {"bolts_split": "small"}
    assert config_values(config)["_patch_size"] == 3


def test_zero_overrides() -> None:
    words = ("-m", "bank", "-d", "bolts", "-g", "cpu")
    assert load_config(("-z", "-nr", "0", *words)).setting.noisy_ratio == 0.0
    assert load_config(("-z", "-nr", "0", *words, "--seed", "0")).run.seed == 0
    assert refused("-z", "-sp", "0", *words) == [
        "--sampler-percentage: _sampler_percentage must be in (0, 1], not 0.0"
    ]


def test_net_left_out_is_the_model_yaml_s(house: House) -> None:
    assert built(house).run.net == "resnet18"
    assert built(house).run.backbone == "resnet18"
    assert built(house, "-n", "timm/resnet10t").run.net == "timm/resnet10t"


def test_a_net_that_carries_a_backbone_takes_it_from_its_key_or_the_flag(house: House) -> None:
    assert (trained().run.net, trained().run.backbone) == ("net_trained", "wide_resnet50")
    assert trained("-bb", "net_tiny").run.backbone == "net_tiny"
    assert refused(*house.vanilla, "-bb", "net_tiny") == [
        "--backbone: bank has no use for it; its YAML files have no '_backbone'"
    ]


def test_a_table_by_net_is_looked_up_with_the_net_and_its_backbone(house: House) -> None:
    assert vars(trained().params) == {"lr": 0.0001}
    assert vars(trained("-bb", "resnet18").params) == {"lr": 0.03}
    house.trained.write_text(house.trained.read_text().replace("default: 0.0001", "vit_b_16: 0.0001"))
    assert refused("-v", "-m", "trained", "-d", "bolts") == [
        "1_model_base/trained.yaml: '_lr' has no row for the net net_trained or wide_resnet50; "
        "add it, or a row 'default'"
    ]


def test_a_row_of_no_net_is_refused(house: House) -> None:
    house.trained.write_text(house.trained.read_text().replace("{resnet18:", "{resnet19:"))
    assert refused("-v", "-m", "trained", "-d", "bolts") == [
        "1_model_base/trained.yaml: '_lr' has a row for 'resnet19', which is no net; did you mean 'resnet18'?"
    ]


def test_tested_tasks_left_out_are_the_trained_ones(house: House) -> None:
    assert built(house, "-tid", "2").run.valid_task_ids == (2,)
    assert built(house, "-tid", "all").run.train_task_ids == (0, 1, 2)
    assert built(house, "-tid", "1", "-vid", "all").run.valid_task_ids == (0, 1, 2)
    assert built(house).run.train_task_ids == (0,)


def test_a_flag_without_a_use_is_refused(house: House) -> None:
    assert refused(*house.vanilla, "-ne", "3") == [
        "--num-epochs: bank has no use for it; its YAML files have no 'num_epochs'"
    ]
    assert refused("-v", "-m", "trained", "-d", "bolts", "-sp", "0.1") == [
        "--sampler-percentage: trained has no use for it; its YAML files have no '_sampler_percentage'"
    ]
    assert refused(*house.vanilla, "-fe", "1") == [
        "--fewshot-exm: read by the setting fewshot only, and this is vanilla"
    ]
    assert len(refused(*house.vanilla, "--set", "noisy_ratio=0.2", "--set", "anomaly_cap=0.5")) == 2
    assert len(refused(*house.vanilla, "--set", "ref_num=3")) == 1
    federated = "for federated training (f2d), which is not built yet"
    assert refused(*house.vanilla, "--num-round", "3", "-fam", "mean") == [
        f"--fed-aggregate-method: {federated}",
        f"--num-round: {federated}",
    ]
    assert refused(*house.vanilla, "--set", "vis_num=3", "--no-vis") == [
        "--set vis_num: has no effect without pictures, which --no-vis turns off"
    ]


def test_the_switches_of_pictures_and_cache_work_both_ways(house: House) -> None:
    assert built(house).output.vis
    assert not built(house, "--no-vis").output.vis
    assert built(house, "--no-vis", "-vis").output.vis
    assert built(house, "--no-cache").output.cache_dir is None
    assert built(house, "-wd", "/results").output.cache_dir == Path("/results/cache")


def test_debug_is_stronger_than_all(house: House) -> None:
    config = trained("-ne", "9", "--debug", "-wd", "/results", setting="-v")
    assert (config.train.num_epochs, config.data.batch_limit) == (1, 2)
    assert config.output.work_dir == Path("/results/debug")
    assert config.output.cache_dir == Path("/results/cache")
    assert built(house, "--debug").train.num_epochs is None
    assert built(house).data.batch_limit is None
    assert "no effect without --debug" in refused(*house.vanilla, "--set", "batch_limit=3")[0]


def test_epochs_of_a_transfer_run_are_those_of_the_second_step() -> None:
    pair = ("-tid", "0", "-vid", "1")
    config = trained("-ttn", "8", "-ne", "10", *pair, setting="-t")
    assert (config.train.num_epochs, config.setting.transfer_num_epochs) == (50, 10)
    assert trained(*pair, "--set", "num_epochs=9", setting="-t").train.num_epochs == 9
    both = trained(*pair, "-ne", "10", "--set", "num_epochs=9", setting="-t")
    assert (both.train.num_epochs, both.setting.transfer_num_epochs) == (9, 10)
    refusal = refused("-t", "-m", "bank", "-d", "bolts", *pair, "-ne", "10")
    assert refusal == ["--num-epochs: bank has no use for it; its YAML files have no 'num_epochs'"]
    refusal = refused("-t", "-m", "bank", "-d", "bolts", *pair, "--set", "transfer_num_epochs=3")
    assert refusal == [
        "--set transfer_num_epochs: bank has no use for it; its YAML files have no 'num_epochs'"
    ]


def test_augmenting_shots_alone_means_rotation() -> None:
    few = ("-f", "-m", "bank", "-d", "bolts", "-g", "cpu")
    assert load_config((*few, "-fda")).setting.fewshot_aug_type == ("rotation",)
    assert load_config((*few, "-fda", "-fat", "normal", "flip")).setting.fewshot_aug_type == (
        "normal",
        "flip",
    )
    assert len(refused(*few, "-fat", "flip", "-fnd", "2")) == 2
    assert load_config((*few, "-ffa")).setting.fewshot_feat_aug
    assert "no patch features" in refused("-f", "-m", "trained", "-d", "bolts", "-ffa")[0]


def test_the_size_of_masks_may_be_native(house: House) -> None:
    assert built(house).data.mask_size == 256
    assert built(house, "--set", "mask_size=native").data.mask_size is None


def test_typed_paths_start_where_they_are_typed_and_others_at_the_repository(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert built(house).output.work_dir == house.root / "work_dir"
    assert built(house, "-wd", "here").output.work_dir == elsewhere / "here"
    assert built(house, "-dp", "bolts").data.root == elsewhere / "bolts"
    assert built(house, "-rp", "all").data.root == elsewhere / "all" / "bolts"
    (elsewhere / "w.pth").touch()
    assert built(house, "-w", "w.pth").run.weights == str(elsewhere / "w.pth")
    assert built(house, "-w", "none").run.weights == "none"


def test_what_a_method_cannot_do_is_refused_with_its_reason(house: House) -> None:
    assert refused("-s", "-m", "bank", "-d", "bolts") == [
        "--semi: bank does not run in this setting: it learns from normal images alone; trained can"
    ]
    assert refused(*house.vanilla, "-n", "net_tiny") == [
        "--net net_tiny: bank runs with resnet18, wide_resnet50, timm/<name>"
    ]
    assert refused(*house.vanilla, "--set", "_patch_size=99") == ["--model bank: patches of 99 do not exist"]


def test_a_method_without_labels_can_take_the_anomalies_for_normal(house: House) -> None:
    as_normal = ["--set", "semi_use_anomalies_as_normal=true"]
    semi = ["-s", "-d", "bolts", "-g", "cpu"]
    assert load_config([*semi, "-m", "bank", *as_normal]).setting.semi_use_anomalies_as_normal
    assert refused(*semi, "-m", "trained", *as_normal) == [
        "--set semi_use_anomalies_as_normal: trained knows them for anomalies"
    ]
    assert refused(*house.vanilla, *as_normal) == [
        "--set semi_use_anomalies_as_normal: read by the setting semi only, and this is vanilla"
    ]


def test_numbers_that_no_optimiser_takes_are_refused() -> None:
    assert refused("-v", "-m", "trained", "-d", "bolts", "-g", "cpu", "--set", "_lr=-1") == [
        "--set _lr: must be at least 0, not -1"
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "net=[]"], "--set net: must be a name, not []"),
        (["--no-vis", "--vis-em"], "--vis-em: has no effect without pictures, which --no-vis turns off"),
        (
            ["--no-vis", "--set", "vis_num=3"],
            "--set vis_num: has no effect without pictures, which --no-vis turns off",
        ),
        (["--set", "mask_size=100000"], "--set mask_size: must be in 1 to 16384, not 100000"),
        (
            ["--set", "num_epochs=3"],
            "--set num_epochs: no YAML file of this run has this key; did you mean 'transfer_num_epochs'?",
        ),
        (["-g", "x"], "--gpu-id: must be a whole number or cpu, not 'x'"),
        (["-tid", "x"], "--train-task-id: must be a whole number or all, not 'x'"),
        (["--set", "ref_num=3"], "--set ref_num: bank compares with no reference images"),
        (["-tag", "cutpaste"], "--train-aug-type: bank has no use for cutpaste; use normal"),
        (
            ["--set", "mask_crop_size=64", "--set", "mask_size=native"],
            "--set mask_crop_size: is no number of pixels of a mask of native size; leave it null",
        ),
        (["-w", "None"], "--weights: must be imagenet or none or a path, not 'None'"),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused(words: list[str], line: str, house: House) -> None:
    assert refused(*house.vanilla, *words) == [line]


def test_a_method_trained_in_epochs_needs_their_number() -> None:
    words = ["-v", "-m", "trained", "-d", "bolts", "-g", "cpu"]
    assert refused(*words, "--set", "num_epochs=null") == ["--set num_epochs: must be at least 1, not null"]
    assert refused(*words, "--set", "_backbone=[a]") == ["--set _backbone: must be a name, not ['a']"]


def test_all_problems_are_reported_at_once(house: House) -> None:
    house.bank.write_text(house.bank.read_text() + "data_sise: 3\nsemi: true\n")
    lines = refused(*house.vanilla, "-tid", "99", "--amp", "bf61", "--set", "_patchsize=3", "--bogus", "1")
    assert lines == [
        "--bogus: no such flag",
        "--set _patchsize: no YAML file of this run has this key; did you mean '_patch_size'?",
        "1_model_base/bank.yaml: 'semi' is chosen on the command line only, by --semi",
        "1_model_base/bank.yaml: unknown key 'data_sise'; did you mean 'data_size'?",
        "--amp: must be off or bf16 or fp16, not 'bf61'; did you mean 'bf16'?",
        "--train-task-id: no task 99; choose from 0 to 2, or all by itself",
    ]


def test_wrong_names_are_reported_with_the_nearest_and_with_wrong_values() -> None:
    flags = "--vanilla, --semi, --fewshot, --continual, --noisy, --transfer"
    assert refused("-v", "-s", "-m", "banc", "-d", "bolt", "-fe", "one", "-p", "c3d") == [
        f"--vanilla --semi: give exactly one of {flags}",
        "--paradigm c3d: not built yet; use c2d",
        "--model banc: no such method; did you mean 'bank'?",
        "--dataset bolt: no such data set; did you mean 'bolts'?",
        "--fewshot-exm: must be a whole number, not 'one'",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("_limit: None", "'_limit' must be a whole number or null, not 'None'; write null"),
        (
            "_sampler_percentage: 1e-3",
            "'_sampler_percentage' must be a finite number, not '1e-3'; write 1.0e-03",
        ),
        ("_sampler_percentage: .inf", "'_sampler_percentage' must be a finite number, not inf"),
        ("_patch_size: 3.0", "'_patch_size' must be a whole number, not 3.0"),
        ("_patch_size: true", "'_patch_size' must be a whole number, not True"),
        ("_distance: l2qs", "'_distance' must be l2 or l2sq, not 'l2qs'; did you mean 'l2sq'?"),
        ("_distance: l3", "'_distance' must be l2 or l2sq, not 'l3'"),
        ("_layers: layer2", "'_layers' must be a list, each item a text, not 'layer2'"),
        ("_patchsize: 3", "unknown key '_patchsize'; did you mean '_patch_size'?"),
    ],
)
def test_a_wrong_value_in_a_yaml_file_is_named_with_the_way_out(
    house: House, line: str, problem: str
) -> None:
    key = line.partition(":")[0]
    kept = [row for row in house.bank.read_text().splitlines() if row.partition(":")[0] != key]
    house.bank.write_text("\n".join([*kept, line]))
    assert refused(*house.vanilla) == [f"1_model_base/bank.yaml: {problem}"]


def test_a_missing_key_is_named(house: House) -> None:
    house.bank.write_text(house.bank.read_text().replace("_patch_size: 3\n", ""))
    assert refused(*house.vanilla) == ["1_model_base/bank.yaml: key '_patch_size' is missing"]
    house.bank.write_text(house.bank.read_text().replace("train_batch_size: 4\n", ""))
    assert refused(*house.vanilla)[0].endswith("key 'train_batch_size' is missing")


def test_loading_and_going_on_need_their_folders(house: House) -> None:
    assert refused(*house.vanilla, "--load-model") == [
        "--load-model: say where the model is with --load-model-dir DIR"
    ]
    there = str(house.root)
    assert refused(*house.vanilla, "--load-model-dir", there) == [
        "--load-model-dir: has no effect without --load-model"
    ]
    assert built(house, "--load-model", "--load-model-dir", there).output.load_model_dir == house.root
    assert "no such folder" in refused(*house.vanilla, "--resume", "nowhere")[0]
    assert (
        "which --load-model skips"
        in refused(*house.vanilla, "--load-model", "--load-model-dir", there, "--resume", there)[0]
    )
    assert "bank has no use for cutpaste; use normal" in refused(*house.vanilla, "-tag", "cutpaste")[0]
    assert "test images are never changed" in refused(*house.vanilla, "-vag", "cutpaste")[0]
    assert "no such file" in refused(*house.vanilla, "--split", "nowhere.json")[0]
    file = str(house.bank)
    assert f"no such file: {there}" in refused(*house.vanilla, "--split", there)[0]
    assert f"no such folder: {file}" in refused(*house.vanilla, "--resume", file)[0]
    assert f"no such folder: {file}" in refused(*house.vanilla, "--load-model", "--load-model-dir", file)[0]
    assert built(house, "--resume", there, "--split", file).output.resume == house.root


def test_the_record_names_setting_and_names(house: House) -> None:
    run = built(house, "--amp", "bf16").run
    assert (run.paradigm, run.setting, run.model, run.dataset) == ("c2d", "vanilla", "bank", "bolts")
    assert (run.weights, run.seed, run.amp, run.device) == ("imagenet", 66, "bf16", "cpu")
