"""CLUSTER=: what is done in which order, and how it is told. Ray itself is in test_cluster_nodes.py; here a
stand-in runs the units.
"""

import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import fast, open_run
from ray_nodes import wait_until

import src.extras.cluster
from src import train
from src.extras.cluster import command, nodes, serve, task, units
from src.extras.cluster.driver import Driver
from src.extras.cluster.job import begin_job
from src.extras.cluster.news import News, table
from src.extras.cluster.units import LEFT_OUT, STOPPED, Outcome, Unit
from src.run import locks
from src.run.errors import CheckFailed, Stopped
from src.run.files import write_json

ROOT = Path(__file__).parents[2]
TINY = fast("trainable=head epochs=1")


def split_run(bench, name: str, settings: str = TINY, **how):
    paths = bench.configure(settings, name, **how)
    bench.stage("split", paths)
    return open_run(paths)


class Nodes:
    """In place of a cluster: each unit ends at once, with the code of its name, 0 by default."""

    def __init__(self, codes: dict[str, int] | None = None, most: int = 100) -> None:
        self.codes, self.most, self.begun, self.now = codes or {}, most, [], []

    def submit(self, unit: Unit) -> None:
        self.begun.append(unit.name)
        self.now.append(unit)
        assert len(self.now) <= self.most

    def wait(self, seconds: float) -> list[tuple[Unit, Outcome]]:
        ended, self.now = self.now, []
        return [(unit, Outcome(self.codes.get(unit.name, 0), "its last line", "n1", 12, 1)) for unit in ended]

    def name_of(self, node: str) -> str:
        return f"machine {node}"


def drive(tmp_path, planned, fake: Nodes, limit: int = 0) -> tuple[Driver, list[str]]:
    said = []
    driver = Driver(fake, begin_job(tmp_path / "first"), said.append, limit)
    driver.waiting += planned
    return driver, said


# ---- which units ----


def test_runs_that_share_a_trunk_prepare_once_then_come_folds_then_scores(bench):
    a, b = split_run(bench, "a"), split_run(bench, "b", fast("trainable=head epochs=1 lr=0.5"))
    c = split_run(bench, "c", fast("trainable=head epochs=1 image_size=40"))
    planned = units.plan([a, b, c])
    folds = [f"{run} fold{k}" for run in "abc" for k in range(3)]
    assert [unit.name for unit in planned] == [
        *("a prepare", "c prepare"),
        *folds,
        *("a finish", "b finish", "c finish"),
    ]
    by_name = {unit.name: unit for unit in planned}
    assert by_name["b fold1"].after == ("a prepare",) and by_name["c fold1"].after == ("c prepare",)
    assert by_name["b finish"].after == ("b fold0", "b fold1", "b fold2")
    assert by_name["a prepare"].words == ("train", "runs/a", "--prepare")
    assert by_name["b fold1"].words == ("train", "runs/b", "--fold", "1")
    assert by_name["b finish"].words == ("train", "predict", "runs/b")


def test_what_is_finished_is_not_planned_again_and_folds_alone_have_no_score(bench):
    run = split_run(bench, "a")
    train.train(run, [1])
    assert [unit.part for unit in units.plan([run])] == ["prepare", "fold0", "fold2", "finish"]
    assert [unit.part for unit in units.plan([run], [1, 2])] == ["prepare", "fold2"]
    train.train(run)
    assert [unit.part for unit in units.plan([run])] == ["finish"]
    with pytest.raises(ValueError, match="FOLD=7 does not exist"):
        units.plan([run], [7])


def arrays(folder: Path) -> set[str]:
    return {file.name for file in (folder / "runs" / ".cache").rglob("*.npy")}


@pytest.mark.parametrize(
    "change",
    "lr=0.3 epochs=2 batch_size=4 drop_rate=0.2 head=mlp seed=1 image_size=40 trainable=1 resize=pad".split(),
)
def test_runs_with_the_same_key_share_all_that_is_prepared_and_others_do_not(bench, monkeypatch, change):
    monkeypatch.setattr("src.data.features.saves_time", lambda **_: True)
    base = "trainable=head epochs=1 augment=none"
    first, other = split_run(bench, "a", fast(base)), split_run(bench, "b", fast(f"{base} {change}"))
    train.prepare(first)
    made = arrays(bench.folder)
    assert len(made) == 2, "decoded images, and the trunk's output"
    train.prepare(other)
    is_shared = units.features_key(first) == units.features_key(other)
    assert (arrays(bench.folder) == made) is is_shared
    assert not list(Path("runs/a").glob("fold[0-9]*")), "nothing is trained"


