"""make sweep: trials of settings that are runs, chosen by optuna; stopped and continued without a loss."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import fast, open_run

from src.experiments import SWEEPS, Range
from src.extras.sweep import command, report, side_by_side, study, trials
from src.extras.sweep.flattery import flattery
from src.run.clock import Clock
from src.run.errors import CheckFailed, Stopped
from src.run.files import read_json
from src.run.paths import RunPaths

SPACE = {"lr": Range(1e-3, 0.1, is_log=True), "epochs": [1, 2], "drop_rate": Range(0.0, 0.5)}
TINY = fast("trainable=head epochs=1")


def base(bench, settings: str = TINY):
    """The run that is swept, with its folds."""
    paths = bench.configure(settings, "tiny-base")
    bench.stage("split", paths)
    return open_run(paths)


def sweep(run, number: int, space=SPACE) -> optuna.Study:
    return command.sweep(run, space, number, run.paths.root.with_name("tiny-base-sweep"))


def sets(found: optuna.Study) -> list[str]:
    return [trial.user_attrs["set"] for trial in study.tried(found)]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_and_goes_on_equals_one_that_never_was(bench, monkeypatch):
    run = base(bench)
    whole = sweep(run, 7)
    scores = {trial.user_attrs["set"]: trial.value for trial in study.tried(whole)}
    states = [trial.state for trial in whole.trials]
    assert len(scores) == 7 and len(list(Path("runs").glob("tiny-baseline-*/fold0/done.json"))) == 7
    Path("runs").rename("runs-whole")
    run, stops = base(bench), 0
    for stop_at in (2, 9, 30):  # in the first trial, between trials, in a later one
        steps = iter(range(1000))
        with monkeypatch.context() as patch:
            patch.setattr(Clock, "why_stop", lambda clock: "SIGTERM" if next(steps) == stop_at else "")  # noqa: B023
            try:
                sweep(run, 7)
            except Stopped:
                stops += 1
    again = sweep(run, 7)
    assert stops == 3 and sets(again) == [*scores]
    assert {trial.user_attrs["set"]: trial.value for trial in study.tried(again)} == scores
    assert [trial.state for trial in again.trials] == states, "none is lost, none run twice"


def test_every_trial_is_an_ordinary_run_and_the_first_is_the_experiment_itself(bench, capsys):
    run = base(bench, fast("trainable=head epochs=1 lr=0.01"))
    found = sweep(run, 3)
    first = study.tried(found)[0]
    assert first.user_attrs["set"] == "lr=0.01 epochs=1 drop_rate=0"
    paths = run.paths.root.with_name(first.user_attrs["run"])
    score = read_json(paths / "score.json")
    assert (first.value, first.user_attrs["folds"]) == (score["oof"], [*score["folds"].values()])
    saved = read_json(paths / "config.json")
    assert saved["config"]["lr"] == 0.01 and "backbone=test_resnet" in saved["set"]
    printed = capsys.readouterr().out
    assert printed.count("decoding ") == 1, "trials share the images"
    for trial in study.tried(found):
        other = run.paths.root.with_name(trial.user_attrs["run"]) / "folds.csv"
        assert other.read_bytes() == run.paths.folds.read_bytes(), "and the folds"


def test_more_trials_continue_and_the_same_number_does_nothing(bench, monkeypatch):
    run = base(bench)
    assert len(sets(sweep(run, 2))) == 2
    assert len(sets(sweep(run, 3))) == 3
    monkeypatch.setattr(trials.Sweep, "begin", None)
    assert len(sets(sweep(run, 3))) == 3


def hopeless(curves: list[list[float]], last: list[float], tmp_path) -> bool:
    found = study.open_study(tmp_path / "study.journal", lower_is_better=False, origin={})
    for curve in curves:
        trial = found.ask()
        assert not study.is_hopeless(found, trial, curve)
        found.tell(trial, curve[-1])
    return study.is_hopeless(found, found.ask(), last)


def test_a_trial_whose_first_fold_is_below_the_median_ends_there(tmp_path):
    good = [[0.5, 0.6 + i / 100, 0.7 + i / 100, 0.8 + i / 100] for i in range(6)]
    assert hopeless(good, [0.5, 0.6, 0.6, 0.7], tmp_path / "bad")
    assert not hopeless(good, [0.4, 0.5, 0.7, 0.9], tmp_path / "good"), "a slow start is no reason"
    assert not hopeless(good[:4], [0.1, 0.1], tmp_path / "early"), "too few trials to compare with"
    longer = [0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9]
    assert not hopeless(good, longer, tmp_path / "longer"), "curves of differing length are compared by share"


def test_a_pruned_trial_has_trained_one_fold_and_is_finished_by_make_train_like_any_run(bench, monkeypatch):
    run = base(bench)
    monkeypatch.setattr(trials, "is_hopeless", lambda *args: True)
    found = sweep(run, 1)
    (trial,) = study.tried(found)
    assert trial.state == optuna.trial.TrialState.PRUNED
    run_folder = Path("runs") / trial.user_attrs["run"]
    assert [path.parent.name for path in run_folder.glob("fold*/done.json")] == ["fold0"]


def test_settings_that_do_not_train_fail_and_the_sweep_goes_on(bench, monkeypatch, capsys):
    run, train, calls = base(bench), trials.train.train, []

    def diverge(there, only=None):
        calls.append(only)
        if len(calls) == 1:
            raise CheckFailed("fold 0: the training has diverged")
        return train(there, only)

    monkeypatch.setattr(trials.train, "train", diverge)
    found = sweep(run, 2)
    states = [trial.state.name for trial in study.tried(found)]
    assert states == ["FAIL", "COMPLETE"] and "the training has diverged" in capsys.readouterr().err


def test_a_trial_without_settings_left_by_a_kill_is_no_trial(tmp_path):
    found = study.open_study(tmp_path / "study.journal", lower_is_better=True, origin={})
    found.ask()  # killed here
    trial = study.next_trial(found, SPACE, 0, {})
    assert trial.number == 1 and study.tried(found) == []
    assert study.next_trial(found, SPACE, 0, {}).number == 1, "one with settings is gone on with"


def test_half_a_line_of_a_killed_process_does_not_spoil_the_study(tmp_path):
    path = tmp_path / "study.journal"
    found = study.open_study(path, lower_is_better=True, origin={})
    found.tell(study.next_trial(found, SPACE, 0, {}), 1.0)
    with path.open("a") as file:
        file.write('{"op_code": 4, "work')
    again = study.open_study(path, lower_is_better=True, origin={})
    again.tell(study.next_trial(again, SPACE, 0, {}), 2.0)
    assert len(study.tried(study.open_study(path, lower_is_better=True, origin={}))) == 2


def test_another_space_is_refused_and_a_second_process_too(bench):
    run = base(bench)
    sweep(run, 1)
    with pytest.raises(ValueError, match=r"a sweep of another space: type make clean RUN=tiny-base-sweep"):
        sweep(run, 1, {"lr": Range(1e-3, 1e-2)})
    code = "from pathlib import Path; from src.run import locks\nwith locks.lock(Path('runs/tiny-base-sweep/sweep.lock')): print(1, flush=True); input()"
    environment = os.environ | {"PYTHONPATH": str(Path(command.__file__).parents[3])}
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other.stdout.readline()
    with pytest.raises(ValueError, match=f"is being swept by process {other.pid}"):
        sweep(run, 2)
    other.communicate("\n")


@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_every_space_of_the_kit_holds_settings(name):
    space = command.check_space(SWEEPS[name](), name)
    trial = optuna.trial.FixedTrial({})
    assert set(study.distributions(space)) == set(space) and trial.number == 0


def test_a_space_with_a_wrong_setting_is_named():
    with pytest.raises(ValueError, match=r"SWEEPS\['mine'\].*no setting lrr; did you mean lr\?"):
        command.check_space({"lrr": [1]}, "mine")
    with pytest.raises(ValueError, match=r"drop_rate=1.5"):
        command.check_space({"drop_rate": Range(0.0, 1.5)}, "mine")


def test_noise_alone_flatters_and_the_warning_takes_it_back():
    """Twenty trials that are equally good: the best looks better, and by the left-out folds is not."""
    rng = np.random.default_rng(0)
    found = [
        flattery(0.8 + rng.normal(0, 0.01, (20, 5)), lower_is_better=lower) for lower in (True, False) * 200
    ]
    up = np.mean([f.best for f in found[1::2]]), np.mean([f.honest for f in found[1::2]])
    down = np.mean([f.best for f in found[::2]]), np.mean([f.honest for f in found[::2]])
    assert up[0] > 0.807 and down[0] < 0.793, "1.87 standard errors of 0.01 / sqrt(5)"
    assert abs(up[1] - 0.8) < 0.001 and abs(down[1] - 0.8) < 0.001


def test_a_trial_that_is_really_better_loses_nothing():
    folds = np.array([[0.7, 0.71, 0.72], [0.9, 0.91, 0.92], [0.8, 0.81, 0.82]])
    assert flattery(folds, lower_is_better=False) == pytest.approx((0.91, 0.91))
    assert flattery(folds, lower_is_better=True).best == pytest.approx(0.71)


def test_the_report_has_a_table_bars_and_the_warning(bench, capsys):
    run = base(bench)
    options = command.Namespace(space="tiny", trials=6, on="")
    SWEEPS["tiny"] = lambda: SPACE
    try:
        command.command(run, options)
    finally:
        del SWEEPS["tiny"]
    folder = run.paths.root.with_name("tiny-base-sweep")
    text = (folder / "report.txt").read_text()
    assert capsys.readouterr().out.endswith(f"\n{text}")
    lines = pd.read_csv(folder / "trials.csv")
    assert len(lines) == 6 and lines["score"].dropna().is_monotonic_decreasing
    whole = int((lines["ended"] == "whole").sum())
    assert f"warning: the best of {whole} flatters" in text and f"make submit RUN={lines['run'][0]} " in text
    if lines["score"].nunique() >= 4:
        assert "lr" in text and "#" in text and "<svg" in (folder / "importance.svg").read_text()


def test_importance_finds_the_setting_that_matters(tmp_path):
    found = study.open_study(tmp_path / "study.journal", lower_is_better=False, origin={})
    rng = np.random.default_rng(0)
    for _ in range(30):
        trial = found.ask(study.distributions(SPACE))
        trial.set_user_attr("set", study.set_text(trial.params))
        found.tell(trial, -abs(np.log10(trial.params["lr"]) + 2) + rng.normal(0, 0.01))
    shares = study.importances(found)
    assert [*shares][0] == "lr" and shares["lr"] > 0.4 and sum(shares.values()) == pytest.approx(1)
    report.draw_importance(found, tmp_path)
    assert (tmp_path / "importance.svg").read_text().count("<rect") == 4


@pytest.mark.slow  # three processes that import torch
def test_a_killed_sweep_goes_on_with_the_same_command(bench):
    base(bench)
    root = Path(command.__file__).parents[3]
    code = (
        "import sys; from src.experiments import SWEEPS, Range; from src.__main__ import main\n"
        "SWEEPS['tiny'] = lambda: {'lr': Range(1e-3, 0.1, is_log=True), 'epochs': [1, 2], 'drop_rate': Range(0.0, 0.5)}\n"
        "sys.exit(main(['sweep', 'runs/tiny-base', '--space', 'tiny', '--trials', '6']))"
    )
    begin = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(root)}
    first = subprocess.Popen(
        begin, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in first.stdout:
        if line.startswith("trial 3 of 6"):
            break
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = subprocess.run(begin, env=environment, capture_output=True, text=True, check=True)
    assert "trial 3 of 6" in done.stdout and "trial 2 of 6" not in done.stdout
    lines = pd.read_csv("runs/tiny-base-sweep/trials.csv")
    assert sorted(lines["trial"]) == [*range(6)] and lines["run"].is_unique


# ---- side by side ----


class Trainer:
    """In place of a cluster: what was sent last is trained first, here, when an answer is asked for."""

    def __init__(self, slots: int, stop_at: int = 1000) -> None:
        self.slots, self.stop_at, self.sent, self.most, self.answers = slots, stop_at, [], 0, 0

    def send(self, run: Path, fold: int | None) -> None:
        self.sent.append((run, fold))
        self.most = max(self.most, len(self.sent))

    def receive(self) -> dict:
        run, fold = self.sent.pop()
        self.answers += 1
        answer = {"run": str(run), "fold": fold, "code": 0, "line": ""}
        if self.answers > self.stop_at:
            return answer | {"code": 75}
        try:
            trials.train.train(open_run(RunPaths(run)), None if fold is None else [fold])
        except CheckFailed as error:
            return answer | {"code": 1, "line": str(error)}
        return answer


def sweep_by(trainer: Trainer, run, number: int) -> optuna.Study:
    folder = run.paths.root.with_name("tiny-base-sweep")
    found = study.open_study(folder / "study.journal", lower_is_better=False, origin={})
    side_by_side.run_side_by_side(trials.Sweep(run, found, SPACE, number, folder), trainer)
    return found


@pytest.mark.slow  # fourteen trials
def test_one_at_a_time_a_cluster_tries_what_one_process_tries(bench):
    run = base(bench)
    here = sweep(run, 7)
    Path("runs").rename("runs-here")
    there = sweep_by(Trainer(1), base(bench), 7)
    for one, other in zip(here.trials, there.trials, strict=True):
        assert (one.user_attrs["set"], one.value, one.state) == (
            other.user_attrs["set"],
            other.value,
            other.state,
        )


def test_several_trials_at_once_differ_and_all_come_to_an_end(bench):
    trainer = Trainer(3)
    found = sweep_by(trainer, base(bench), 4)
    assert trainer.most == 3 and len(set(sets(found))) == len(study.tried(found)) == 4
    assert len(pd.read_csv("runs/tiny-base-sweep/trials.csv")) == 4
    assert {trial.state.name for trial in found.trials} <= {"COMPLETE", "PRUNED"}


def test_trials_that_were_stopped_side_by_side_go_on_with_the_same_settings(bench):
    run = base(bench)
    with pytest.raises(Stopped, match="the same command goes on"):
        sweep_by(Trainer(2, stop_at=1), run, 3)
    begun = study.open_study(
        Path("runs/tiny-base-sweep/study.journal"), lower_is_better=False, origin={}
    ).trials
    running = [trial.user_attrs["set"] for trial in begun if trial.state.name == "RUNNING"]
    assert len(running) == 2
    found = sweep_by(Trainer(2), run, 3)
    assert {*running} <= {*sets(found)} and len(found.trials) == len(study.tried(found)) == 3


def test_equal_settings_at_the_same_time_are_one_run(bench, monkeypatch):
    run = base(bench)
    monkeypatch.setattr(study, "set_text", lambda params: "lr=0.01")
    found = sweep_by(Trainer(2), run, 3)
    assert sets(found) == ["lr=0.01"] * 3 and len({trial.value for trial in found.trials}) == 1


def test_a_trial_that_fails_on_the_cluster_is_told_with_its_last_line(bench, monkeypatch, capsys):
    def diverge(there, only=None):
        raise CheckFailed("fold 0: the training has diverged")

    monkeypatch.setattr(trials.train, "train", diverge)
    found = sweep_by(Trainer(2), base(bench), 2)
    assert [trial.state.name for trial in found.trials] == ["FAIL"] * 2
    assert "trial 1 of the sweep: fold 0: the training has diverged" in capsys.readouterr().err


def serving(code: str):
    """A stand-in for the command cluster: python -c CODE in its place."""

    def start(command: list[str], **how) -> subprocess.Popen:
        assert command[1:6] == ["-m", "src", "cluster", "runs/x", "--serve"]
        return POPEN([sys.executable, "-c", f"import json, sys, time\n{code}", *command[6:]], **how)

    return start


POPEN = subprocess.Popen
ANSWERS = """
print(json.dumps({"slots": 2}), flush=True)
for line in sys.stdin:
    print(json.dumps(json.loads(line) | {"code": 0, "line": "", "slots": 5}), flush=True)
