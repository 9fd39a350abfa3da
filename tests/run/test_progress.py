"""The progress of a fold: a line per epoch, or per fold where epochs are short, and a bar on a terminal."""

import io
import re
import sys

import pytest
from conftest import fast

from src.run import progress
from src.run.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves: clock[0] += seconds."""
    seconds = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: seconds[0])
    return seconds


def train(clock, epoch_seconds: list[float], *, begin=(0, 0), folds_after: int | None = 4, validation=0.0):
    """A fold whose epochs of 2 batches with 10 images each take so long."""
    with Progress(1, len(epoch_seconds), 2, folds_after) as shown:
        shown.begin(*begin)
        for epoch in range(begin[0], len(epoch_seconds)):
            for _ in range(begin[1] if epoch == begin[0] else 0, 2):
                clock[0] += epoch_seconds[epoch] / 2
                shown.advance(10)
            clock[0] += validation
            shown.end_epoch({"loss": 1 / (epoch + 1), "accuracy": 0.5})
    return shown


def test_an_epoch_is_a_line_with_its_figures_its_speed_and_the_time_left(clock, capsys):
    train(clock, [10.0, 10.0, 10.0], validation=10.0)
    assert capsys.readouterr().out.splitlines() == [
        "fold 1  epoch 1/3  loss 1.0000  accuracy 0.5000  2 images/s  left: fold 40 s, run 5 min",
        "fold 1  epoch 2/3  loss 0.5000  accuracy 0.5000  2 images/s  left: fold 20 s, run 4 min",
        "fold 1  epoch 3/3  loss 0.3333  accuracy 0.5000  2 images/s  left: fold 0 s, run 4 min",
    ]


def test_epochs_under_a_second_share_one_line_the_last(clock, capsys):
    train(clock, [0.1] * 150)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("fold 1  epoch 150/150  loss 0.0067") and "200 images/s" in line


def test_a_fold_of_many_short_epochs_is_not_silent_for_long(clock, capsys):
    train(clock, [0.9] * 100)
    epochs = re.findall(r"epoch (\d+)/100", capsys.readouterr().out)
    assert epochs == ["34", "68", "100"]


def test_what_is_known_is_printed_when_a_fold_is_stopped(clock, capsys):
    with pytest.raises(KeyboardInterrupt), Progress(0, 9, 2) as shown:
        shown.begin(0, 0)
        shown.advance(10)
        shown.end_epoch({"loss": 0.25})
        raise KeyboardInterrupt
    assert "fold 0  epoch 1/9  loss 0.2500" in capsys.readouterr().out


def test_a_continued_fold_counts_only_its_own_steps(clock, capsys):
    """Three of four epochs and one of two steps were done before: 3 s for the last step."""
    shown = train(clock, [6.0] * 4, begin=(3, 1), folds_after=1)
    assert "left: fold 0 s, run 24 s" in capsys.readouterr().out and shown.step == 8


def test_processes_that_share_the_folds_do_not_guess_the_time_of_the_run(clock, capsys):
    train(clock, [5.0, 5.0], folds_after=None)
    printed = capsys.readouterr().out
    assert "left: fold 5 s\n" in printed and "run" not in printed


def test_a_terminal_has_a_bar_and_no_lines(clock, capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    train(clock, [10.0, 10.0])
    shown = terminal.getvalue()
    assert capsys.readouterr().out == ""
    assert "fold 1  epoch 1/2  loss 1.0000  accuracy 0.5000  2 images/s  left: fold 10 s, run 90 s" in shown
    assert "fold 1  epoch 2/2  loss 0.5000  accuracy 0.5000  2 images/s  left: fold 0 s, run 80 s" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (120, "2 min"), (5940, "99 min"), (6000, "1 h 40 min")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_a_run_says_how_much_is_left_of_it(bench, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SHORT", 0.0)
    bench.run(fast("refit=1"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    assert [line.split("  ")[0] for line in lines] == [
        f"{name}" for name in ("fold 0", "fold 1", "fold 2", "refit 0") for _ in range(2)
    ]
    assert all(re.search(r"epoch [12]/2 .* left: fold \d+ s, run \d+ (s|min)$", line) for line in lines)
    assert lines[-1].endswith("left: fold 0 s, run 0 s")
