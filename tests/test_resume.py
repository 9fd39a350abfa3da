"""A run stopped at any moment and called again ends like one that was never stopped; states, signals, locks,
a full disk.
"""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from conftest import FAST, fast
from fake_cuda import FakeCuda
from torch import nn

from src import config, prepare, train_fold
from src.__main__ import exit_code
from src.data import training_table
from src.data.batches import SAMPLERS
from src.run import clock as clock_module
from src.run import device, locks, predictions, reuse
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import HOST, atomic, read_json
from src.run.paths import RunPaths
from src.training import optimizer_state, state_files
from src.training.optim import make_optimizer

ROOT = Path(__file__).parents[1]
EACH_STEP = "wandb=off workers=0 device=cpu save_minutes=0"
RECIPES = {
    "head": "trainable=head ema=0.9 patience=2 epochs=5",
    "tail": "trainable=1 views=3 augment=light mixup=0.4 drop_rate=0.3 accumulate=2 batch_size=5 epochs=3",
    "full": "trainable=all views=0 augment=medium cutmix=0.5 ema=0.8 accumulate=2 batch_size=5 epochs=3",
}


class Killed(BaseException):
    """Nothing catches it, so that it ends a training as abruptly as can be inside one process."""


def after_steps(monkeypatch, number: int, action) -> None:
    """Call action() after that many steps of a training from now, before anything is saved for that one."""
    real, steps = train_fold.save_or_stop, iter(range(1, 10**9))

    def save_or_stop(*args, **how):
        if next(steps) == number:
            action()
        return real(*args, **how)

    monkeypatch.setattr(train_fold, "save_or_stop", save_or_stop)


def kill():
    raise Killed


def products(paths, k: int = 0) -> dict[str, bytes]:
    files = paths.fold(k)
    return {
        file.name: file.read_bytes() for file in (files.model, files.valid, files.valid_epochs, files.log)
    }


def train_fold_0(bench, settings: str, name: str, machine: str = EACH_STEP):
    paths = bench.configure(fast(settings), name, machine=machine)
    if not paths.folds.exists():
        bench.stage("split", paths)
    bench.stage("train", paths, only=[0])
    return paths


def whole_run(bench, settings: str) -> dict[str, bytes]:
    found = products(train_fold_0(bench, settings, "whole"))
    shutil.move("runs/whole", "elsewhere")  # or the next run would take its fold over
    return found


# ---- the same bytes ----


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_breaks_in_the_middle_goes_on_to_the_same_bytes(bench, monkeypatch, capsys, name):
    expected = whole_run(bench, RECIPES[name])
    # the first time in the first or second epoch, then soon again
    for steps in (4, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            after_steps(patch, steps, kill)
            train_fold_0(bench, RECIPES[name], "broken")
    paths = train_fold_0(bench, RECIPES[name], "broken")
    assert products(paths) == expected and capsys.readouterr().out.count("goes on after") == 2
    assert not paths.fold(0).state.exists() and not list(paths.root.glob("*.lock"))
    assert pd.read_json(paths.fold(0).log, lines=True)["epoch"].is_monotonic_increasing


def test_a_state_at_epoch_ends_alone_goes_on_to_the_same_bytes(bench, monkeypatch):
    expected = whole_run(bench, "epochs=3")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 5, kill)  # 3 steps are an epoch
        train_fold_0(bench, "epochs=3", "broken", machine="wandb=off workers=0 device=cpu")
    assert [file.name for file in sorted(Path("runs/broken/fold0/state").iterdir())] == [
        "00001-0000000.json",
        "00001-0000000.safetensors",
    ]
    assert products(train_fold_0(bench, "epochs=3", "broken")) == expected


def test_a_gradient_scaler_goes_on_with_its_scale(bench, monkeypatch):
    def make_scaler(kind=None):
        return torch.amp.GradScaler("cpu", growth_interval=3)  # as fp16 on a GPU has one

    def with_scaler(machine):
        accelerator = Accelerator(cpu=True)
        accelerator.scaler = make_scaler()
        return accelerator

    monkeypatch.setattr(prepare, "make_accelerator", with_scaler)
    monkeypatch.setattr(device, "get_grad_scaler", make_scaler)
    expected = whole_run(bench, "epochs=3")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 5, kill)
        train_fold_0(bench, "epochs=3", "broken")
    assert reuse.origin(RunPaths(Path("runs/broken")).fold(0))["scaler"]["scale"] == 2.0**17
    assert products(train_fold_0(bench, "epochs=3", "broken")) == expected


