"""The classifier: what learns, what is saved, and errors that say what to insert."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from src.config import Config, resolve
from src.model import backbone as backbones
from src.model import classifier, heads
from src.model.classifier import build
from src.model.trainable import set_trainable

TINY = resolve(Config(backbone="test_resnet", pretrained=False, trainable=1, image_size=32))


def step(model: nn.Module) -> None:
    model.train()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    model(images, torch.zeros(4, 0)).square().sum().backward()
    torch.optim.SGD([p for _, p, _ in model.learning()], lr=0.1).step()


def test_a_training_step_leaves_everything_frozen_untouched_buffers_too():
    for trainable in ("head", 1, ("layer4.0.conv2",), "all"):
        torch.manual_seed(0)
        model = build(replace(TINY, trainable=trainable), 5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                # timm starts a block's last one at 0, which stops its gradients
                nn.init.ones_(module.weight)
        before = copy.deepcopy(model.state_dict())
        learning = {id(p) for _, p, _ in model.learning()}
        step(model)
        after = model.state_dict(keep_vars=True)
        frozen_parts = [
            m
            for m in model.modules()
            if list(m.parameters(recurse=False))
            and not any(p.requires_grad for p in m.parameters(recurse=False))
        ]
        frozen_buffers = {id(b) for m in frozen_parts for b in m.buffers(recurse=False)}
        for name, value in after.items():
            if id(value) in learning:
                assert not torch.equal(before[name], value), (
                    f"{name} should have moved with trainable={trainable}"
                )
            elif isinstance(value, nn.Parameter) or id(value) in frozen_buffers:
                assert torch.equal(before[name], value), f"{name} moved with trainable={trainable}"


def test_a_checkpoint_holds_what_learned_and_its_buffers_by_timms_names(tmp_path):
    model = build(TINY, 5)
    step(model)
    model.save(tmp_path / "m.safetensors")
    other = build(replace(TINY, seed=1), 5)
    other.trunk.load_state_dict(model.trunk.state_dict()), other.load(tmp_path / "m.safetensors")
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    model.eval(), other.eval()
    assert torch.equal(model(images, torch.zeros(4, 0)), other(images, torch.zeros(4, 0)))
    names = set(model.learned())
    assert (
        "layer4.0.conv1.weight" in names
        and "layer4.0.bn1.running_mean" in names
        and "conv1.weight" not in names
    )


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    build(TINY, 5).save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="other settings"):
        build(TINY, 6).load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("trainable", [True, "layer9", ("layer4", "nope"), 99])
def test_a_pattern_that_matches_nothing_is_an_error(trainable):
    if trainable is True:
        with pytest.raises(ValueError, match="bool"):
            Config(trainable=True)
        return
    with pytest.raises(ValueError, match="near it|layer groups"):
        build(replace(TINY, trainable=trainable), 5)


def test_a_typo_such_as_require_grad_is_found():
    class Typo(nn.Linear):
        def named_parameters(self, *args, **kwargs):
            for name, parameter in super().named_parameters(*args, **kwargs):
                # as good as `parameter.require_grad = flag`
                parameter.requires_grad_ = lambda flag: None
                yield name, parameter

    with pytest.raises(AssertionError, match="did not take"):
        set_trainable(Typo(2, 2), "head")


def test_the_head_is_built_from_the_measured_shape_so_flatten_cannot_be_forgotten():
    model = build(replace(TINY, pool_type="none"), 5)
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 0)).shape == (2, 5)


def with_head(monkeypatch, maker, **settings):
    monkeypatch.setitem(heads.HEADS, "mine", maker)
    return build(replace(TINY, head="mine", **settings), 5)


def test_a_head_without_flatten_is_told_what_to_insert(monkeypatch):
    def forgot(feature_shape, num_outputs, config, num_extra):
        class Head(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(feature_shape[0] * feature_shape[1] * feature_shape[2], num_outputs)

            def forward(self, features, extra):
                return self.fc(features)

        return Head()

    with pytest.raises(ValueError, match=r"fc = Linear.*nn.Flatten\(\).*in_features=\d+"):
        with_head(monkeypatch, forgot, pool_type="none", image_size=64)


def test_a_head_with_the_wrong_width_is_told_the_right_one(monkeypatch):
    def wrong(feature_shape, num_outputs, config, num_extra):
        return heads.Joined(nn.Sequential(nn.Linear(7, num_outputs)))

    with pytest.raises(ValueError, match=r"in_features=\d+"):
        with_head(monkeypatch, wrong)


def test_a_view_that_changes_the_batch_size_is_found(monkeypatch):
    def mixed(feature_shape, num_outputs, config, num_extra):
        class Head(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(feature_shape[0] // 2, num_outputs)

            def forward(self, features, extra):
                return self.fc(features.view(-1, feature_shape[0] // 2))

        return Head()

    with pytest.raises(ValueError, match="batch"):
        with_head(monkeypatch, mixed)


def test_any_module_can_stand_in_for_a_timm_backbone(monkeypatch):
    monkeypatch.setitem(
        backbones.BACKBONES,
        "mine",
        lambda config: nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.Conv2d(8, 6, 3)),
    )
    model = build(resolve(Config(backbone="mine", pretrained=False, trainable=("2",), image_size=32)), 5)
    assert model.cut_at and model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 0)).shape == (
        2,
        5,
    )
    merged = build(resolve(Config(backbone="branch_cnn", pretrained=False, trainable=1, image_size=32)), 5)
    assert merged.cut_at and len(merged.learning()) > 2


def test_an_own_backbone_with_wrong_shapes_names_the_layer(monkeypatch):
    monkeypatch.setitem(
        backbones.BACKBONES,
        "mine",
        lambda config: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(10, 6)),
    )
    with pytest.raises(ValueError, match=r"breaks at layer 2 = Linear.*Flatten"):
        build(resolve(Config(backbone="mine", pretrained=False, image_size=32)), 5)


def test_what_is_asked_to_learn_must_be_used_by_forward(monkeypatch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.aux = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)

        def forward(self, x):
            return self.used(x).mean(dim=(2, 3))

    monkeypatch.setitem(backbones.BACKBONES, "mine", lambda config: Branches())
    with pytest.raises(
        ValueError, match="asks aux.* to learn.*a branch that forward does not use: use it, or remove it"
    ):
        build(replace(TINY, backbone="mine", trainable=("aux",)), 4)


def test_mean_and_deviation_are_the_backbones_own():
    model = build(resolve(Config(backbone="tf_efficientnet_lite0", pretrained=False, image_size=32)), 5)
    white = model.normalise(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    assert torch.allclose(white, torch.ones(1, 3, 2, 2), atol=1e-6)  # (1 - 0.5) / 0.5


def test_pick_names_the_choices():
    with pytest.raises(
        ValueError, match="choose from arcface, cosine, linear, mlp, .*or add it in src/model/heads.py"
    ):
        classifier.pick(heads.HEADS, "liner", "head", "src/model/heads.py")
