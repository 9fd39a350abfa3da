"""make plan: the arithmetic is what it says, and on the tiny competition every stage is measured and counted."""

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import fast, open_run
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import Config
from src.data.cache import arrays
from src.extras import costs
from src.extras.costs import STAGES, Rates, Work
from src.extras.plan import command, sample, scale
from src.extras.plan.choices import Choice, choices
from src.extras.plan.report import Plan, advice, choice_lines, each, gigabytes, limit, stage_lines, verdict
from src.extras.plan.stages import Machines, Sizes, left, stages, total, trainings
from src.run.variables import main as check_variables

ONE = Machines()
WORK = Work(images=1000, held_out=1000, folds=5, epochs=8, views=4, drawn=3, test=200, is_test_cached=True)
RATES = Rates(*np.linspace(0.001, 0.019, len(Rates._fields)))
SIZES = Sizes(file=1e5, decoded=15e4, output=9e4, learned=4e6, optimizer=8e6)
PER_IMAGE = Rates(decode=0.004, trunk=0.005, drawn=0.006, step=0.01, valid=0.003, test=0.003)

counts = st.integers(1, 10**6)
works = st.tuples(counts, st.integers(2, 10), st.integers(1, 50), st.integers(0, 8), counts).map(
    lambda numbers: WORK._replace(
        images=numbers[0],
        held_out=numbers[0],
        folds=numbers[1],
        epochs=numbers[2],
        views=numbers[3],
        drawn=max(numbers[3] - 1, 0),
        test=numbers[4],
    )
)
rates = st.tuples(*[st.floats(0, 10)] * len(Rates._fields)).map(lambda values: Rates(*values))
machines = st.tuples(st.integers(1, 64), st.integers(1, 8)).map(lambda numbers: Machines(*numbers))


@given(works, rates, machines)
@settings(max_examples=60, deadline=None)
def test_more_work_never_takes_less_time(work, rates, machines):
    def seconds(some: Work) -> float:
        return total(stages(some, rates, SIZES, machines))

    base = seconds(work) * (1 - 1e-9)
    assert seconds(work._replace(images=2 * work.images, held_out=2 * work.held_out)) >= base
    assert seconds(work._replace(epochs=work.epochs + 1)) >= base
    assert seconds(work._replace(test=work.test + 1)) >= base
    assert seconds(work._replace(folds=work.folds + machines.all_devices)) >= base
    for name in ("step", "decode", "trunk", "fold", "start"):
        slower = rates._replace(**{name: getattr(rates, name) + 1})
        assert total(stages(work, slower, SIZES, machines)) >= base


