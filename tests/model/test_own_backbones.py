"""Backbones of one's own: a timm model with something around it, a network with its own weights file, two
branches. Pretrained weights, mean and std, layer groups, rates and the hash of the weights must be what they
are for a timm model by its name.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from conftest import fast, open_run
from safetensors.torch import load_file, save_file
from torch import nn

from src.config import Config, resolve
from src.data.recipe import backbone_code
from src.extras import layers
from src.extras.doctor.command import QUICK, examine
from src.fetch import fetch_weights
from src.model import weights
from src.model.backbone import (
    BACKBONES,
    Standardise,
    convolution,
    from_timm,
    make_backbone,
    normalisation,
    timm_names,
    trained_with,
)
from src.model.classifier import build
from src.model.pretrained import pretrained_hash
from src.model.trainable import groups, new_layers
from src.run import configure, hashing, predictions
from src.run.files import file_sha, read_json

LITE = "tf_efficientnet_lite0"
GEM = Config(backbone=f"gem:{LITE}", trainable=2, image_size=64)


class Own(nn.Module):
    """A network by hand, with names, mean and std of its own."""

    pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.top = (
            convolution(3, 8, 3, 2),
            convolution(8, 16, 3, 2),
            convolution(16, 16, 3, 2),
        )

    def forward(self, x):
        return self.top(self.middle(self.stem(x))).mean(dim=(2, 3))


class Branches(nn.Module):
    """Two timm models that were trained with different mean and std, side by side."""

    pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.left, self.right = from_timm(config, "test_resnet"), from_timm(config, "test_efficientnet")
        self.scale_left, self.scale_right = Standardise(self.left), Standardise(self.right)

    def forward(self, x):
        return torch.cat([self.left(self.scale_left(x)), self.right(self.scale_right(x))], dim=1)


class Fused(Branches):
    """The same with a layer of its own behind them."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.fuse = nn.Linear(self.left.num_features + self.right.num_features, 24)

    def forward(self, x):
        return self.fuse(super().forward(x)).relu()


@pytest.fixture(scope="session")
def fetched(tmp_path_factory):
    """The real weights of lite0, as make weights brings them."""
    root = tmp_path_factory.mktemp("fetched")
    fetch_weights(LITE, root=root)
    return root / LITE