"""


def test_the_server_is_asked_and_answers_in_json(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", serving(ANSWERS))
    with side_by_side.Server(Path("runs/x"), ["--on", "auto"]) as server:
        assert server.slots == 2
        server.send(Path("runs/y"), 0)
        assert server.receive()["run"] == "runs/y" and server.slots == 5
    assert server.process.returncode == 0, "the end of its stdin ends it"


def test_a_stop_is_passed_on_to_the_server_and_its_own_error_ends_the_sweep(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", serving(ANSWERS))
    with side_by_side.Server(Path("runs/x"), []) as server, pytest.raises(Stopped, match="are saved"):
        signal.raise_signal(signal.SIGTERM)
        server.send(Path("runs/y"), 0)
        server.receive()
    monkeypatch.setattr(subprocess, "Popen", serving("sys.exit(2)"))
    with pytest.raises(SystemExit) as end:
        side_by_side.Server(Path("runs/x"), [])
    assert end.value.code == 2


def test_a_request_that_the_server_no_longer_reads_is_no_error_of_its_own(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", serving("print('{\"slots\": 1}', flush=True)"))
    with side_by_side.Server(Path("runs/x"), []) as server:
        server.process.wait()
        server.send(Path("runs/y"), 0)
        with pytest.raises(SystemExit):
            server.receive()
