"""Settings: ranges, overrides and their messages, the rates that "auto" means, and which files `python -m src
configure` writes when.
"""

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from src import config
from src.config import Config, Machine, resolve
from src.experiments import EXPERIMENTS
from src.rates import family
from src.run import configure, variables
from src.run.files import file_sha, read_json, write_json
from src.run.inputs import find_inputs
from src.run.overrides import parse_set
from src.run.paths import RunPaths
from src.run.variables import GPU_EXPERIMENT

ROOT = Path(__file__).parents[1]


# ---- Config ----


def test_every_setting_belongs_to_exactly_one_stage():
    names = [name for stage in config.STAGES.values() for name in stage]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Config)) and len(names) == len(
        set(names)
    )
    assert config.STAGES["split"] == [
        "folds",
        "fold_scheme",
        "fold_seed",
        "dedupe",
        "limit",
        "bad_images",
        "external",
    ]
    assert config.STAGES["predict"] == ["tta", "test_size", "refit"] and config.STAGES["submit"] == ["decode"]


def test_no_setting_of_the_machine_is_one_of_the_experiment():
    assert not {field.name for field in dataclasses.fields(Machine)} & {
        field.name for field in dataclasses.fields(Config)
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 1},
        {"folds": 51},
        {"epochs": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"lr": "fast"},
        {"drop_rate": 1},
        {"ema": -0.1},
        {"dedupe": "no"},
        {"trainable": True},
        {"trainable": -1},
        {"trainable": ""},
        {"trainable": ()},
        {"seed": 0.5},
        {"lrr": 1},
        {"layer_decay": 1.1},
        {"tta": None},
    ],
)
def test_a_value_out_of_range_is_refused_when_made_and_when_replaced(wrong):
    with pytest.raises(ValidationError):
        Config(**wrong)
    with pytest.raises((ValidationError, TypeError)):
        replace(Config(), **wrong)


def test_settings_can_not_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 2


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_is_valid_and_comes_back_from_json(name):
    settings = resolve(EXPERIMENTS[name]())
    assert Config(**json.loads(json.dumps(config.as_dict(settings)))) == settings
    assert "auto" not in (settings.lr, settings.body_lr, settings.layer_decay)


@pytest.mark.parametrize(
    "settings, rates",
    [
        (Config(), (1e-2, 5e-4, 0.9)),
        (Config(trainable=0), (1e-2, 5e-4, 0.9)),
        (Config(trainable=2), (2e-3, 5e-4, 0.9)),
        (Config(trainable="blocks.6"), (2e-3, 5e-4, 0.9)),
        (Config(trainable="all"), (1e-3, 3e-4, 0.9)),
        (Config(trainable="all", pretrained=False), (1e-3, 1e-3, 1.0)),
        (Config(backbone="own", trainable="all"), (1e-3, 3e-4, 0.9)),
        (Config(backbone="convnext_tiny.in12k", trainable="all"), (1e-3, 1e-4, 0.85)),
        (Config(backbone="vit_small_patch16_224", trainable=3), (5e-4, 3e-5, 0.7)),
        (Config(backbone="hf_hub:timm/eva02_tiny", trainable="all"), (5e-4, 3e-5, 0.7)),
        (Config(backbone="swinv2_tiny", trainable="all", lr=1e-2, layer_decay=1), (1e-2, 3e-5, 1.0)),
        (Config(trainable="all", pretrained=False, init_from="a"), (1e-3, 3e-4, 0.9)),
    ],
)
def test_auto_rates_follow_family_and_what_learns(settings, rates):
    found = resolve(settings)
    assert (found.lr, found.body_lr, found.layer_decay) == rates
    assert resolve(found) == found


# timm's modules (files of models) whose rates are those of a transformer, and of a ConvNeXt; all others': a CNN's
VIT_MODULES = set(
    "beit cait coat convit crossvit davit deepseek_vit deit edgenext efficientformer efficientformer_v2"
    " efficientvim efficientvit_mit efficientvit_msra eva fastvit focalnet gcvit gemma4_vit hiera hieradet_sam2"
    " iformer levit lowformer mambaout maxxvit metaformer mlp_mixer mobilevit mvitv2 naflexvit nest nextvit pit"
    " pvt_v2 qwen3_vit sequencer shvit swiftformer swin_transformer swin_transformer_v2 swin_transformer_v2_cr"
    " tiny_vit tnt twins visformer vision_transformer vision_transformer_hybrid vision_transformer_relpos"
    " vision_transformer_sam vitamin volo xcit".split()
)
CONVNEXT_MODULES = {"convnext", "inception_next", "rdnet"}