@given(works, rates, st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_more_machines_never_compute_longer(work, rates, number):
    alone, together = (stages(work, rates, SIZES, Machines(machines=m, network=1e18)) for m in (1, number))
    for one, several in zip(alone, together):
        assert several.compute <= one.compute * (1 + 1e-9)


def test_time_is_linear_in_images_epochs_and_folds():
    twice = costs.parts(WORK._replace(images=2000, held_out=2000, test=400), PER_IMAGE)
    assert twice == pytest.approx({name: 2 * value for name, value in costs.parts(WORK, PER_IMAGE).items()})
    epochs = [costs.parts(WORK._replace(epochs=n), PER_IMAGE)["epochs"] for n in (1, 2, 8)]
    assert epochs == pytest.approx([epochs[0], 2 * epochs[0], 8 * epochs[0]])
    # each fold learns from the others: K - 1 times all images
    steps = [costs.parts(WORK._replace(folds=n), Rates(step=0.01))["epochs"] for n in (2, 3, 5)]
    assert steps == pytest.approx([8 * 1000 * 0.01 * (n - 1) for n in (2, 3, 5)])


def test_the_counted_work_of_a_run_is_what_the_stages_do():
    parts = costs.parts(WORK, PER_IMAGE)
    assert parts["trunk"] == pytest.approx(1000 * (0.005 + 3 * 0.006))
    assert parts["epochs"] == pytest.approx(8 * (4 * 1000 * 0.01 + 1000 * 0.003))
    assert parts["test trunk"] == pytest.approx(200 * 0.005)
    assert parts["test models"] == pytest.approx(5 * 200 * 0.003)
    refit = costs.parts(WORK._replace(refits=2), PER_IMAGE)
    assert refit["epochs"] == pytest.approx(8 * (6 * 1000 * 0.01 + 1000 * 0.003))  # two more, of all images
    assert refit["test models"] == pytest.approx(2 * 200 * 0.003)
    views = costs.parts(WORK._replace(test_views=2), PER_IMAGE)  # the held-out images in the second view too
    assert views["test models"] == pytest.approx((5 * 2 * 200 + 1000) * 0.003)
    assert set(parts) == {part for names in STAGES.values() for part in names}


def test_images_that_are_not_kept_decoded_are_decoded_whenever_they_are_read():
    kept, read = (
        costs.parts(WORK._replace(is_decoded=is_decoded), PER_IMAGE) for is_decoded in (True, False)
    )
    assert read["decode"] == pytest.approx(kept["decode"] / 2)  # a look for broken ones
    assert read["trunk"] - kept["trunk"] == pytest.approx(4 * 1000 * 0.004)
    assert read["epochs"] == kept["epochs"]  # these read the trunk's outputs
    without = [WORK._replace(views=0, drawn=0, is_decoded=is_decoded) for is_decoded in (True, False)]
    kept, read = (costs.parts(work, PER_IMAGE) for work in without)
    assert read["epochs"] - kept["epochs"] == pytest.approx(8 * 5 * 1000 * 0.004)
    room = {stage.name: stage.room for stage in stages(without[1], RATES, SIZES, ONE)}
    assert room["decode"] == 0


def test_several_devices_share_folds_in_rounds_or_each_fold():
    def folds(devices: int) -> float:
        return trainings(WORK, RATES, SIZES, Machines(devices=devices), 32)[0].compute

    assert [folds(n) / folds(1) for n in (2, 4, 5, 8)] == pytest.approx([3 / 5, 2 / 5, 1 / 5, 1 / 5])
    parts = costs.parts(WORK, RATES)
    network = 1.25e9
    one = trainings(WORK, RATES, SIZES, Machines(machines=4, devices=2, network=network), 32)[1]
    assert one.compute == pytest.approx(parts["folds"] + parts["epochs"] / 8)
    num_steps, gradients = 8 * 4000 / 32, 2 * 7 / 8 * SIZES.learned / network
    fetching = 1000 * 4 * SIZES.output * 3 / 4 / network
    assert one.network == pytest.approx(fetching + num_steps * gradients)
    # the cores of a machine decode for all of its devices
    alone, several = (stages(WORK, RATES, SIZES, Machines(m, d)) for m, d in ((1, 1), (2, 4)))
    seconds = {one.name: (one.compute, other.compute) for one, other in zip(alone, several)}
    assert seconds["decode"][0] / seconds["decode"][1] == pytest.approx(2)
    assert seconds["trunk"][0] / seconds["trunk"][1] == pytest.approx(8)
    assert seconds["start"][0] == seconds["start"][1]


def test_what_does_not_stay_in_memory_is_read_from_the_disk_in_every_epoch():
    size = 1000 * 4 * SIZES.output
    enough, little = (
        next(
            stage
            for stage in stages(WORK, RATES, SIZES, ONE._replace(memory=memory, disk=1e6))
            if stage.name == "train"
        )
        for memory in (2 * size, size / 2)
    )
    assert (enough.disk, little.disk) == pytest.approx((size / 1e6, 5 * 8 * size / 1e6))
    assert little.seconds == pytest.approx(max(little.disk, little.compute))


def test_what_is_there_already_counts_nothing():
    fresh = stages(WORK, RATES, SIZES, ONE)
    done = {"split": 1.0, "decode": 1.0, "trunk": 0.25, "folds": 0.4, "test decode": 1.0}
    begun = {stage.name: stage for stage in stages(WORK, RATES, SIZES, ONE, done=done)}
    assert left(fresh) == pytest.approx(total(fresh)) and total(list(begun.values())) == total(fresh)
    assert begun["split"].left == begun["decode"].left == 0
    assert begun["trunk"].left == pytest.approx(0.75 * begun["trunk"].seconds)
    assert begun["train"].left == pytest.approx(0.6 * begun["train"].seconds)
    assert 0 < begun["predict"].left < begun["predict"].seconds


def plan_of(kind: str, rates: Rates = RATES, is_own: bool = False, **changes) -> Plan:
    choice = Choice(kind, Config(), f"make submit EXP={kind}", is_own)
    return Plan(choice, WORK._replace(**changes), rates, SIZES, ONE, {})


def test_the_budget_names_what_fits_or_what_would():
    quick, slow = plan_of("head", RATES, is_own=True), plan_of("full", RATES._replace(step=10.0))
    assert verdict([quick, slow], 3600, "1h") == "BUDGET=1h: head fits"
    assert verdict([quick, slow], 1e9, "9d") == "BUDGET=9d: head and full fit"
    lines = choice_lines([quick, slow], 3600, "1h")
    assert "yes" in lines[1] and "no" in lines[2] and "(this plan)" in lines[1]
    assert "fits" not in choice_lines([quick, slow], 0, "")[0]
    few = plan_of("head", Rates(step=0.1))
    fewer = verdict([few], 1500, "25min")  # 8 epochs take 3,200 s
    assert "nothing fits; head needs 53 min" in fewer and 'SET="epochs=3"' in fewer
    smaller = verdict([few], 250, "250s")
    assert 'SET="epochs=1 limit=500"' in smaller
    assert "with one epoch of 100 images more than that is left" in verdict(
        [plan_of("head", Rates(start=99))], 9, "9s"
    )


def test_what_limits_and_what_to_do_follow_from_the_longest_stage():
    for rates, stage in ((Rates(step=1), "train"), (Rates(trunk=9), "trunk"), (Rates(decode=9), "decode")):
        plan = plan_of("tail", rates)
        assert limit(plan).startswith(f"{stage} takes")
        assert advice(plan, 1e15, 1e15)
    assert "disk" in limit(plan_of("tail", Rates())._replace(machines=Machines(disk=1e3)))
    crowded = advice(plan_of("tail"), free=1e6, memory=1e6)
    assert "CACHE=folder" in crowded[1] and "of memory" in crowded[2]
    done = plan_of("tail")._replace(done=dict.fromkeys(costs.parts(WORK, RATES), 1.0))
    assert limit(done).startswith("nothing") and not advice(done, 1e15, 1e15)


def test_the_table_tells_measured_from_computed_and_has_a_line_for_each_stage():
    lines = stage_lines(plan_of("tail"))
    assert "measured here" in lines[0] and "counted" in lines[0]
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [*STAGES, "total"]
    several = stage_lines(plan_of("tail")._replace(machines=Machines(2, 4)))
    assert "2 machines x 4 devices" in several[-2] and "network (10 Gbit/s)" in several[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.2, "12 s"), (89, "89 s"), (713, "12 min"), (5000, "83 min"), (12000, "3.3 h")]
    + [(86400 * 5.2, "5 days"), (86400 * 365 * 3.4, "3.4 years")],
)
def test_an_estimate_is_rounded_to_what_it_is_worth(seconds, text):
    assert costs.about(seconds) == text