def test_a_fold_that_goes_on_in_another_precision_is_told(bench, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 5, kill)
        train_fold_0(bench, "epochs=3", "broken")
    FakeCuda(monkeypatch)
    paths = train_fold_0(bench, "epochs=3", "broken", machine="wandb=off workers=0 save_minutes=0")
    assert "fold0 began with precision no, and goes on with fp16" in capsys.readouterr().err
    assert read_json(paths.fold(0).done)["precision"] == "no"  # as it began: folds are compared by that


@pytest.mark.parametrize(
    "name", ["adamp", "adamw", "sgd", "lamb", "adafactor", "madgrad", "nadamw", "lion", "muon"]
)
def test_the_state_of_any_optimizer_is_kept_by_the_order_of_its_parameters(tmp_path, name):
    settings = replace(config.resolve(config.Config(lr=1e-2, body_lr=1e-2)), optimizer=name)

    def begin():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)).to(
            memory_format=torch.channels_last
        )
        return model, make_optimizer([(name, p, -1) for name, p in model.named_parameters()], settings)

    def go(model, optimizer, steps):
        for number in steps:
            torch.manual_seed(number)
            model(torch.randn(6, 3, 8, 8)).square().mean().backward()
            optimizer.step(), optimizer.zero_grad()

    whole, optimizer = begin()
    go(whole, optimizer, range(6))
    first, optimizer = begin()
    go(first, optimizer, range(3))
    state_files.save(
        tmp_path,
        {
            "epoch": 0,
            "batch": 3,
            "weights": first.state_dict(),
            "optimizer": optimizer_state.state_dict(optimizer),
        },
    )
    saved, (second, optimizer) = state_files.load(tmp_path), begin()
    second.load_state_dict(saved["weights"]), optimizer_state.load_state_dict(optimizer, saved["optimizer"])
    go(second, optimizer, range(3, 6))
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in whole.state_dict().items())


