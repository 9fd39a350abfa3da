"""What each of several processes of a fold does, in this one; real ones are in tests/test_spread.py."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import fast, open_run
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from src.config import Config, Machine
from src.data.batches import in_steps, own_batches
from src.data.inputs import largest_batch
from src.run import launch, locks, memory, ranks
from src.run.clock import Clock
from src.run.device import make_accelerator
from src.run.errors import Stopped
from src.run.paths import RunPaths
from src.train_fold import make_model
from src.training import parallel


class Processes:
    """This process takes the part of one of several: as_one(rank, count)."""

    def __init__(self, monkeypatch) -> None:
        self.monkeypatch = monkeypatch

    def as_one(self, rank: int, count: int, here: int = 0) -> None:
        names = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": here or count}
        for name, value in names.items():
            self.monkeypatch.setenv(name, str(value))
        self.monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")

    def answers(self, *said: tuple[int, int]) -> None:
        """What the exchanges of agree() come to, one after another: (flag, out of memory)."""
        answers = iter(said)
        self.monkeypatch.setattr(
            ranks, "reduce", lambda tensor, how="SUM": tensor.copy_(torch.tensor(next(answers)))
        )


@pytest.fixture
def processes(monkeypatch) -> Processes:
    ranks.num_beside_main.cache_clear()
    yield Processes(monkeypatch)
    ranks.num_beside_main.cache_clear()


def test_a_process_by_itself_is_the_main_one_and_tells_nobody_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "8")  # of some scheduler, not torchrun's
    assert (ranks.count(), ranks.rank(), ranks.is_main(), ranks.is_orphan()) == (1, 0, True, False)
    assert ranks.agree(True) and not ranks.agree() and ranks.first("SIGTERM") == "SIGTERM"
    assert ranks.gather(3) == [3] and ranks.from_main(lambda: 4) == ranks.main_first(lambda: 4) == 4
    assert [*ranks.share(5)] == [0, 1, 2, 3, 4]
    assert [*ranks.pieces(2, 9, 4)] == [(2, 6, 6), (6, 9, 9)]
    with locks.shared(tmp_path / "lock") as holder:
        assert holder == "" and (tmp_path / "lock").exists()
    assert parallel.Statistics([torch.ones(2)]).buffers == []


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("number", [1, 2, 3, 7, 24])
def test_the_shares_are_parts_in_order_that_differ_by_one_and_the_main_one_has_something(
    processes, count, number
):
    shares = []
    for rank in range(count):
        processes.as_one(rank, count)
        shares.append([*ranks.share(number)])
    assert sum(shares, []) == [*range(number)] and shares[0]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("count", [2, 3])
def test_pieces_fill_an_array_once_and_in_rounds_whose_ends_can_be_saved(processes, count):
    rounds = []
    for rank in range(count):
        processes.as_one(rank, count)
        ranks.num_beside_main.cache_clear()
        processes.monkeypatch.setattr(ranks, "from_main", lambda compute: count)
        rounds.append([*ranks.pieces(3, 40, 4)])
    assert len({len(pieces) for pieces in rounds}) == 1
    at = 3
    for pieces in zip(*rounds):
        assert len({done for _, _, done in pieces}) == 1
        lines = [line for start, end, _ in pieces for line in range(start, end)]
        assert lines == [*range(at, pieces[0][2])]
        assert all((start - 3) % 4 == 0 or start == end for start, end, _ in pieces), "whole batches"
        at = pieces[0][2]
    assert at == 40


def test_on_other_machines_nobody_writes_into_the_array(processes):
    processes.as_one(2, 4, here=2)
    processes.monkeypatch.setattr(ranks, "from_main", lambda compute: 2)
    assert [*ranks.pieces(0, 20, 4)] == [(8, 8, 8), (16, 16, 16), (20, 20, 20)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_image_of_a_step_is_on_one_process_and_all_have_as_many_batches(processes, count):
    config = Config(batch_size=8, accumulate=2)
    processes.as_one(0, count)
    steps = in_steps(np.arange(37), 16, largest_batch(config))
    own = []
    for rank in range(count):
        processes.as_one(rank, count)
        own.append(own_batches(steps))
    assert len({len(parts) for parts in own}) == 1
    for number, step in enumerate(steps):
        of_step = [[part for part in parts if part[1]["step"] == number] for parts in own]
        images = np.concatenate([images for parts in of_step for images, _ in parts])
        assert images.tolist() == np.concatenate(step).tolist()
        assert all([place["ends_step"] for _, place in parts].count(True) == 1 for parts in of_step)
        assert all(parts[-1][1]["ends_step"] for parts in of_step)
        assert {place["step_size"] for parts in of_step for _, place in parts} == {sum(map(len, step))}
        seeds = [place["number"] for parts in of_step for images, place in parts if len(images)]
        first = sum(map(len, steps[:number]))
        assert seeds == [*range(first, first + len(step))]
    assert all(
        [place["ends_epoch"] for _, place in parts] == [False] * (len(parts) - 1) + [True] for parts in own
    )


@pytest.mark.parametrize(
    "batch_size, accumulate, count, expected",
    [(64, 1, 1, 64), (5, 2, 1, 5), (64, 1, 4, 16), (64, 1, 3, 22), (8, 4, 2, 8), (8, 1, 8, 2), (1, 4, 2, 1)],
)
def test_processes_divide_a_step_into_batches_of_their_own(
    processes, batch_size, accumulate, count, expected
):
    processes.as_one(0, count)
    assert largest_batch(Config(batch_size=batch_size, accumulate=accumulate)) == expected


# ---- memory runs out ----


def test_where_memory_runs_out_in_another_process_this_one_halves_too(processes, capsys):
    processes.as_one(1, 2)
    processes.answers((0, 1), (0, 0))  # the other one has none left; both are done
    batch, asked = memory.BatchSize(8, "the trunk"), []
    assert batch.fit(lambda size: asked.append(size) or size) == 4 and asked == [8, 4]
    assert "the trunk goes on with a batch of 4" in capsys.readouterr().err


def test_where_it_runs_out_here_the_others_are_told_once(processes):
    processes.as_one(1, 2)
    said = []
    processes.monkeypatch.setattr(ranks, "reduce", lambda tensor, how: said.append(tensor.tolist()))

    def compute(size: int) -> int:
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    assert memory.BatchSize(8, "the trunk").fit(compute) == 4
    assert said == [[0, 1], [0, 0]]


def test_what_is_told_by_a_part_is_not_told_again_by_the_whole(processes):
    """The validation of a fold halves its own batch; where one image is too much, all give up together and
    the fold halves its batch, and no process waits for another.
    """
    processes.as_one(0, 2)
    processes.answers((0, 1), (0, 0), (0, 0))
    whole, part = memory.BatchSize(8, "fold 0"), memory.BatchSize(1, "the validation")
    assert whole.fit(lambda size: part.fit(lambda one: size)) == 4
    assert (whole.images, part.images) == (4, 1)


# ---- why a process stops ----


def test_all_stop_where_one_is_asked_to(processes, monkeypatch):
    processes.as_one(1, 2)
    monkeypatch.setattr(ranks, "agree", lambda flag=False, **how: True)
    monkeypatch.setattr(ranks, "gather", lambda text: ["SIGTERM", text])
    assert Clock(Machine()).why_stop() == "SIGTERM"


def test_a_process_whose_command_has_ended_stops(processes, monkeypatch):
    processes.as_one(1, 2)
    monkeypatch.setattr(ranks, "first", lambda text: text)
    monkeypatch.setenv("PODIUM_COMMAND", str(os.getppid()))
    assert Clock(Machine()).why_stop() == ""
    monkeypatch.setenv("PODIUM_COMMAND", "1000000000")
    assert Clock(Machine()).why_stop() == "the command has ended"


def failure(rank: int, code: int, at: int = 0) -> ProcessFailure:
    failure = ProcessFailure(local_rank=rank, pid=1, exitcode=code, error_file="none")
    failure.timestamp = at
    return failure


@pytest.mark.parametrize(
    "codes, expected",
    [
        ([(0, 76), (1, -9)], 1),
        ([(0, -9), (1, 76)], 0),
        ([(0, -15), (1, 2)], 1),
        ([(0, 1), (1, -9)], 1),  # what a library says of the lost connection does not count
        ([(0, 2), (1, 2)], 0),
        ([(0, 76), (1, -15)], None),
    ],
)
def test_the_first_process_that_ended_by_itself_is_named(codes, expected):
    first = launch.first_failure([failure(*code) for code in codes])
    assert (first and first.local_rank) == expected


def test_what_torchrun_kills_later_is_not_named():
    assert launch.first_failure([failure(0, -9, at=30), failure(1, 2)]).local_rank == 1


def test_the_end_of_the_processes_is_said_in_one_line(tmp_path, capsys):
    run = RunPaths(tmp_path / "runs/x")
    with pytest.raises(Stopped):
        launch.end(run, {0: failure(0, 75), 1: failure(1, -15)}, 2, tmp_path)
    with pytest.raises(SystemExit, match="1"):
        launch.end(run, {0: failure(0, 76), 1: failure(1, -9)}, 2, tmp_path)
    assert capsys.readouterr().err == (
        "process 2 of 2 was killed (SIGKILL, most often for want of memory): the same command goes on with"
        " what is not finished\n"
    )
    with pytest.raises(SystemExit, match="1"):
        launch.end(run, {2: failure(0, 76)}, 2, tmp_path)
    assert "processes on another machine is lost" in capsys.readouterr().err
    log = tmp_path / "podium_x/attempt_0/1/stderr.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: fold 0: the loss is not finite\n")
    with pytest.raises(SystemExit, match="2"):
        launch.end(run, {0: failure(0, -15), 1: failure(1, 2)}, 2, tmp_path)
    assert capsys.readouterr().err == "error: fold 0: the loss is not finite\n"


def test_what_torchrun_does_not_take_is_an_error_that_shows_how():
    with pytest.raises(
        ValueError, match='TORCHRUN="--nodes=2" is not what torchrun takes: TORCHRUN="--nnodes 2'
    ):
        launch.options_of(["--nodes=2"], 2, ["runs/x"])
    options = launch.options_of(["--nnodes", "2", "--rdzv-endpoint", "host:29500"], 4, ["runs/x", "--share"])
    assert (options.nnodes, options.rdzv_endpoint, options.max_restarts) == ("2", "host:29500", 0)
    assert (options.training_script, options.training_script_args) == ("src", ["train", "runs/x", "--share"])


def test_signals_and_the_environment_are_as_before_afterwards(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with launch.environment(2), launch.own_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert int(os.environ["OMP_NUM_THREADS"]) >= 1 and os.environ["PODIUM_COMMAND"] == str(os.getpid())
    assert dict(os.environ) == before and signal.getsignal(signal.SIGTERM) == handler


# ---- the step ----


def test_a_parameter_without_gradient_here_counts_as_zero_and_without_one_anywhere_stays_so(
    processes, monkeypatch
):
    processes.as_one(1, 2)
    used, unused, elsewhere = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    used.grad = torch.full((2, 2), 2.0)
    monkeypatch.setattr(ranks, "agree", lambda: False)

    def reduce(tensor: torch.Tensor, how: str = "SUM") -> None:
        if how == "MAX":
            tensor.copy_(torch.tensor([1, 0, 1]))
        else:
            tensor.add_(1)  # the other process has ones

    monkeypatch.setattr(ranks, "reduce", reduce)
    parallel.sum_gradients([used, unused, elsewhere])
    assert used.grad.eq(3).all() and elsewhere.grad.eq(1).all() and unused.grad is None


def test_an_overflow_in_one_process_makes_all_skip_the_step_and_halve_the_scale(processes, monkeypatch):
    processes.as_one(0, 2)
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer, scaler = torch.optim.SGD([parameter], lr=1.0), torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(parameter.sum()).backward()
    monkeypatch.setattr(ranks, "agree", lambda: False)

    def reduce(tensor: torch.Tensor, how: str = "SUM") -> None:
        if how == "SUM":
            tensor[1] += torch.inf  # of the other process

    monkeypatch.setattr(ranks, "reduce", reduce)
    parallel.sum_gradients([parameter])
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0 and parameter.eq(1).all()


def test_sums_go_in_buckets_of_one_type(monkeypatch):
    monkeypatch.setattr(ranks, "BUCKET", 10)
    tensors = [torch.ones(4), torch.ones(2, 3), torch.ones(12), torch.ones(1).half(), torch.ones(1)]
    assert [len(bucket) for bucket in ranks.buckets(tensors)] == [2, 1, 1, 1] and not [*ranks.buckets([])]
    sizes = []
    monkeypatch.setattr(ranks, "reduce", lambda flat: sizes.append(flat.numel()) or flat.mul_(2))
    tensors[1] = torch.arange(6.0).view(3, 2).t()  # not contiguous
    ranks.add_up(tensors)
    assert sizes == [10, 12, 1, 1] and torch.equal(tensors[1], 2 * torch.arange(6.0).view(3, 2).t())


def test_statistics_take_the_mean_change_by_images_and_constants_stay(processes, monkeypatch):
    processes.as_one(0, 2)
    moved, constant, counter = torch.zeros(2), torch.tensor([-torch.inf, 1 / 3]), torch.tensor(3)
    statistics = parallel.Statistics([moved, constant, counter])
    moved += 4
    other = torch.full((2,), 8.0)  # what the other process has come to, with a quarter of the images

    def add_up(changes: list[torch.Tensor]) -> None:
        changes[0] += other * 0.25

    monkeypatch.setattr(ranks, "add_up", add_up)
    statistics.average(0.75)
    assert torch.equal(moved, torch.full((2,), 5.0)) and counter == 3
    assert torch.equal(constant, torch.tensor([-torch.inf, 1 / 3]))
    assert torch.equal(statistics.before[0], moved)


def test_synchronised_statistics_are_refused_without_a_gpu():
    with pytest.raises(ValueError, match="sync_batchnorm=true needs CUDA, and device=cpu is used"):
        make_accelerator(Machine(sync_batchnorm=True, device="cpu"))


def test_each_norm_that_learns_is_synchronised_where_asked_for(processes, bench, monkeypatch):
    paths = bench.configure(fast("trainable=all"), machine="wandb=off device=cpu sync_batchnorm=true")
    run = open_run(paths)
    rows = SimpleNamespace(
        target=np.zeros((4, 3)),
        rows=SimpleNamespace(extra=np.zeros((4, 0))),
        unit=np.float32([[0], [1]]),
        fold=0,
    )
    inputs = SimpleNamespace(run=run, template=None, device=torch.device("cpu"))
    plain = make_model(inputs, rows)
    processes.as_one(0, 2)
    model = make_model(inputs, rows)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    count = sum(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert len(norms) == count > 0 and plain.learned().keys() == model.learned().keys()
    assert all(torch.equal(value, model.learned()[name]) for name, value in plain.learned().items())