def test_every_model_of_timm_has_the_rates_of_its_family():
    for module in timm.list_modules():
        expected = "convnext" if module in CONVNEXT_MODULES else "vit" if module in VIT_MODULES else "cnn"
        found = {name: family(name) for name in timm.list_models(module=module)}
        assert set(found.values()) == {expected}, f"{module}: {found}"
    assert VIT_MODULES | CONVNEXT_MODULES <= {*timm.list_modules()}


def test_each_experiment_for_a_gpu_has_pretrained_weights_and_says_its_estimate():
    pretrained, on_gpu = {*timm.list_pretrained()}, [name for name in EXPERIMENTS if name.startswith("gpu_")]
    assert len(on_gpu) >= 6 and GPU_EXPERIMENT in on_gpu
    for name in on_gpu:
        text = " ".join(inspect.getdoc(EXPERIMENTS[name]).split())
        assert EXPERIMENTS[name]().backbone in pretrained and "by estimate" in text, name


# ---- where there is a GPU ----


def default_run(bench, monkeypatch, has_gpu: bool, machine: str = "", **asked) -> tuple[str, str]:
    """The name of the run by make's command line, and the experiment that configure then takes."""
    monkeypatch.setattr(variables, "has_gpu", lambda: has_gpu)
    values = {"COMP": "tiny", "MACHINE": machine, **asked}
    name = variables.run_name(values, is_smoke=False)
    for key in ("EXP", "SET", "RUN"):
        monkeypatch.delenv(key, raising=False)
    for key, value in (values | {"INPUTS": "inputs"}).items():
        monkeypatch.setenv(key, value)
    configure.configure(RunPaths(Path("runs") / name), os.environ, EXPERIMENTS)
    return name, configure.load(Path("runs") / name / "config.json").exp


def test_make_submit_takes_the_experiment_of_the_gpu_by_its_name_and_says_so_once(bench, monkeypatch, capsys):
    assert default_run(bench, monkeypatch, False) == ("tiny-baseline", "baseline")
    assert "EXP=" not in capsys.readouterr().out
    assert default_run(bench, monkeypatch, True) == (f"tiny-{GPU_EXPERIMENT}", GPU_EXPERIMENT)
    line = f"EXP={GPU_EXPERIMENT}, since there is a GPU here; the processor's: make submit COMP=tiny EXP=baseline"
    assert capsys.readouterr().out.count(line) == 1
    default_run(bench, monkeypatch, True)
    assert line not in capsys.readouterr().out  # the run remembers it
    settings = configure.load(Path(f"runs/tiny-{GPU_EXPERIMENT}/config.json"))
    assert settings.config == resolve(EXPERIMENTS[GPU_EXPERIMENT]())  # settings do not change by device


def test_what_is_asked_for_is_taken_on_a_gpu_too(bench, monkeypatch):
    assert default_run(bench, monkeypatch, True, EXP="head") == ("tiny-head", "head")
    assert default_run(bench, monkeypatch, True, "device=cpu workers=1") == ("tiny-baseline", "baseline")
    assert variables.run_name({}, is_smoke=False) == "demo-demo"