def test_sizes_and_pieces_are_rounded_too():
    assert [gigabytes(size) for size in (1e6, 54e6, 1.24e9, 203.4e9)] == ["-", "0.05 GB", "1.2 GB", "203 GB"]
    assert [each(seconds) for seconds in (0.00012, 0.0043, 2.5)] == ["0.12 ms", "4.3 ms", "2.5 s"]


@pytest.mark.parametrize("word", ["BUDGET=9x", "BUDGET=h", "N=1.5", "N=0", "MACHINES=0", "DISK=fast"])
def test_a_number_that_is_none_is_refused_in_one_line(word):
    answer = check_variables(["BUDGET", "N", "MACHINES", "DISK", "--", word])
    assert answer.startswith(f"{word} must be a") and "\n" not in answer


def test_a_budget_is_read_as_a_time():
    assert [command.seconds_of(text) for text in ("", "90min", "9h", "1.5d")] == [0, 5400, 32400, 129600]
    with pytest.raises(ValueError, match="BUDGET=soon must be a time"):
        command.seconds_of("soon")


# -- on the tiny competition; what processes take is made up, since each would import torch


@pytest.fixture
def quick(monkeypatch):
    names = ("start", "split", "row", "read", "checks", "submit")
    made_up = {name: np.full(2, 0.25) for name in names}
    monkeypatch.setattr(command, "of_processes", lambda *arguments: dict(made_up))


def options(*words: str):
    parser = ArgumentParser()
    command.add_options(parser)
    return parser.parse_args(["--seconds=0", *words])


