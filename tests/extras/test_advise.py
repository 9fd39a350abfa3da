"""make advise: what costs more must be better by more than the noise, and what it says to write is what it
tried.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import fast, make_competition, open_run

from src import competitions, config
from src.competition import paired, scoring
from src.extras import advise
from src.extras.advise import Result
from src.run import configure, overrides, predictions
from src.run.files import read_json
from src.run.paths import RunPaths


def results(competition, shares, n=300):
    """A table of n images, and results that get the given shares of it right."""
    rng = np.random.default_rng(0)
    truth, ids = rng.integers(0, 3, n), [f"i{i:03}" for i in range(n)]
    table = pd.DataFrame(
        {
            "id": ids,
            "row": ids,
            "colour": np.array(competition.classes)[truth],
            "group": ids,
            "fold": np.arange(n) % 5,
        }
    )
    luck = rng.random(n)  # the same images are hard for all
    oofs = {
        name: predictions.make(
            ids, np.eye(3)[np.where(luck < share, truth, (truth + 1) % 3)], competition.outputs
        )
        for name, share in shares.items()
    }
    return table, [
        Result(name, oof, scoring.score(competition, table, oof), 0.01, 10.0 * (i + 1))
        for i, (name, oof) in enumerate(oofs.items())
    ]


@pytest.fixture
def competition(tmp_path, monkeypatch):
    monkeypatch.setattr(paired, "PARTS", 20)
    make_competition(tmp_path / "tiny")
    return competitions.load("tiny", tmp_path)


@pytest.mark.parametrize(
    "shares, rarest, told",
    [
        (
            {"head": 0.6, "tail": 0.9, "all": 0.9},
            100,
            r"tail: \+0.\d+ \+- 0.\d+ over head for 2.0x the time; all's \+0.000 \+- 0.000 is within the noise",
        ),
        (
            {"head": 0.6, "tail": 0.61, "all": 0.9},
            100,
            r"all: \+0.\d+ \+- 0.\d+ over head for 3.0x the time$",
        ),
        (
            {"head": 0.9, "tail": 0.905, "all": 0.6},
            100,
            r"head: tail's \+0.\d+ \+- 0.\d+ is within the noise",
        ),
        ({"head": 0.9, "tail": 0.6, "all": 0.5}, 100, r"head: tail's -0.\d+ \+- 0.\d+ is a loss"),
        (
            {"head": 0.9, "tail": 0.905, "all": 0.6},
            12,
            r"head: there is too little data to fine-tune, 12 images of the rarest class, and tail's",
        ),
        ({"head": 0.6, "tail": 0.9}, 12, r"tail: \+0.\d+"),
    ],
)
def test_what_costs_more_is_advised_only_where_it_is_better_by_more_than_the_noise(
    competition, shares, rarest, told
):
    table, found = results(competition, shares)
    best, duels = advise.ranked(found, competition, table)
    assert pd.Series([advise.verdict(best, duels, rarest)]).str.match(told).all(), advise.verdict(
        best, duels, rarest
    )


def test_a_metric_that_is_better_when_lower_is_not_read_the_wrong_way_round(competition):
    table, found = results(competition, {"head": 0.6, "tail": 0.9})
    softened = [one._replace(oof=one.oof * 0.8 + 0.2 / 3) for one in found]
    other = config.replace(
        competition,
        metric="log_loss",
        lower_is_better=True,
        answer="probabilities",
        header=("id", *competition.classes),
    )
    best, (duel,) = advise.ranked(
        [one._replace(score=scoring.score(other, table, one.oof)) for one in softened], other, table
    )
    assert best.name == "tail" and duel.gain > 0 and duel.is_won


def test_every_backbone_and_answer_is_tried_on_the_same_folds_and_a_second_call_trains_nothing(bench, capsys):
    bench.monkeypatch.setitem(advise.ANSWERS, "head", advise.ANSWERS["head"].replace("epochs=30", "epochs=5"))
    bench.monkeypatch.setattr(advise, "EPOCHS", 2)
    paths = bench.configure(fast("folds=2 augment=none views=1 lr=0.123"))
    bench.stage("split", paths)
    told = advise.advise(open_run(paths), ["gem:test_resnet", "branch_cnn"])
    table = capsys.readouterr().out
    for name in ("gem:test_resnet ", "branch_cnn ", "head ", "tail ", "all "):
        assert f"\n  {name}" in table
    trials = {name: RunPaths(paths.root.with_name(f"tiny-run-advise-{name}")) for name in advise.ANSWERS}
    assert (
        len(
            {read_json(there.score)["fold_hash"] for there in trials.values()}
            | {read_json(paths.competition)["fold_hash"]}
        )
        == 1
    )
    tried = {name: configure.load(there.config).config for name, there in trials.items()}
    assert {name: (one.trainable, one.epochs) for name, one in tried.items()} == {
        "head": ("head", 5),
        "tail": (2, 2),
        "all": ("all", 2),
    }
    # a rate for one answer is none for another
    assert all(one.lr != 0.123 for one in tried.values())
    before = {
        file: file.stat().st_mtime_ns
        for there in trials.values()
        for file in there.root.glob("fold*/done.json")
    }
    assert advise.advise(open_run(paths), ["gem:test_resnet", "branch_cnn"]) == told
    assert {file: file.stat().st_mtime_ns for file in before} == before
    text = told.partition("SET=")[2].strip('"')
    assert (
        told.partition(":")[0] in advise.ANSWERS
        and "make submit COMP=tiny EXP=baseline" in told
        and overrides.parse_set(text)
    )


def test_what_to_write_keeps_the_other_settings_and_drops_rates_that_were_of_another_answer(bench):
    paths = bench.configure(fast("lr=1e-3 trainable=head seed=3"))
    settings = configure.load(paths.config)
    assert advise.to_write(settings, "head", "test_resnet") == settings.set
    changed = overrides.parse_set(advise.to_write(settings, "tail", "test_vit"))
    assert (
        changed["trainable"] == 2
        and changed["backbone"] == "test_vit"
        and changed["seed"] == 3
        and "lr" not in changed
        and changed["epochs"] == 8
    )


def test_a_large_competition_is_tried_on_a_part_of_it(bench, monkeypatch):
    monkeypatch.setattr(advise, "IMAGES", 30)
    paths = bench.configure(fast("folds=2"))
    bench.stage("split", paths)
    trials = [advise.trial(open_run(paths), name, "test_resnet", 30) for name in ("head", "tail")]
    assert [trial.config.limit for trial in trials] == [30, 30]
    head, tail = (trial.paths.folds.read_text() for trial in trials)
    assert head == tail and len(head.splitlines()) == 31