def test_a_gpu_is_a_file_of_its_driver_that_this_process_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(variables, "GPU_FILES", (tmp_path / "nvidia0",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not variables.has_gpu()
    (tmp_path / "nvidia0").touch()
    assert variables.has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not variables.has_gpu()


# ---- SET ----


def test_overrides_are_read_by_the_settings_type():
    found = parse_set(
        " epochs=9  lr=3e-4 body_lr=auto trainable=blocks.5,blocks.6 pretrained=false tta=hflip weights=a=b.pt\tinit_from= "
    )
    assert found == {
        "epochs": 9,
        "lr": 3e-4,
        "body_lr": "auto",
        "trainable": ("blocks.5", "blocks.6"),
        "pretrained": False,
        "tta": ("hflip",),
        "weights": "a=b.pt",
        "init_from": "",
    }
    assert parse_set("trainable=2") == {"trainable": 2} and parse_set("trainable=blocks.6") == {
        "trainable": "blocks.6"
    }
    assert (
        parse_set("tta=") == {"tta": ()}
        and parse_set("") == {}
        and parse_set("workers=0 cache_gb=2", Machine) == {"workers": 0, "cache_gb": 2.0}
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("lrr=1", "lrr=1: there is no setting lrr; did you mean lr?"),
        ("learning_rate=1", "did you mean lr?"),
        ("wd=1", "did you mean weight_decay?"),
        ("bs=8", "did you mean batch_size?"),
        ("model=x", "did you mean backbone?"),
        ("img_size=9", "did you mean image_size?"),
        ("epoch=9", "did you mean epochs?"),
        ("distill=my-run", "distill=my-run: distillation from a run's out-of-fold predictions leaks"),
        ("zzz=1", "choose from folds, fold_scheme"),
        ("epochs", "epochs: write setting=value, without spaces"),
        ("epochs=1 epochs=2", "epochs is given twice"),
        ("epochs=1,2", "epochs takes one value, not a list"),
        ("workers=2", 'workers=2: write MACHINE="workers=2"'),
        ("epochs=many", "epochs=many: takes a whole number, at least 1"),
        ("folds=1", "folds=1: takes a whole number, at least 2, at most 50"),
        ("lr=-1", "lr=-1: takes a number, above 0, at most 10, or auto"),
        ("ema=1", "ema=1: takes a number, at least 0, below 1"),
        ("pretrained=maybe", "takes true or false"),
        ("dedupe=no", "takes one of content, group, none"),
        ("trainable=true", "trainable=true: takes a whole number, at least 0, or a name, or a,b,c"),
        ("backbone=", "backbone=: takes a name"),
        ("lr=nan", "lr=nan: takes"),
    ],
)
def test_a_wrong_override_says_what_was_given_and_what_is_allowed(text, message):
    with pytest.raises(ValueError) as error:
        parse_set(text)
    assert message in str(error.value)


def test_all_wrong_overrides_are_reported_at_once():
    with pytest.raises(ValueError) as error:
        parse_set("lrr=1 epochs=0 lr=fast x seed=3 wd=0")
    assert len(str(error.value).splitlines()) == 5 and "seed" not in str(error.value)


@given(st.text())
def test_any_text_is_read_or_refused_with_a_message(text):
    try:
        replace(Config(), **parse_set(text))
    except ValueError as error:
        assert str(error).startswith("SET: ")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 10**6),
            "lr": st.floats(1e-9, 10) | st.just("auto"),
            "pretrained": st.booleans(),
            "dedupe": st.sampled_from(["content", "group", "none"]),
            "trainable": st.integers(0, 99)
            | st.lists(st.from_regex(r"\A[a-z][a-z0-9.*]{6,9}\Z"), min_size=2, max_size=3).map(tuple),
            "tta": st.lists(st.sampled_from(["hflip", "vflip"])).map(tuple),
        },
    )
)
def test_a_written_override_is_read_back_as_it_was(settings):
    text = " ".join(
        f"{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in settings.items()
    )
    assert parse_set(text) == settings


# ---- python -m src configure ----


@pytest.fixture
def kit(tmp_path: Path, monkeypatch) -> Path:
    """An empty working folder with a competition in inputs/demo."""
    monkeypatch.chdir(tmp_path)
    for name in ("COMP", "EXP", "SET", "MACHINE", "INPUTS", "CACHE"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("train", "test_images/deep", "eval/images"):
        (tmp_path / "inputs/demo" / folder).mkdir(parents=True)
    for name in ("train.csv", "sample_submission.csv", "test.csv"):
        (tmp_path / "inputs/demo" / name).write_text("id,label\n")
    for name in ("train/0.jpg", "test_images/deep/0.jpg", "eval/images/0.jpg"):
        (tmp_path / "inputs/demo" / name).write_text("image")
    return tmp_path


def run(*, name: str = "runs/x", **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "src", "configure", name],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
    )


def written(**environ: str) -> set[str]:
    """The files of runs/x that this run of src.config writes."""
    before = {path: path.stat().st_mtime_ns for path in Path("runs/x").glob("*")}
    done = run(**environ)
    assert done.returncode == 0, done.stderr
    return {path.name for path in Path("runs/x").glob("*") if before.get(path) != path.stat().st_mtime_ns}


def test_each_file_is_written_only_when_its_content_changes(kit):
    assert written() == {"config.json", "split.json", "train.json", "predict.json", "submit.json"}
    assert written() == set()
    assert written(SET="lr=0.5") == {"config.json", "train.json"}
    assert written(SET="lr=0.5 tta=hflip") == {"config.json", "predict.json"}
    assert written(SET="lr=0.5 tta=hflip decode=other") == {"config.json", "submit.json"}
    assert written(SET="lr=0.5 tta=hflip decode=other limit=50") == {"config.json", "split.json"}
    assert written(MACHINE="workers=0") == {"config.json"}, (
        "SET is remembered, and the machine changes no hash"
    )