@pytest.fixture
def lite0(fetched, tmp_path, monkeypatch):
    """The same in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fetched, Path("weights") / LITE)
    return Path("weights") / LITE / "model.safetensors"


@pytest.fixture
def own_words(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for word, maker in {"own": lambda config: Own(), "branches": Branches, "fused": Fused}.items():
        monkeypatch.setitem(BACKBONES, word, maker)


def write_branch_weights(seed: int = 5) -> None:
    for name in ("test_resnet", "test_efficientnet"):
        torch.manual_seed(seed)
        weights.save(timm.create_model(name), Path("weights") / name)


def write_own_weights(path: Path, seed: int = 5) -> Path:
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(Own().state_dict(), path)
    return path


def halves_equal_the_whole(model, config: Config) -> bool:
    image = torch.randint(0, 256, (3, 3, config.image_size, config.image_size), dtype=torch.uint8)
    torch.manual_seed(config.seed)
    backbone = make_backbone(config).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        return torch.equal(model.tail(model.features(image)), backbone(model.normalise(image)))


# ---- a timm model with something around it ----


def test_gem_around_lite0_has_its_weights_mean_std_groups_and_rates(lite0):
    bare, own = make_backbone(replace(GEM, backbone=LITE)), make_backbone(GEM)
    state = bare.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in own.body.state_dict().items())
    assert torch.equal(bare.conv_stem.weight, load_file(lite0)["conv_stem.weight"])
    assert normalisation(own) == normalisation(bare) == ((0.5,) * 3, (0.5,) * 3)
    assert groups(own) == [[f"body.{name}" for name in group] for group in groups(bare)] and new_layers(
        own
    ) == {"pool.p"}
    rates = [(c.lr, c.body_lr, c.layer_decay) for c in (resolve(GEM), resolve(replace(GEM, backbone=LITE)))]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("trainable", ["head", 2, "all", ("body.blocks.5",)])
def test_gem_around_lite0_learns_the_groups_of_the_bare_model_and_its_exponent(lite0, trainable):
    own = build(resolve(replace(GEM, trainable=trainable)), 5)
    bare = build(
        resolve(
            replace(
                GEM, backbone=LITE, trainable=("blocks.5",) if isinstance(trainable, tuple) else trainable
            )
        ),
        5,
    )
    depths = {f"body.{name}": depth for name, p, depth in bare.learning() if depth >= 0}
    assert {name: depth for name, p, depth in own.learning() if not name.startswith("head.")} == depths | {
        "pool.p": -1
    }
    assert halves_equal_the_whole(own, replace(GEM, trainable=trainable)) and (
        own.cut_at or trainable == "all"
    )


def test_the_hash_of_a_wrapped_models_weights_is_that_of_its_file(lite0):
    first = pretrained_hash(GEM)
    assert (
        first
        == pretrained_hash(replace(GEM, backbone=LITE))
        != pretrained_hash(replace(GEM, pretrained=False))
        == ""
    )
    save_file(
        {name: value + 1 if name == "bn1.bias" else value for name, value in load_file(lite0).items()},
        lite0,
        {"format": "pt"},
    )
    assert pretrained_hash(GEM) != first


def test_a_file_of_the_wrapped_model_or_of_the_whole_may_be_given(lite0):
    whole = make_backbone(GEM)
    with torch.no_grad():
        whole.pool.p.fill_(4.0)
    save_file(whole.state_dict(), "whole.safetensors")
    lite0.rename("lite.safetensors")
    for file, p in (("lite.safetensors", 3.0), ("whole.safetensors", 4.0)):
        found = make_backbone(replace(GEM, weights=file))
        assert (
            torch.equal(found.body.conv_head.weight, whole.body.conv_head.weight)
            and float(found.pool.p.detach()) == p
        )
        assert pretrained_hash(replace(GEM, weights=file)) == file_sha(Path(file))
    Path("elsewhere").mkdir()
    Path(f"elsewhere/{LITE}").mkdir()
    # a copy of the weights folder, as on Kaggle
    Path("lite.safetensors").rename(f"elsewhere/{LITE}/model.safetensors")
    assert torch.equal(
        make_backbone(replace(GEM, weights="elsewhere")).body.conv_head.weight, whole.body.conv_head.weight
    )


def test_fetching_by_the_name_of_an_own_backbone_brings_the_weights_of_what_it_wraps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BACKBONES, "mine", lambda config: nn.Sequential(from_timm(config, LITE)))
    fetch_weights("mine")
    assert make_backbone(Config(backbone="mine", image_size=64))
    Path("weights").rename("old")
    fetch_weights(f"gem:{LITE}")
    assert sorted(path.name for path in Path("weights").iterdir()) == [LITE]


def test_fetching_for_an_own_network_without_a_timm_model_says_where_its_file_goes(own_words):
    with pytest.raises(ValueError, match=r"weights/own/model.safetensors"):
        fetch_weights("own")


@pytest.mark.parametrize(
    "backbone, message",
    [
        ("gem", "say which, such as backbone=gem:tf_efficientnet_lite0"),
        ("gem:resnet999", "'gem:resnet999' is unknown; timm has .*own ones.*gem"),
        ("gemm:resnet18", "unknown.*own ones"),
        ("branch_cnn:resnet18", "has no resnet18 inside: write backbone=branch_cnn"),
        ("hidden_vit", "learns at the rates of a vit: write backbone=hidden_vit:test_vit"),
    ],
)
def test_a_name_that_says_something_else_than_what_is_wrapped_is_refused(monkeypatch, backbone, message):
    monkeypatch.setitem(
        BACKBONES,
        "hidden_vit",
        lambda config: nn.Sequential(from_timm(config, "vit_tiny_patch16_224" if 0 else "test_vit")),
    )
    with pytest.raises(ValueError, match=message):
        make_backbone(Config(backbone=backbone, pretrained=False, image_size=32))
    if backbone == "hidden_vit":
        assert timm_names(
            make_backbone(Config(backbone="hidden_vit:test_vit", pretrained=False, image_size=32))
        ) == ["test_vit"]


def test_a_timm_model_that_one_made_oneself_is_known_all_the_same_and_its_weights_are_asked_for(
    own_words, monkeypatch
):
    """timm.create_model in the function: mean, std and groups are the model's; the line to write instead
    works as typed.
    """
    source = "def plain(config):\n    return nn.Sequential(timm.create_model('test_resnet', num_classes=0), nn.ReLU())\n"
    names = {"nn": nn, "timm": timm, "from_timm": from_timm}
    exec(source, names)
    monkeypatch.setitem(BACKBONES, "plain", names["plain"])
    how = Config(backbone="plain", pretrained=False, trainable=2, image_size=32)
    found = make_backbone(how)
    assert (
        normalisation(found) == ((0.5,) * 3, (0.5,) * 3)
        and len(groups(found)) == 5
        and trained_with(found)["input_size"] == (3, 160, 160)
    )
    with pytest.raises(ValueError) as caught:
        make_backbone(replace(how, pretrained=True))
    line = re.search(r"make test_resnet by (.*?[)]), or set pretrained=false", str(caught.value)).group(1)
    write_branch_weights()
    exec(source.replace("timm.create_model('test_resnet', num_classes=0)", line), names)
    monkeypatch.setitem(BACKBONES, "plain", names["plain"])
    assert weights.files_of(make_backbone(replace(how, pretrained=True))) == [
        Path("weights/test_resnet/model.safetensors")
    ]


def test_a_timm_model_that_gives_its_maps_has_its_weights_too(own_words, monkeypatch):
    """features_only: a list of maps, of which the own module takes what it wants."""

    class Maps(nn.Module):
        def __init__(self, config: Config) -> None:
            super().__init__()
            self.body = from_timm(config, "test_efficientnet", features_only=True)

        def forward(self, x):
            return torch.cat([each.mean(dim=(2, 3)) for each in self.body(x)[-2:]], dim=1)

    write_branch_weights()
    monkeypatch.setitem(BACKBONES, "maps", Maps)
    model = build(resolve(Config(backbone="maps", trainable=1, image_size=32)), 4)
    stored = load_file("weights/test_efficientnet/model.safetensors")
    assert (
        torch.equal(model.trunk.get_parameter("body.conv_stem.weight"), stored["conv_stem.weight"])
        and model.cut_at
    )
    assert {name.split(".")[1] for name, _, depth in model.learning() if depth == 0} == {"blocks"}


def test_without_weights_the_three_ways_out_are_said_for_what_is_wrapped(own_words):
    with pytest.raises(ValueError) as caught:
        make_backbone(Config(backbone="gem:test_resnet"))
    for words in (
        "no pretrained weights for 'test_resnet'",
        "make weights",
        "weights=FILE",
        "weights/test_resnet/model.safetensors",
        "pretrained=false",
    ):
        assert words in str(caught.value)


# ---- a network of one's own ----


def test_an_own_network_reads_its_own_weights_file(own_words):
    given = write_own_weights(Path("given.safetensors"))
    how = Config(backbone="own", weights="given.safetensors", trainable=2, image_size=32)
    with pytest.raises(ValueError, match=re.escape("put the file at weights/own/model.safetensors")):
        make_backbone(replace(how, weights=""))
    model = build(resolve(how), 4)
    assert torch.equal(model.trunk.state_dict()["stem.0.weight"], load_file(given)["stem.0.weight"])
    assert {name.split(".")[0] for name, _, depth in model.learning() if depth >= 0} == {
        "middle",
        "top",
    } and halves_equal_the_whole(model, how)
    assert normalisation(make_backbone(how)) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    rates = resolve(how)
    assert (rates.lr, rates.body_lr, rates.layer_decay) == (2e-3, 5e-4, 0.9)
    first = pretrained_hash(how)
    write_own_weights(Path("given.safetensors"), seed=6)
    assert first != pretrained_hash(how)
    write_own_weights(Path("weights/own/model.safetensors"))
    assert pretrained_hash(replace(how, weights="")) == first and make_backbone(replace(how, weights=""))


def test_a_file_that_does_not_fit_an_own_network_says_what_differs(own_words):
    save_file(
        {"stem.0.weight": torch.zeros(8, 3, 3, 3), "top.0.weight": torch.zeros(1), "other": torch.zeros(1)},
        "given.safetensors",
    )
    with pytest.raises(ValueError) as caught:
        make_backbone(Config(backbone="own", weights="given.safetensors"))
    for words in (
        "given.safetensors is not one of this Own",
        "the file lacks stem.1.weight",
        "and 13 more",
        "the module lacks other",
        "other shapes for top.0.weight",
    ):
        assert words in str(caught.value)


def test_a_file_of_an_own_backbone_as_it_was_before_an_edit_says_which_names_differ(own_words):
    """And not that it is no file of the timm model inside."""
    state = make_backbone(Config(backbone="gem:test_resnet", pretrained=False)).state_dict()
    save_file(
        {name: value for name, value in state.items() if name != "pool.p"} | {"pool.power": state["pool.p"]},
        "old.safetensors",
    )
    with pytest.raises(
        ValueError, match="not one of this Sequential: the file lacks pool.p; the module lacks pool.power"
    ):
        make_backbone(Config(backbone="gem:test_resnet", weights="old.safetensors"))


def test_a_file_of_another_timm_model_is_refused_in_one_line(own_words):
    write_branch_weights()
    for backbone in ("test_efficientnet", "gem:test_efficientnet"):
        with pytest.raises(
            ValueError,
            match="model.safetensors is not one of test_efficientnet: the file lacks conv_stem.weight",
        ) as caught:
            make_backbone(Config(backbone=backbone, weights="weights/test_resnet/model.safetensors"))
        assert "\n" not in str(caught.value)


def test_an_own_network_may_state_its_layer_groups(own_words, monkeypatch):
    monkeypatch.setattr(Own, "layer_groups", [["stem"], ["middle"]], raising=False)
    model = build(resolve(Config(backbone="own", pretrained=False, trainable=1, image_size=32)), 4)
    assert {(name.split(".")[0], depth) for name, _, depth in model.learning()} == {
        ("middle", 0),
        ("top", -1),
        ("head", -1),
    }
    for wrong, message in (
        ([["stem"], ["midle"]], "no parameter is called midle; there are stem, middle, top"),
        ([["stem"], ["stem.0"]], "stands in two"),
    ):
        monkeypatch.setattr(Own, "layer_groups", wrong)
        with pytest.raises(ValueError, match=message):
            groups(Own())


def test_a_file_that_the_function_itself_reads_belongs_to_the_recipe(own_words, monkeypatch):
    def beside(config: Config) -> nn.Module:
        """A timm model and a network that was trained elsewhere, joined."""
        net = Branches(replace(config, weights=""))
        net.right = Own()
        net.scale_right = nn.Identity()
        if config.pretrained:
            weights.load_into(net.right, "elsewhere/own.safetensors")
        return net

    monkeypatch.setitem(BACKBONES, "beside", beside)
    write_branch_weights()
    file = write_own_weights(Path("elsewhere/own.safetensors"))
    how = Config(backbone="beside", image_size=32)
    first, found = pretrained_hash(how), make_backbone(how)
    assert weights.files_of(found) == [Path("weights/test_resnet/model.safetensors"), file]
    assert torch.equal(found.right.stem[0].weight, load_file(file)["stem.0.weight"])
    write_own_weights(file, seed=6)
    second = pretrained_hash(how)
    write_branch_weights(seed=6)
    assert len({first, second, pretrained_hash(how)}) == 3


# ---- two branches ----


def test_two_branches_keep_both_weights_and_count_their_groups_side_by_side(own_words):
    write_branch_weights()
    how = Config(backbone="branches", trainable=2, image_size=64)
    found, left, right = (
        make_backbone(how),
        *(make_backbone(replace(how, backbone=name)) for name in ("test_resnet", "test_efficientnet")),
    )
    assert torch.equal(found.left.layer1[0].conv1.weight, left.layer1[0].conv1.weight) and torch.equal(
        found.right.conv_stem.weight, right.conv_stem.weight
    )
    expected = {f"left.{name}" for group in groups(left)[-2:] for name in group} | {
        f"right.{name}" for group in groups(right)[-2:] for name in group
    }
    model = build(resolve(how), 4)
    assert {name for name, _, depth in model.learning() if depth >= 0} == expected
    assert {depth for name, _, depth in model.learning()} == {-1, 0, 1}
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        each = [
            one.eval()(build(resolve(replace(how, backbone=name)), 4).normalise(image))
            for one, name in ((left, "test_resnet"), (right, "test_efficientnet"))
        ]
        # each with its own mean and std
        assert torch.allclose(model.tail(model.features(image)), torch.cat(each, dim=1), atol=1e-4)
    first = pretrained_hash(how)
    write_branch_weights(seed=6)
    assert first != pretrained_hash(how)


def test_branches_of_different_mean_and_std_are_told_what_to_write(own_words, monkeypatch):
    monkeypatch.delattr(Branches, "pretrained_cfg")
    with pytest.raises(ValueError) as caught:
        build(resolve(Config(backbone="branches", pretrained=False, image_size=64)), 4)
    line = re.search(r"write (pretrained_cfg = \{.*?\}),", str(caught.value)).group(1)
    names: dict = {}
    exec(line, names)
    monkeypatch.setattr(Branches, "pretrained_cfg", names["pretrained_cfg"], raising=False)
    assert build(
        resolve(Config(backbone="branches", pretrained=False, image_size=64)), 4
    ) and "Standardise(model)" in str(caught.value)


def test_two_branches_that_both_learn_have_no_trunk_and_say_why(own_words):
    model = build(resolve(Config(backbone="branches", pretrained=False, trainable=2, image_size=64)), 4)
    assert not model.cut_at and "2 tensors" in model.why
    whole = build(resolve(Config(backbone="branches", pretrained=False, trainable="head", image_size=64)), 4)
    assert whole.cut_at == "all" and whole.why == ""
    fused = build(resolve(Config(backbone="fused", pretrained=False, trainable="head", image_size=64)), 4)
    assert {name for name, _, _ in fused.learning()} == {
        "fuse.weight",
        "fuse.bias",
        "head.layers.1.weight",
        "head.layers.1.bias",
    }
    assert fused.cut_at and halves_equal_the_whole(
        fused, Config(backbone="fused", pretrained=False, image_size=64)
    )


# ---- the commands ----

RUNS = [("gem:test_resnet", ""), ("own", "weights=own.safetensors"), ("fused", "trainable=head")]


@pytest.mark.parametrize("backbone, more", RUNS)
def test_each_kind_goes_from_the_split_to_a_csv_and_the_quick_doctor_agrees(bench, own_words, backbone, more):
    write_branch_weights()
    write_own_weights(Path("own.safetensors"))
    paths = bench.run(
        fast(f"backbone={backbone} pretrained=true trainable=2 image_size=32 epochs=1 folds=2 {more}")
    )
    assert Path("submissions/tiny-run.csv").exists() and len(predictions.read(paths.oof)) == 36
    saved = configure.load(paths.config).config
    bare = resolve(replace(saved, backbone="test_resnet", lr="auto", body_lr="auto", layer_decay="auto"))
    assert (
        (saved.lr, saved.body_lr, saved.layer_decay)
        == (bare.lr, bare.body_lr, bare.layer_decay)
        != (2e-3, 2e-3, 1.0)
    )
    hashes = read_json(paths.fold(0).done)["weights_hash"]
    assert hashes and hashes == pretrained_hash(saved)
    findings = {finding.check: finding for finding in examine(open_run(paths), QUICK)}
    assert [finding for finding in findings.values() if finding.level == "FAIL"] == []
    assert findings["weights"].level == "pass" and "are equal to" in findings["weights"].seen, findings[
        "weights"
    ]
    assert findings["normalise"].level == "pass", findings["normalise"]


def test_what_an_own_backbone_is_made_of_belongs_to_its_recipe_also_with_a_name_behind_a_colon(bench):
    """Its function, what that calls, and each file in a folder of weights."""
    paths = bench.configure(fast("backbone=gem:test_resnet"))
    assert backbone_code(configure.load(paths.config).config) == ["src.model.backbone:BACKBONES[gem]"]
    code_units = hashing.reach(*backbone_code(configure.load(paths.config).config))
    assert {"gem", "from_timm"} <= {*code_units["src/model/backbone.py"]}
    assert "GeM" in code_units["src/model/pooling.py"]
    for name in ("test_resnet", "test_efficientnet"):
        Path(f"mine/{name}").mkdir(parents=True)
        Path(f"mine/{name}/model.safetensors").write_text(name)
    watched = [bench.configure(fast("backbone=gem:test_resnet weights=mine")).settings("train").read_text()]
    Path("mine/test_resnet/model.safetensors").write_text("another")
    watched.append(
        bench.configure(fast("backbone=gem:test_resnet weights=mine")).settings("train").read_text()
    )
    assert watched[0] != watched[1] and "mine/test_efficientnet/model.safetensors" in watched[0]


def test_init_from_takes_up_an_own_backbones_fold(bench, own_words):
    write_branch_weights()
    bench.run(fast("backbone=gem:test_resnet pretrained=true epochs=1"), "first")
    second = bench.run(fast("backbone=gem:test_resnet pretrained=true epochs=1 init_from=first"), "second")
    assert len(predictions.read(second.oof)) == 36


def test_layers_of_own_backbones_are_printed_without_their_weights(own_words):
    text = layers.layers(GEM)
    lines = text.splitlines()
    assert (
        re.search(r"^  new +1 +1  pool +learns$", lines[2])
        and "body.blocks.6, body.conv_head, body.bn2" in lines[3]
        and "body.blocks.5" in lines[4]
    )
    assert [line.endswith("learns") for line in lines[3:]] == [True] * 2 + [False] * (
        len(lines) - 5
    ) and "new: what your own module adds" in lines[-1]
    assert "stem" in layers.layers(
        Config(backbone="own", trainable=2)
    ) and "left.layer4.0, right.blocks.4, right.conv_head" in layers.layers(Config(backbone="branches"))
    assert "pool" in layers.layers(Config(backbone="gem:test_resnet", trainable=("body.layer4",)))