class SlowCopy(torch.optim.Optimizer):
    """A wrapper with weights and counters of its own: each third step it goes halfway back to where it was."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner, self.param_groups, self.defaults, self.state = (
            inner,
            inner.param_groups,
            inner.defaults,
            {},
        )
        self.slow = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}
        self.all, self.count, self.means = list(self.slow), 0, (0.0, 0.0)

    def step(self):
        self.inner.step()
        self.count += 1
        self.means = (self.means[1], float(self.all[0].detach().mean()))
        if self.count % 3 == 0:
            for p in self.all:
                p.data.lerp_(self.slow[p], 0.5 + 0.01 * self.means[0])
                self.slow[p].copy_(p.data)

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)


def lookahead(inner):
    from timm.optim.lookahead import Lookahead

    return Lookahead(inner, k=2)


@pytest.mark.parametrize("wrap", [SlowCopy, lookahead, lambda inner: SlowCopy(lookahead(inner))])
def test_an_optimizer_with_a_state_of_its_own_goes_on_to_the_same_bytes(bench, monkeypatch, wrap):
    monkeypatch.setattr(
        train_fold, "make_optimizer", lambda learning, settings: wrap(make_optimizer(learning, settings))
    )
    expected = whole_run(bench, "epochs=3 batch_size=5")
    for steps in (4, 4):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            after_steps(patch, steps, kill)
            train_fold_0(bench, "epochs=3 batch_size=5", "broken")
    assert products(train_fold_0(bench, "epochs=3 batch_size=5", "broken")) == expected


def test_an_optimizer_whose_state_cannot_be_saved_is_refused_before_a_step(bench, monkeypatch):
    def make(learning, settings):
        optimizer = make_optimizer(learning, settings)
        optimizer.noise = np.random.default_rng(0)
        return optimizer

    monkeypatch.setattr(train_fold, "make_optimizer", make)
    with pytest.raises(
        ValueError,
        match="the optimizer keeps AdamP.own.noise = Generator.*which can't be saved: choose another optimizer",
    ):
        train_fold_0(bench, "", "x")


@pytest.mark.slow
def test_ten_random_kills_change_no_byte():
    done = subprocess.run(
        [sys.executable, "tests/soak_resume.py", "--kills", "10", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "all final files equal" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_kills_of_two_runs_at_once_and_of_their_ensemble_change_no_byte():
    command = [sys.executable, "tests/soak_resume.py", "--kills", "0", "--pair-kills", "10", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "all final files and the ledger equal" in done.stdout, (
        done.stdout + done.stderr
    )


# ---- files of a state ----


def content(step: int) -> dict:
    return {
        "epoch": 1,
        "batch": step,
        "weights": {"a": torch.arange(6.0).reshape(2, 3).t() + step},
        "score": -np.inf,
        "betas": (0.9, 0.999),
        "none": None,
    }


def test_a_state_comes_back_as_it_was_and_the_last_two_are_kept(tmp_path):
    for step in (9, 10, 11):
        state_files.save(tmp_path, content(step))
    # as a kill leaves it
    (tmp_path / f"00001-0000012.safetensors.{HOST}-999999999-0123ab.part").touch()
    state_files.save(tmp_path, content(12))
    assert sorted(os.listdir(tmp_path)) == [
        f"00001-00000{step}.{end}" for step in (11, 12) for end in ("json", "safetensors")
    ]
    found = state_files.load(tmp_path)
    assert torch.equal(found["weights"]["a"], content(12)["weights"]["a"]) and found["weights"][
        "a"
    ].stride() == (1, 3)
    assert (
        found["score"] == -np.inf
        and found["betas"] == [0.9, 0.999]
        and found["none"] is None
        and found["batch"] == 12
    )


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("end", ["json", "safetensors"])
@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        flip_a_bit,
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("[]"),
    ],
)
def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path, capsys, end, spoil):
    for step in (1, 2):
        state_files.save(tmp_path, content(step))
    spoil(tmp_path / f"00001-0000002.{end}")
    assert state_files.load(tmp_path)["batch"] == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == (0 if (spoil, end) == (Path.unlink, "json") else 1) and all(
        "is damaged" in line and "the one before" in line for line in said
    )
    state_files.save(tmp_path, content(2))
    assert state_files.load(tmp_path)["batch"] == 2


def test_without_a_sound_state_a_fold_begins_anew(bench, monkeypatch, capsys):
    expected = whole_run(bench, "epochs=2")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 5, kill)
        train_fold_0(bench, "epochs=2", "broken")
    for path in Path("runs/broken/fold0/state").iterdir():
        cut_short(path)
    assert (
        products(train_fold_0(bench, "epochs=2", "broken")) == expected
        and capsys.readouterr().out.count("is damaged") == 2
    )


def test_a_state_of_another_recipe_is_left_alone_and_says_what_differs(bench, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 3, kill)
        train_fold_0(bench, "lr=0.1", "x")
    begun = reuse.origin(RunPaths(Path("runs/x")).fold(0))["recipe"]
    paths = train_fold_0(bench, "lr=0.2", "x")
    said = capsys.readouterr().out
    assert (
        f"fold 0 was in training with lr=0.1, now 0.2; kept in runs/x/old/{begun}/fold0" in said
        and "goes on" not in said
    )
    assert list((paths.old / begun / "fold0/state").iterdir()) and paths.fold(0).done.exists()


def test_a_fold_that_other_code_began_is_not_mixed_and_retrain_begins_it_anew(bench, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        after_steps(patch, 3, kill)
        patch.setattr(
            training_table,
            "training_code",
            lambda run: {"src/training/losses.py": {"": "1", "cross_entropy": "1"}},
        )
        train_fold_0(bench, "", "x")
    with pytest.raises(
        ValueError,
        match=r"fold 0 of runs/x began before src/training/losses.py: cross_entropy changed.*make retrain RUN=x",
    ):
        train_fold_0(bench, "", "x")
    capsys.readouterr()
    reuse.retire_changed(RunPaths(Path("runs/x")))
    assert (
        "src/training/losses.py: cross_entropy changed; fold 0 is kept in runs/x/old/"
        in capsys.readouterr().out
        and not Path("runs/x/fold0").exists()
    )


# ---- stops ----


def test_sigterm_saves_and_the_same_command_goes_on(bench, monkeypatch, capsys):
    expected, before = whole_run(bench, "accumulate=2 batch_size=4"), signal.getsignal(signal.SIGTERM)
    for ask in (lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: os.kill(os.getpid(), signal.SIGINT)):
        with (
            monkeypatch.context() as patch,
            pytest.raises(
                Stopped,
                match="SIG(TERM|INT): fold 0 is saved after 0 epochs and [24] steps; the same command",
            ),
        ):
            # while a gradient waits for the second batch nothing is saved
            after_steps(patch, 1, ask)
            train_fold_0(
                bench, "accumulate=2 batch_size=4", "broken", machine="wandb=off workers=0 device=cpu"
            )
    assert signal.getsignal(signal.SIGTERM) == before
    assert products(train_fold_0(bench, "accumulate=2 batch_size=4", "broken")) == expected


def test_max_hours_stops_before_the_step_that_would_pass_it(bench):
    expected = whole_run(bench, "")
    with pytest.raises(Stopped, match="max_hours=0.0001: fold 0 is saved after 0 epochs and 1 steps"):
        train_fold_0(bench, "", "broken", machine="wandb=off workers=0 device=cpu max_hours=0.0001")
    assert products(train_fold_0(bench, "", "broken")) == expected


START = "import sys; sys.path.insert(0, sys.argv[1]); from src.__main__ import main; sys.exit(main(['train', *sys.argv[2:]]))"


def start(name: str, *words: str) -> subprocess.Popen:
    """The train stage in a process of its own, in this folder."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(ROOT), f"runs/{name}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen, text: str) -> str:
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(said)