def test_the_files_hold_a_stages_settings_and_what_it_reads(kit):
    run(SET="epochs=4")
    split, train, predict, submit = (
        read_json(Path(f"runs/x/{stage}.json")) for stage in ("split", "train", "predict", "submit")
    )
    assert set(split) == {*config.STAGES["split"], "comp", "files", "folders", "code"}
    assert set(split["files"]) == {"train.csv", "sample_submission.csv", "test.csv"} and set(
        split["folders"]
    ) == {"train"}
    assert set(train) == set(config.STAGES["train"]) and train["epochs"] == 4 and train["lr"] != "auto"
    assert set(predict) == {"tta", "test_size", "refit", "files", "folders"} and set(predict["files"]) == {
        "sample_submission.csv",
        "test.csv",
    }
    assert set(predict["folders"]) == {"test_images/deep", "eval/images"} and submit == {"decode": "auto"}


def test_what_the_competition_holds_decides_what_is_stale(kit):
    run()
    (kit / "inputs/demo/train.csv").write_text("id,label\n1,2\n")
    assert written() == {"split.json"}
    (kit / "inputs/demo/eval/images/1.jpg").touch()
    assert written() == {"predict.json"}
    (kit / "inputs/demo/eval/images/0.jpg").write_text("other")  # in place: its folder's time stays
    assert written() == {"predict.json"}
    (kit / "inputs/demo/test.csv").write_text("id\n")
    assert written() == {"split.json", "predict.json"}
    (kit / "inputs/demo/train/1.jpg").touch()
    assert written() == {"split.json"}
    (kit / "inputs/demo/train/labels.csv").write_text("id,label\n")
    assert written() == {"split.json"}
    assert written() == set()


def test_a_link_that_leads_back_up_is_no_endless_walk(kit):
    (kit / "inputs/demo/train/up").symlink_to(kit / "inputs/demo")
    done = run()
    assert (
        done.returncode == 2 and "does a link lead back up?" in done.stderr and "Traceback" not in done.stderr
    )


def test_a_new_setting_belongs_to_the_stage_whose_class_it_stands_in():
    assert [kind.__name__ for kind in (config.Split, config.Train, config.Predict, config.Submit)] == [
        s.capitalize() for s in config.STAGES
    ]
    source = (
        (ROOT / "src/config.py")
        .read_text()
        .replace(
            "class Config(Submit, Predict, Train, Split):\n",
            "class Config(Submit, Predict, Train, Split):\n    stray: int = 0\n",
        )
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    assert "a setting belongs into Split, Train, Predict or Submit, not Config" in done.stderr


def test_the_settings_come_back_as_they_were_given(kit):
    assert run(EXP="head", SET="trainable=a,b", MACHINE="workers=0", CACHE="/tmp/c").returncode == 0
    settings = configure.load(Path("runs/x/config.json"))
    assert (settings.comp, settings.exp, settings.set) == ("demo", "head", "trainable=a,b")
    assert settings.config == resolve(
        replace(EXPERIMENTS["head"](), trainable=("a", "b"))
    ) and settings.machine == Machine(workers=0)
    assert (settings.folder, settings.cache) == (Path("inputs/demo"), Path("/tmp/c"))
    with pytest.raises(ValueError, match="does not exist"):
        configure.load(Path("runs/y/config.json"))


def test_a_run_whose_machine_had_a_setting_that_is_no_more_is_read_all_the_same(kit):
    assert run(MACHINE="workers=0").returncode == 0
    path = Path("runs/x/config.json")
    saved = read_json(path)
    write_json(saved | {"machine": saved["machine"] | {"compile": False}}, path)
    assert configure.load(path).machine == Machine(workers=0)


def test_all_problems_are_reported_before_anything_is_written(kit):
    done = run(COMP="clothing", EXP="heda", SET="lrr=1", MACHINE="worker=1", name="runs/a b")
    assert done.returncode == 2 and not Path("runs").exists()
    for words in (
        "RUN='a b' can't be a name",
        "COMP=clothing: there is no folder inputs/clothing (in inputs is demo)",
        "did you mean head?",
        "did you mean lr?",
        "did you mean workers?",
    ):
        assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["demo2", "competitions/demo2", "competitions/new/demo2"])
