"""Where pretrained weights come from, what is refused, and that a missing network is noticed at once."""

import os
import socket
import threading

import pytest
import timm
import torch
from huggingface_hub import constants
from torch import nn

from src.model import weights
from src.model.weights import from_hub, hub_reachable, load_state, resolve_weights, save, weights_hash


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(weights.urllib.request, "getproxies", dict)


@pytest.fixture
def model():
    return timm.create_model("test_efficientnet", num_classes=7)


def test_a_given_file_comes_first_then_the_weights_folder(model, tmp_path):
    kept = save(model, tmp_path / "weights" / "test_efficientnet")
    given = save(model, tmp_path / "given")
    assert resolve_weights("test_efficientnet", str(given), root=tmp_path / "weights") == given
    assert resolve_weights("test_efficientnet", str(given.parent), root=tmp_path / "weights") == given
    assert resolve_weights("test_efficientnet", root=tmp_path / "weights") == kept
    with pytest.raises(ValueError, match="there is no file"):
        resolve_weights("test_efficientnet", str(tmp_path / "none.pth"), root=tmp_path / "weights")


def test_without_weights_and_network_the_three_ways_out_are_named(no_hub, tmp_path):
    with pytest.raises(ValueError) as caught:
        resolve_weights("test_vit", root=tmp_path)
    for words in (
        "test_vit",
        "can't be reached",
        "make weights",
        "weights=FILE",
        "model.safetensors",
        "pretrained=false",
    ):
        assert words in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_an_unknown_backbone_gets_the_near_names(tmp_path):
    with pytest.raises(ValueError, match="near: resnet18"):
        from_hub("resnett18", tmp_path)


def test_a_hub_that_listens_is_reached_and_one_that_does_not_is_not(no_hub, monkeypatch):
    assert not hub_reachable()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_reachable()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert not hub_reachable()


def test_a_dead_name_server_is_given_up(no_hub, monkeypatch):
    ended, answered = threading.Event(), []

    def connect(*args, **kwargs):
        ended.wait(30)  # whatever the timeout, as getaddrinfo does
        answered.append(True)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert not hub_reachable(timeout=0.1)
    assert not answered, "it did not wait for the name server"
    ended.set()


def test_what_save_writes_timm_loads_again(model, tmp_path):
    save(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert again.num_classes == 7
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "checkpoint.pt"])
def test_a_state_is_read_from_safetensors_a_pth_or_a_checkpoint(model, tmp_path, name):
    state = model.state_dict()
    if name == "a.safetensors":
        save(model, tmp_path).rename(tmp_path / name)
    else:
        torch.save(
            state
            if name == "a.pth"
            else {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
            tmp_path / name,
        )
    read = load_state(tmp_path / name)
    assert read.keys() == state.keys() and all(torch.equal(read[k], state[k]) for k in state)


def test_files_that_are_not_plain_tensors_are_refused_with_what_to_do(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save({"a": "text"}, tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"12345")
    (tmp_path / "broken.pth").write_bytes(b"12345")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "weights.h5").touch()
    for name in ("module.pth", "text.pth", "list.pth", "broken.safetensors", "broken.pth", "empty.pth"):
        with pytest.raises(ValueError, match=rf"{name}[\s\S]*state_dict\(\)"):
            load_state(tmp_path / name)
    for name in ("weights.h5", "absent.pth"):
        with pytest.raises(ValueError, match=rf"{name} must exist and end in"):
            load_state(tmp_path / name)


def test_the_hash_is_of_the_content_and_kept_until_the_file_changes(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    first = weights_hash(path)
    kept = tmp_path / "model.safetensors.hash"
    before = kept.stat().st_mtime_ns
    assert weights_hash(path) == first and kept.stat().st_mtime_ns == before
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert weights_hash(path) != first
    path.write_bytes(b"one")
    assert weights_hash(path) == first