# ---- in which order, and what is said ----


def test_preparations_of_one_cache_take_turns_and_folds_fill_the_other_processors(bench, tmp_path):
    a, b = split_run(bench, "a"), split_run(bench, "b", fast("trainable=head epochs=1 image_size=40"))
    fake = Nodes()
    driver, _ = drive(tmp_path, units.plan([a, b]), fake)
    driver.step()
    assert fake.begun == ["a prepare"], "the other would wait for its lock"
    driver.begin()
    assert fake.begun[1:] == ["b prepare", "a fold0", "a fold1", "a fold2"]
    while driver.is_busy:
        driver.step()
    assert fake.begun[5:] == ["b fold0", "b fold1", "b fold2", "a finish", "b finish"]


def unit(name: str, *after: str) -> Unit:
    run, part = name.split()
    return Unit(Path("runs") / run, part, ("train",), after=after)


CHAIN = [
    unit("a prepare"),
    *(unit(f"{run} fold{k}", "a prepare") for run in "ab" for k in range(2)),
    unit("a finish", "a fold0", "a fold1"),
    unit("b finish", "b fold0", "b fold1"),
]


def test_a_unit_begins_when_those_before_it_have_ended(bench):
    fake = Nodes(most=2)
    driver, said = drive(bench.folder, CHAIN, fake, limit=2)
    command.run_all(driver, [])
    assert fake.begun == [each.name for each in CHAIN]
    assert said[0] == "a prepare: done after 12 s on machine n1" and len(said) == len(CHAIN)


def test_when_a_fold_fails_the_others_go_on_and_its_run_gets_no_score(bench, capsys):
    fake = Nodes({"a fold1": 2})
    driver, said = drive(bench.folder, [], fake)
    with pytest.raises(CheckFailed, match="1 of 7 units on the cluster failed"):
        command.run_all(driver, CHAIN)
    assert "a finish" not in fake.begun and "b finish" in fake.begun
    assert (
        "a fold1: FAILED after 12 s on machine n1: its last line; all of it in runs/a/cluster/fold1.log"
        in said
    )
    assert "a finish: left out, because what it needs has failed" in said
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["unit", "score", "seconds", "attempts", "node"]
    assert [line.split()[-1] for line in lines if line.startswith(("a fold1", "a finish"))] == [
        "FAILED",
        "out",
    ]


def test_a_stop_is_passed_on_and_what_waits_is_not_begun(bench):
    class Slow(Nodes):
        def wait(self, seconds: float) -> list[tuple[Unit, Outcome]]:
            if self.begun == ["a prepare"]:
                return super().wait(seconds)
            if Path(driver.job.file).read_text() == task.RUN:
                os.kill(os.getpid(), signal.SIGTERM)
                return []
            self.codes = dict.fromkeys(self.begun, STOPPED)
            return super().wait(seconds)

    fake = Slow()
    driver, said = drive(bench.folder, [], fake, limit=2)
    with pytest.raises(Stopped, match="all units on the cluster have stopped; the same command goes on"):
        command.run_all(driver, CHAIN)
    assert fake.begun == ["a prepare", "a fold0", "a fold1"]
    assert "a fold0: stopped after 12 s on machine n1: its last line" in said
    assert "b fold0: not begun" in said and driver.outcomes["b finish"].code == STOPPED


def test_news_tell_where_a_unit_is_and_the_last_whole_line_of_its_log(bench, monkeypatch):
    monkeypatch.setattr("src.extras.cluster.news.EVERY", 0)
    said, fold = [], unit("a fold0")
    fold.log.parent.mkdir(parents=True)
    fold.log.write_text("of an earlier job\n")
    news = News(fold, "job 7", said.append, lambda node: f"machine {node}")
    write_json({"job": "job 6", "attempt": 3, "node": "n3"}, fold.status)
    news.tell(0)
    assert said == []
    write_json({"job": "job 7", "attempt": 1, "node": "n1"}, fold.status)
    with fold.log.open("a") as log:
        log.write("== attempt 1\ndecoding 36 images\nfold 0  epoch 1/2  loss 0.5\nfold 0  epo")
    news.tell(0)
    write_json({"job": "job 7", "attempt": 2, "node": "n2"}, fold.status)
    news.tell(0)
    assert said == [
        "a fold0: begins on machine n1",
        "a fold0: epoch 1/2  loss 0.5",
        "a fold0: begins on machine n2, attempt 2: the one before was lost",
    ]