def test_a_plan_before_anything_is_made_has_all_stages_and_leaves_no_other_run_behind(bench, capsys, quick):
    paths = bench.configure(fast("augment=light views=2"))
    command.command(open_run(paths), options("--budget=9h", "--devices=2"))
    text = capsys.readouterr().out
    for stage in STAGES:
        assert f"\n  {stage} " in text
    assert "36 images to learn from, 9 to predict, 3 folds x 2 epochs at 32 px" in text
    assert "limit: " in text and "BUDGET=9h: head and tail and full fit" in text
    assert [path.name for path in Path("runs").iterdir()] == ["tiny-run"]
    assert not paths.folds.exists() and not paths.fold(0).root.exists()
    saved = json.loads((paths.root / "plan.json").read_text())
    own = saved["choices"]["tail"]
    assert own["is_own"] and own["left"] == own["seconds"] > own["stages"]["train"]["seconds"] > 0
    for name in ("decode", "step", "valid", "fold", "epoch", "model"):
        assert own["rates"][name] >= 0 and name in own["rates"]
    for name in ("row", "file", "decoded", "weights", "learned", "optimizer", "saved", "process"):
        assert own["sizes"][name] > 0, name
    assert own["sizes"]["decoded"] == 32 * 32 * 3
    assert saved["choices"]["full"]["rates"]["step"] > 0 and not saved["choices"]["full"]["work"]["views"]


def test_another_number_of_images_takes_as_much_more(bench, quick):
    run = open_run(bench.configure(fast("")))
    own, many = (command.Planner(run, number, ONE, 0.0) for number in (0, 3600))
    assert (own.num_images, own.num_test) == (36, 9)
    assert (many.num_images, many.num_test, many.num_held_out) == (3600, 900, 3600)
    assert not many.is_own_number


def test_decoded_images_the_trunks_outputs_and_finished_folds_are_not_left_to_do(
    bench, quick, monkeypatch, tmp_path
):
    paths = bench.run(fast("augment=light views=2 epochs=9"))
    assert len(arrays(Path("runs/.cache"))) > 2
    run = open_run(paths)
    monkeypatch.setattr(command, "choices", lambda run: [one for one in choices(run) if one.is_own])
    ((plan, _),) = command.Planner(run, 0, ONE, 0.0).plans(tmp_path / "sample")
    shares = {stage.name: stage.done for stage in plan.stages()}
    assert plan.work.views == 2
    for stage in ("split", "quick checks", "decode", "trunk", "train", "evaluate", "predict"):
        assert shares[stage] == pytest.approx(1), stage
    assert limit(plan).startswith(("start", "submit"))
    # a run beside it with another rate has no folds, and the same images
    other = open_run(bench.configure(fast("augment=light views=2 epochs=9 lr=1e-4"), "other"))
    ((plan, _),) = command.Planner(other, 0, ONE, 0.0).plans(tmp_path / "other")
    shares = {stage.name: stage.done for stage in plan.stages()}
    assert shares["decode"] == shares["trunk"] == shares["split"] == pytest.approx(1)
    assert shares["train"] == 0 and 0 < shares["predict"] < 1


def test_a_run_solved_exactly_and_one_without_a_cache_are_measured_too(bench, quick, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "choices", lambda run: [one for one in choices(run) if one.is_own])
    for number, changes in enumerate(("solver=exact trainable=head", "augment=light views=0 tta=hflip")):
        run = open_run(bench.configure(fast(changes), f"run{number}"))
        ((plan, by_processor),) = command.Planner(run, 0, ONE, 0.0).plans(tmp_path / str(number))
        assert plan.rates.step > 0 and by_processor.rates.step > 0
    assert (plan.work.views, plan.work.test_views) == (0, 2)


def test_the_other_choices_keep_backbone_size_and_settings_but_not_the_rates(bench):
    run = open_run(bench.configure(fast("lr=0.3 seed=4"), exp="baseline"))
    by_kind = {choice.kind: choice for choice in choices(run)}
    assert [*by_kind] == ["head", "tail", "full"] and by_kind["tail"].is_own
    head, full = by_kind["head"].config, by_kind["full"].config
    assert (head.trainable, full.trainable, head.backbone, full.image_size) == (
        "head",
        "all",
        "test_resnet",
        32,
    )
    assert head.lr != 0.3 and full.seed == 4
    assert "EXP=head" in by_kind["head"].command and "lr=" not in by_kind["head"].command


@pytest.mark.slow
def test_the_processes_of_make_are_measured_on_a_small_split_run(bench, tmp_path):
    run = open_run(bench.configure(fast("")))
    small = sample.small_run(run, run.config, tmp_path / "one" / "sample", 16)
    taken = sample.of_processes(small, 45, np.zeros(2))
    assert small.paths.folds.exists() and all((seconds >= 0).all() for seconds in taken.values())
    assert (taken["start"] > 0).all() and (taken["checks"] > 0).any()
    broken = replace(small, paths=replace(small.paths, root=tmp_path / "nothing"))
    with pytest.raises(ValueError, match="does not exist"):
        sample.of_processes(broken, 45, np.zeros(2))


@pytest.mark.slow
def test_the_table_of_the_documents_is_what_its_command_prints():
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert scale.table() in text