def test_a_competition_is_found_three_levels_deep(kit, place):
    (kit / "inputs" / place).mkdir(parents=True)
    assert find_inputs(Path("inputs"), "demo2") / "demo2" == Path("inputs") / place


def test_two_folders_of_a_competitions_name_are_an_error_that_names_both(kit):
    for place in ("a/demo2", "b/demo2"):
        (kit / "inputs" / place).mkdir(parents=True)
    with pytest.raises(ValueError, match="inputs/a and in inputs/b: say which one with INPUTS"):
        find_inputs(Path("inputs"), "demo2")


def test_a_run_that_is_called_like_its_competition_is_not_the_competition(tmp_path, monkeypatch):
    """As below /kaggle/input, where a bundle or the output of an earlier session lies beside it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("inputs/clothing", "inputs/podium-models/runs/clothing"):
        Path(folder).mkdir(parents=True)
    for name in ("config.json", "folds.csv"):
        Path("inputs/podium-models/runs/clothing", name).touch()
    assert find_inputs(Path("inputs"), "clothing") == Path("inputs")


def test_a_run_of_another_competition_is_refused_and_an_ensemble_left_alone(kit):
    run()
    (kit / "inputs/other").mkdir()
    assert "belongs to COMP=demo, not other" in run(COMP="other").stderr
    Path("runs/x/config.json").write_text('{"comp": "demo", "ensemble": ["a"]}')
    assert (
        "is an ensemble" in run().stderr
        and Path("runs/x/config.json").read_text() == '{"comp": "demo", "ensemble": ["a"]}'
    )


def test_changed_code_is_named_once_the_run_has_finished_folds(kit):
    run()
    losses = file_sha(ROOT / "src/run/predictions.py")
    for k, sha in enumerate((losses, "0", "1")):
        write_json(
            {"recipe": "r", "code": {"src/run/predictions.py": sha, "src/gone.py": "1" if k else losses}}
            if k
            else {"code": {"src/run/predictions.py": sha}},
            Path(f"runs/x/fold{k}/done.json"),
        )
    assert (
        run().stdout
        == "code changed since this run was trained: src/gone.py (removed), src/run/predictions.py; nothing is re-run: make retrain acts on it\n"
    )
    assert run(SET="lr=0.5").stdout == "", "these folds are trained again anyway"


def test_a_wrong_experiment_says_which_setting(kit, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "wrong", lambda: Config(epochs=0, lrr=1))
    with pytest.raises(ValueError) as error:
        configure.make_experiment("wrong", EXPERIMENTS)
    assert "EXP=wrong, in src/experiments.py: " in str(
        error.value
    ) and "epochs=0: takes a whole number, at least 1" in str(error.value)
    assert "lrr=1: no such setting; did you mean lr?" in str(error.value)


def test_it_imports_nothing_slow():
    code = "import sys, src.config, src.experiments; print([m for m in ('numpy', 'pandas', 'torch', 'timm', 'PIL') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    "text, meant",
    [
        ("epochs = 3", "epochs=3"),
        ("epochs=3,lr=1e-3", "epochs=3 lr=1e-3"),
        ("epochs: 3; lr = 1e-3", "epochs=3 lr=1e-3"),
        ("--epochs=3 --lr=1", "epochs=3 lr=1"),
        ("trainable=a,b,lr=1", "trainable=a,b lr=1"),
        ('"lr=1"', "lr=1"),
    ],
)
def test_settings_written_in_another_way_get_the_line_to_type(text, meant):
    with pytest.raises(ValueError) as caught:
        parse_set(text)
    assert str(caught.value) == f'SET: {text!r} is not how settings are written: write SET="{meant}"'


@pytest.mark.parametrize("text", ["=", "lr = x", "a:b", "lr==1"])
def test_no_line_to_type_is_offered_that_would_be_refused_too(text):
    with pytest.raises(ValueError, match=text.split()[-1]) as caught:
        parse_set(text)
    assert 'write SET="' not in str(caught.value)


def test_make_knows_each_setting_and_where_it_goes():
    from src.run.variables import setting_places

    known = setting_places(Path(config.__file__).read_text())
    assert {name for name in known if known[name] == "SET"} >= {*config.as_dict(Config())} and known[
        "learning_rate"
    ] == "SET"
    assert {name for name in known if known[name] == "MACHINE"} >= {*config.as_dict(Machine())} and known[
        "num_workers"
    ] == "MACHINE"
