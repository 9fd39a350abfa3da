"""make watch: the curves of a run in the terminal."""

import json
import sys
import threading

import pytest
from conftest import fast

from src.extras import watch
from src.run.files import write_json


@pytest.fixture
def paths(bench):
    """A run whose first fold has four epochs in its log and whose second has two."""
    paths = bench.configure(fast("epochs=4"))
    for fold, epochs in ((0, 4), (1, 2)):
        entries = [
            {"epoch": n, "loss": 1 / n, "valid_loss": 2 / n, "macro_f1": 1 - 1 / n, "lr": 0.01}
            for n in range(1, epochs + 1)
        ]
        log = paths.fold(fold).log
        log.parent.mkdir(parents=True)
        log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return paths


def finish(paths) -> None:
    for fold in range(3):
        write_json({}, paths.fold(fold).done)
    write_json({}, paths.score)


def test_the_curves_are_drawn_with_the_last_figures_of_each_fold(paths, capsys):
    watch.main([str(paths.root), "--once"])
    drawn = capsys.readouterr().out
    assert "valid_loss of 2 folds" in drawn and "macro_f1 of 2 folds" in drawn
    assert any("\u2800" < letter <= "\u28ff" for letter in drawn), "no curve"
    assert "\x1b" not in drawn, "colours are for a terminal"
    assert "fold 0  epoch 4/4  loss 0.25  valid_loss 0.5  macro_f1 0.75  lr 0.01" in drawn
    assert "fold 1  epoch 2/4  loss 0.5  valid_loss 1  macro_f1 0.5  lr 0.01" in drawn


def test_a_half_written_line_and_a_value_that_is_no_number_are_left_out(paths, capsys):
    with paths.fold(1).log.open("a") as log:
        log.write(
            '{"epoch": 3, "loss": 0.1, "valid_loss": null, "macro_f1": 0.9, "lr": 0.01}\n{"epoch": 4, "lo'
        )
    watch.main([str(paths.root), "--once"])
    assert "fold 1  epoch 3/4  loss 0.1  macro_f1 0.9  lr 0.01" in capsys.readouterr().out


def test_it_draws_until_the_run_has_a_score(paths, capsys, monkeypatch):
    drawings = []

    def sleep(seconds):
        drawings.append(seconds)
        if len(drawings) == 3:
            finish(paths)

    monkeypatch.setattr(watch.time, "sleep", sleep)
    watcher = threading.Thread(target=watch.main, args=[[str(paths.root)]], daemon=True)
    watcher.start()
    watcher.join(timeout=60)
    assert not watcher.is_alive() and len(drawings) == 3
    assert capsys.readouterr().out.count("valid_loss of 2 folds") == 4


def test_a_run_that_is_trained_again_is_not_over(paths):
    finish(paths)
    assert watch.is_over(paths)
    paths.fold(1).done.unlink()
    assert not watch.is_over(paths)


def test_before_the_first_epoch_it_says_so(bench, capsys):
    paths = bench.configure()
    watch.main([str(paths.root), "--once"])
    assert capsys.readouterr().out == "tiny-run: no epoch has ended yet\n"


def test_a_run_that_does_not_exist_is_named(bench):
    with pytest.raises(ValueError, match=r"runs/none/config.json does not exist"):
        watch.main(["runs/none", "--once"])


def test_without_plotext_it_says_what_to_install(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotext", None)
    with pytest.raises(ValueError, match="pip install -r requirements-watch.txt"):
        watch.main([str(paths.root), "--once"])


def test_a_run_of_the_real_stages_is_drawn(bench, capsys):
    paths = bench.run()
    capsys.readouterr()
    watch.main([str(paths.root)])  # it is over: one drawing
    drawn = capsys.readouterr().out
    assert "macro_f1 of 3 folds" in drawn and drawn.count("epoch 2/2") == 3