@pytest.mark.slow
def test_ctrl_c_with_workers_ends_with_75_and_a_second_one_at_once(bench):
    paths = bench.configure(
        fast("trainable=all augment=medium epochs=500"), "x", machine="wandb=off workers=2 device=cpu"
    )
    bench.stage("split", paths)
    for group in (False, True):  # a terminal sends it to the whole group
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(ROOT), "runs/x"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        wait_for(process, "epoch")
        os.killpg(process.pid, signal.SIGINT) if group else process.send_signal(signal.SIGINT)
        said = process.communicate()[0]
        assert process.returncode == 75 and "the same command goes on" in said and "Traceback" not in said, (
            said
        )
    process = start("x")
    wait_for(process, "goes on after")
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
    process.communicate()
    # 75: the step was quicker than the second signal
    assert process.returncode in (-signal.SIGTERM, 75)


# ---- two processes ----

HOLD = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from src.run import locks\nwith locks.lock(Path(sys.argv[2])) as holder: print(holder, flush=True); sys.stdin.read()"


def hold(path: Path) -> subprocess.Popen:
    """A process that has the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "\n"
    return process


def test_the_second_process_takes_the_other_folds_then_names_the_first(bench):
    paths = bench.configure()
    bench.stage("split", paths)
    first = hold(paths.lock(1))
    try:
        with pytest.raises(
            ValueError, match=f"fold 1 of runs/tiny-run is being trained by process {first.pid} on "
        ):
            bench.stage("train", paths)
        assert paths.finished() == [0, 2] and not paths.score.exists()
    finally:
        first.kill(), first.wait()
    # a dead process leaves the file, but no lock
    assert paths.lock(1).exists()
    bench.stage("train", paths)
    assert paths.finished() == [0, 1, 2] and paths.score.exists() and not list(paths.root.glob("*.lock"))


def test_a_lock_is_had_by_one_process_at_a_time_and_waited_for(tmp_path, capsys):
    path = tmp_path / "deep/lock"
    first = hold(path)
    with locks.lock(path) as holder:
        assert holder.startswith(f"process {first.pid} on ")
    ask = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from src.run import locks\nwith locks.lock(Path(sys.argv[2]), wait=True) as holder: print('mine', repr(holder))"
    waiting = subprocess.Popen(
        [sys.executable, "-c", ask, str(ROOT), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert waiting.stdout.readline().startswith(f"waiting for process {first.pid}")
    # it leaves properly: the file that the other one has opened is removed
    first.stdin.close()
    assert waiting.stdout.readline() == "mine ''\n"
    assert (waiting.wait(), first.wait()) == (0, 0) and not path.exists()


@pytest.mark.slow
def test_two_processes_share_the_folds_and_give_the_same_bytes(bench, monkeypatch):
    paths = bench.run(FAST, "one")
    expected = [products(paths, k) for k in range(3)] + [paths.oof.read_bytes()]
    shutil.move("runs/one", "elsewhere"), shutil.rmtree("runs/.cache")
    paths = bench.configure(FAST, "two")
    bench.stage("split", paths)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = start("two", "--gpus", "2")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert [products(paths, k) for k in range(3)] + [paths.oof.read_bytes()] == expected
    assert (
        said.count("decoding 36 images") == said.count("OOF macro_f1") == 1 and said.count("device: ") == 2
    ), said


# ---- a full disk ----


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB; without the right to mount one, a limit on the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True
        ).returncode
        == 0
    ):
        yield folder
        subprocess.run(["umount", folder], check=True)
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, before[1]))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_file_and_the_message_names_it(small_disk):
    big = np.random.default_rng(0).random((50_000, 3), dtype=np.float32)
    frame = predictions.make([str(number) for number in range(len(big))], big, "abc")
    ways = {
        "oof.parquet": lambda part: predictions.write(frame, part),
        "x.csv": lambda part: frame.to_csv(part),
        "x.json": lambda part: part.write_text("1" * 10**6),
    }
    for name, write in ways.items():
        (small_disk / name).write_text("what was there")
        with (
            pytest.raises(
                ValueError,
                match=rf"{name} can't be written: .*(No space left.*needs more than the .* bytes|File too large)",
            ),
            atomic(small_disk / name) as part,
        ):
            write(part)
        assert (small_disk / name).read_text() == "what was there"
    state_files.save(small_disk / "state", {"epoch": 0, "batch": 1, "weights": torch.zeros(1000)})
    with pytest.raises(
        ValueError, match="00000-0000002.safetensors can't be written: .*(No space left|File too large)"
    ):
        state_files.save(small_disk / "state", {"epoch": 0, "batch": 2, "weights": torch.from_numpy(big)})
    assert state_files.load(small_disk / "state")["batch"] == 1
    assert (
        sorted(os.listdir(small_disk)) == sorted([*ways, "state"])
        and len(os.listdir(small_disk / "state")) == 2
    )


def test_a_disk_that_fills_during_training_ends_with_2_and_goes_on_when_there_is_room(
    bench, monkeypatch, capsys
):
    expected, real, saves = whole_run(bench, "epochs=3"), state_files.save_file, iter(range(9))

    def save_file(tensors, part):
        if next(saves) == 4:
            part.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, part)

    with monkeypatch.context() as patch:
        patch.setattr(state_files, "save_file", save_file)
        code = exit_code(lambda: train_fold_0(bench, "epochs=3", "broken"))
    assert (
        code == 2
        and "00001-0000002.safetensors can't be written: [Errno 28] No space left on device"
        in capsys.readouterr().err
    )
    assert products(train_fold_0(bench, "epochs=3", "broken")) == expected


# ---- memory ----


def test_five_folds_take_no_more_memory_than_two(bench):
    paths = bench.run(fast("folds=5 epochs=1"))
    held = [read_json(paths.fold(k).done)["memory"]["rss_mib"] for k in range(5)]
    assert held[4] <= 1.03 * held[1], held


def test_epochs_that_are_short_against_saving_are_not_all_saved(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: now[0])
    clock = Clock(config.Machine(save_minutes=10))
    saved = []
    for epoch in range(100):  # each takes a second, saving a quarter
        now[0] += 1
        if clock.is_due(ends_epoch=True):
            saved.append(epoch)
            with clock.saving():
                now[0] += 0.25
    assert saved == list(range(0, 100, 8))
    now[0] += 2
    assert not clock.is_due(ends_epoch=False)
    now[0] += 600
    assert clock.is_due(ends_epoch=False)


# ---- a sampler of one's own ----


def test_a_sampler_whose_epochs_differ_in_size_goes_on_to_the_same_bytes(bench, monkeypatch):
    monkeypatch.setitem(
        SAMPLERS, "growing", lambda table, epoch, rng: rng.permutation(len(table))[: 9 + 7 * epoch]
    )
    recipe = "sampler=growing epochs=3 accumulate=2 batch_size=4"
    expected = whole_run(bench, recipe)
    assert pd.read_json("elsewhere/fold0/log.jsonl", lines=True)["epoch"].tolist() == [1, 2, 3]
    for steps in (2, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            after_steps(patch, steps, kill)
            train_fold_0(bench, recipe, "broken")
    assert products(train_fold_0(bench, recipe, "broken")) == expected


def test_a_sampler_that_gives_no_image_is_named(bench, monkeypatch):
    monkeypatch.setitem(
        SAMPLERS, "empty", lambda table, epoch, rng: rng.permutation(len(table) * (epoch == 0))
    )
    with pytest.raises(ValueError, match="sampler=empty gives no image in epoch 2 of fold 0"):
        train_fold_0(bench, "sampler=empty", "x")