def test_the_table_has_the_scores_of_folds_and_runs(bench):
    run = split_run(bench, "a")
    train.train(run)
    outcomes = {name: Outcome(0, "", "n1", 61, 2) for name in ("a fold0", "a finish")}
    outcomes["a fold1"] = Outcome(LEFT_OUT, "")
    lines = table([unit("a fold0"), unit("a fold1"), unit("a finish")], outcomes, str).splitlines()
    fold, oof = (json.loads(Path(f"runs/a/{name}").read_text()) for name in ("fold0/done.json", "score.json"))
    assert lines[1].split() == ["a", "fold0", f"{fold['score']:.4f}", "61", "2", "n1"]
    assert lines[3].split()[2] == f"{oof['oof']:.4f}" and lines[2].endswith("left out")


# ---- on a node ----


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """A kit whose command says what it gets, then works until it is stopped, and the job and unit of it."""
    source = tmp_path / "kit"
    (source / "src" / "extras" / "cluster").mkdir(parents=True)
    shutil.copy(Path(task.__file__).with_name("leash.py"), source / "src" / "extras" / "cluster")
    (source / "src" / "__init__.py").touch()
    (source / "src" / "__main__.py").write_text(
        "import os, signal, sys, time\n"
        "def stop(*_):\n    print('saved', flush=True)\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print(sys.argv[1:], os.environ['OMP_NUM_THREADS'], os.getpid(), flush=True)\n"
        "time.sleep(float(sys.argv[-1]))\nsys.exit(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    job = asdict(begin_job(tmp_path / "runs" / "a"))
    job |= {"source": str(source), "code": task.code_of(source), "environment": {}}
    fields = {"name": "a fold0", "run": "runs/a", "cpus": 3, "words": ["train", "0"], "has_limit": False}
    return job, fields | {"log": "a.log", "status": "a.json", "locks": "fold0.lock"}


def test_a_command_runs_in_the_folder_with_its_threads_and_gives_its_code(kit):
    job, fields = kit
    with Path("a.log").open("a") as log:
        assert task.run_command(job, fields, log) == 3
    assert Path("a.log").read_text().startswith("['train', '0'] 3 ")
    assert task.last_line(Path("a.log"), 0) == Path("a.log").read_text().strip()


def test_a_stop_reaches_the_command_which_saves(kit, monkeypatch):
    job, fields = kit
    monkeypatch.setattr(task, "POLL", 0.05)

    def asked(job: dict) -> str:
        return task.STOP if Path("a.log").read_text() else task.RUN

    monkeypatch.setattr(task, "asked", asked)
    with Path("a.log").open("a") as log:
        assert task.run_command(job, fields | {"words": ["train", "60"]}, log) == task.STOPPED
    assert task.last_line(Path("a.log"), 0) == "saved"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_command_whose_worker_is_killed_is_asked_to_save(kit):
    job, fields = kit
    fields = fields | {"words": ["train", "60"]}
    code = "import json, sys; from src.extras.cluster import task; task.run_command(*json.loads(sys.argv[1]), open('a.log', 'a'))"
    Path("a.log").touch()
    worker = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps([job, fields])], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_until(Path("a.log").read_text)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    wait_until(lambda: "saved" in Path("a.log").read_text())
    assert task.last_line(Path("a.log"), 0) == "saved"


class Context:
    def get_node_id(self) -> str:
        return "n1"


def test_what_somebody_else_ends_is_tried_again_and_what_the_driver_ends_is_not(kit, monkeypatch):
    job, fields = kit
    monkeypatch.setattr("ray.get_runtime_context", Context)
    for code, name in ((-9, "SIGKILL"), (75, "a signal")):
        monkeypatch.setattr(task, "run_command", lambda *_: code)  # noqa: B023
        with pytest.raises(ChildProcessError, match=f"a fold0 was ended by {name}"):
            task.work(job, fields)
    outcome = task.work(job, fields | {"has_limit": True})
    assert (outcome["code"], outcome["node"], outcome["attempt"]) == (75, "n1", 3)
    monkeypatch.setattr(task, "asked", lambda job: task.STOP)
    assert task.work(job, fields) == {"code": 75, "line": "not begun"}
    assert Path("a.log").read_text().count("== attempt") == 3


def test_a_fold_that_an_earlier_attempt_has_not_let_go_is_waited_for(kit, monkeypatch):
    job, fields = kit
    code = "import sys; from pathlib import Path; from src.run import locks\nwith locks.lock(Path('runs/a/fold0.lock')): print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other.stdout.readline()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            other.communicate("\n")

    monkeypatch.setattr(task.time, "sleep", pause)
    log = io.StringIO()
    task.wait_for_locks(job, fields, log)
    assert len(pauses) == 2
    assert log.getvalue().count("\n") == 1 and f"waiting for process {other.pid} on" in log.getvalue()
    with locks.lock(Path("runs/a/fold0.lock")) as holder:
        assert not holder, "it is left to the command"


def test_a_node_that_is_not_like_the_drivers_machine_says_in_what(kit, tmp_path):
    job, _ = kit
    assert task.difference(job) == ""
    assert "must have the same path on all nodes" in task.difference(job | {"source": "/no/kit"})
    assert "must have the same path on all nodes" in task.difference(job | {"python": "/no/python"})
    assert "is another folder there than here" in task.difference(job | {"file": str(tmp_path / "no.job")})
    (tmp_path / "kit" / "src" / "edited.py").write_text("1")
    assert "has other code there than here, which is at commit" in task.difference(job)
    assert task.difference(job | {"folder": job["source"]}) == "", (
        "one folder has one code, if edited meanwhile"
    )


# ---- for a sweep ----


def test_requests_in_json_are_prepared_once_and_answered(bench, capsys):
    for name, settings in (("a", TINY), ("b", fast("trainable=head epochs=1 lr=0.5"))):
        split_run(bench, name, settings)
    fake = Nodes({"b fold0": 2})
    driver, _ = drive(bench.folder, [], fake)
    server = serve.Server(driver, lambda: 4)
    capsys.readouterr()
    requests = [{"run": "runs/a", "fold": 0}, {"run": "runs/b", "fold": 0}, {"run": "runs/a", "fold": None}]
    for request in requests:
        server.take(request)
        while driver.is_busy:
            server.step()
    assert fake.begun == ["a prepare", "a fold0", "b fold0", "a train"]
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers == [
        request | {"code": code, "line": "its last line", "slots": 4}
        for request, code in zip(requests, (0, 2, 0))
    ]


def test_the_end_of_stdin_stops_the_server(bench, monkeypatch, capsys):
    split_run(bench, "a")
    fake = Nodes()
    driver, _ = drive(bench.folder, [], fake)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"run": "runs/a", "fold": 0}\n'))
    capsys.readouterr()
    serve.serve(driver, lambda: 2)
    assert driver.asked == "the end of stdin" and Path(driver.job.file).exists()
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"slots": 2}


# ---- processors, and what is missing ----


def test_a_task_gets_a_few_processors_or_a_gpus_share_of_its_node():
    small, large, gpu = {"CPU": 2.0}, {"CPU": 64.0}, {"CPU": 32.0, "GPU": 4.0}
    assert nodes.processors([large], 0) == nodes.FEW and nodes.processors([small, large], 0) == 2
    assert nodes.processors([large, gpu], 0) == 8 and nodes.processors([small, large], 16) == 16
    assert nodes.slots([small, large], 2) == 33 and nodes.slots([gpu, gpu], 8) == 8
    assert nodes.slots([small, gpu], 8) == 4, "where there are GPUs, units run on these alone"
    with pytest.raises(ValueError, match="CPUS=65: the largest node of the cluster has 64 processors"):
        nodes.processors([small, large], 65)


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match="pip install -r requirements-cluster.txt"):
            importlib.reload(src.extras.cluster)
    importlib.reload(src.extras.cluster)


def test_ray_reports_nothing_to_its_makers():
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
