"""The Makefile with the real src.config and src.run.files, and stand-ins for the other stages that write
their product and note the call.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = """
from src.config import Config

def demo():
    return Config(epochs=2)

def baseline():
    return Config(epochs=3)

EXPERIMENTS = {"demo": demo, "baseline": baseline}
"""
# the light commands are the real ones; every other writes its product and notes the call
PYTHON = f"""#!/bin/sh
case "$2 $3" in
  "src.run.variables "*|"src data"|"src configure"|"src retire"|"src idle") exec {sys.executable} "$@";;
esac
shift 2
echo "$*" >> calls.txt
for word; do case "$word" in runs/*) run=$word;; esac; done
case "$*" in
  "submit runs"*) mkdir -p submissions; echo > "submissions/${{run#runs/}}.csv";;
  split*) echo id,fold > "$run/folds.csv";;
  cluster*--fold*) ;;
  cluster*) for word; do case "$word" in runs/*) echo > "$word/test.json";; esac; done;;
  *--fold*submit*|*submit*--fold*) mkdir -p submissions; echo > "submissions/${{run#runs/}}.fold${{*##*--fold }}.csv";;
  *--fold*) ;;
  *train*) echo "{{}}" > "$run/score.json"; echo > "$run/test.json";;
  *predict*) echo > "$run/test.json";;
esac
"""
# in place of a network and of archives: they note the call, too
FETCH = """


def note(*words):
    with open("calls.txt", "a") as calls:
        print(*words, file=calls)


def fetch_demo(folder, wheel=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").write_text("id,label")
    note("fetch", folder)


def unpack(archive, folder):
    folder.mkdir()
    note("unpack", archive, folder)


def unpack_all(folder):
    packed = [archive for archive in folder.glob("*.zip") if not archive.with_suffix("").exists()]
    if packed:
        note("unpack all", folder)
"""


class Kit:
    """A copy of the kit's frame in a folder of its own."""

    def __init__(self, root: Path):
        self.root = root
        for name in ("Makefile", "constraints.txt", *(path.name for path in ROOT.glob("requirements*.txt"))):
            shutil.copy(ROOT / name, root)
        self.write("src/competitions.py", "")
        self.write("src/experiments.py", EXPERIMENTS)
        for name, text in {
            "data/folds": "SCHEMES = {}",
            "data/augment": "VIEWS = {}",
            "competition/decoders": "DECODERS = {}",
        }.items():
            self.write(f"src/{name}.py", text)
        for name in ("__init__", "__main__", "config", "rates"):
            shutil.copy(ROOT / f"src/{name}.py", root / "src")
        shutil.copytree(ROOT / "src/run", root / "src/run")
        self.write("src/model/weights.py", (ROOT / "src/model/weights.py").read_text())
        self.write("src/fetch.py", (ROOT / "src/fetch.py").read_text() + FETCH)
        self.write("python", PYTHON)
        (root / "python").chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def make(
        self, *words: str, env: dict[str, str] | None = None, py: str = "PY=./python"
    ) -> subprocess.CompletedProcess:
        """The finished process; its stdout holds stderr too."""
        # `make test` has exported its own
        clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = ["make", *words, *([py] if py else [])]
        return subprocess.run(
            command,
            cwd=self.root,
            env=clean | (env or {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1200,
        )

    def calls(self, *words: str, **how) -> list[str]:
        """The stages that this make calls, which must go well."""
        (self.root / "calls.txt").unlink(missing_ok=True)
        done = self.make(*words, **how)
        assert done.returncode == 0, done.stdout
        return (
            (self.root / "calls.txt").read_text().splitlines() if (self.root / "calls.txt").exists() else []
        )

    def files(self) -> dict[str, int]:
        """Times of all files, but for what Python caches."""
        files = [
            path
            for path in self.root.rglob("*")
            if path.is_file() and path.suffix != ".pyc" and path.name not in ("calls.txt", ".started")
        ]
        return {path.relative_to(self.root).as_posix(): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def stages(run: str, *, checks: str = "", options: str = "", goal: str = "submit") -> list[str]:
    """The calls from the split to the goal."""
    calls = [f"split runs/{run}", f"weights {checks}train predict runs/{run}{options}", f"submit runs/{run}"]
    return calls if goal == "submit" else calls[:2]


def test_submit_starts_from_nothing_and_then_has_nothing_to_do(kit):
    assert kit.calls("submit") == ["fetch inputs/demo", *stages("demo-demo")]
    before = kit.files()
    done = kit.make("submit")
    assert done.stdout == "nothing to do: submissions/demo-demo.csv is up to date\n"
    assert kit.files() == before


def predicted(run: str) -> list[str]:
    return [f"train predict runs/{run}", f"submit runs/{run}"]


@pytest.mark.parametrize(
    "change, calls",
    [
        ("folds=3", stages("demo-demo")),
        ("lr=0.1", stages("demo-demo")[1:]),
        ('decode="other"', ["submit runs/demo-demo"]),
    ],
)
def test_a_changed_setting_of_an_experiment_reruns_what_depends_on_it(kit, change, calls):
    kit.calls("submit")
    kit.write("src/experiments.py", EXPERIMENTS.replace("epochs=2", f"epochs=2, {change}"))
    assert kit.calls("submit") == calls
    assert kit.calls("submit") == []


def test_changed_views_predict_again_without_the_checks(kit):
    kit.calls("submit")
    kit.write("src/experiments.py", EXPERIMENTS.replace("epochs=2", 'epochs=2, tta=("hflip",)'))
    assert kit.calls("submit") == predicted("demo-demo")
    assert kit.calls("submit") == []


def test_a_score_survives_a_stop_during_the_predictions(kit):
    """make removes the target of a rule that a signal ends; but the stages write whole files, and the
    training is done.
    """
    kit.write("inputs/demo/train.csv", "id,label\n")
    kit.write("python", PYTHON.replace('echo > "$run/test.json"', "touch scored; exec sleep 60"))
    process = subprocess.Popen(
        ["make", "submit", "PY=./python"],
        cwd=kit.root,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # tests in the background inherit that it is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (kit.root / "scored").exists():
        assert process.poll() is None and not time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=1200) != 0
    assert (kit.root / "runs/demo-demo/score.json").exists()
    kit.write("python", PYTHON)
    assert kit.calls("submit") == stages("demo-demo")[1:], "a training that finds every fold finished"


def test_a_new_test_image_is_predicted_without_the_checks(kit):
    image = kit.write("inputs/demo/test/1.png", "")
    kit.calls("submit")
    kit.write("inputs/demo/test/2.png", "")
    os.utime(image.parent, ns=(0, 1))  # as a slower clock would see it
    assert kit.calls("submit") == predicted("demo-demo")


def test_a_changed_table_or_competition_splits_again(kit):
    kit.calls("submit")
    kit.write("inputs/demo/train.csv", "id,label\n1,2\n")
    assert kit.calls("split") == stages("demo-demo")[:1]
    kit.write("src/competitions.py", "def other():\n    return 1\n\nCOMPETITIONS = {'other': other}\n")
    assert kit.calls("split") == []
    kit.write("src/competitions.py", "def demo():\n    return 1\n\nCOMPETITIONS = {'demo': demo}\n")
    assert kit.calls("split") == stages("demo-demo")[:1]


def test_set_makes_a_second_run_with_a_readable_name_and_leaves_the_first_untouched(kit):
    kit.calls("submit")
    before = kit.files()
    assert kit.calls("submit", "SET=lr=1e-3 trainable=blocks.5,blocks.6") == stages(
        "demo-demo-lr=1e-3-trainable=blocks.5,blocks.6"
    )
    after = kit.files()
    assert {name: after[name] for name in before} == before
    assert kit.calls("submit", "SET= lr=1e-3  trainable=blocks.5,blocks.6 ") == []
    assert kit.calls("submit", env={"SET": "lr=1e-3 trainable=blocks.5,blocks.6"}) == []


def test_set_that_can_not_be_a_file_name_or_would_be_a_long_one_is_named_by_a_checksum(kit):
    for text in (
        "trainable=blocks.*",
        "backbone=hf_hub:timm/resnet18",
        "epochs=1 folds=2 seed=3 lr=1 ema=0.5 views=2 mixup=1 cutmix=1 patience=2",
    ):
        assert kit.calls("split", f"SET={text}")[-1].removeprefix("split runs/demo-demo-").isdigit()
    assert len(list(kit.root.glob("runs/*"))) == 3


HOSTILE = [
    "lr=1e-3$(touch x)",
    "lr=1e-3$$(touch x)",
    "lr=1;touch x",
    "lr=1`touch x`",
    "lr=1 $(shell touch x)",
    "$(shell touch x)",
    "${shell touch x}",
    "lr='1'; touch x; '",
    "lr=1\ntouch x",
    "lr=1\n\ttouch x",
    "a:b",
    "lr=1:x",
    'lr="1"',
    "lr=1#2",
    "lr=1\\",
    "lr=1%",
    "lr=1 | touch x",
    "lr=1 && touch x",
    ")",
    "($(error x)",
    "lr=1 ../x",
    "~",
    "$",
    "$(eval $(shell touch x))",
    "$(RUN)",
    "lr=1,$(call quoted,x)",
    "'",
    '"',
    "é=ü",
    "lr=..",
    "'$$(touch x)'",
    "lr=1\t;\ttouch x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_set_is_neither_run_nor_expanded(kit, text):
    kit.write("inputs/demo/train.csv", "id,label\n")
    before = kit.files()
    for way in ({"env": {"SET": text}}, {}) if "touch" in text else ({},):
        done = kit.make("submit", *([] if way else [f"SET={text}"]), **way)
        assert "error: SET: " in done.stdout and done.returncode == 2, done.stdout
        assert text.split()[-1] in done.stdout, "what was given comes back as it was given"
        assert kit.files() == before


def test_hostile_values_that_are_valid_settings_arrive_as_they_are(kit):
    text = "weights=$(touch$IFS.x)`touch$IFS.x`';touch$IFS.x;' init_from=$(RUN)${HOME}%\\"
    kit.calls("split", f"SET={text}")
    kit.calls("split", env={"SET": text})
    saved = list(kit.root.glob("runs/*/config.json"))
    assert (
        len(saved) == 1
        and '"set": "weights=$(touch$IFS.x)`touch$IFS.x`\';touch$IFS.x;\' init_from=$(RUN)${HOME}%\\\\"'
        in saved[0].read_text()
    )
    assert not list(kit.root.rglob(".x"))


@pytest.mark.parametrize("variable", ["COMP", "EXP", "RUN", "NAME"])
@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "../a",
        "a/b",
        "a..b",
        ".a",
        "-a",
        "a;touch x",
        "$(touch x)",
        "$(shell touch x)",
        "a'b",
        "a:b",
        "*",
        "ä",
        "a$b",
        "",
    ],
)
def test_a_value_that_can_not_be_a_name_is_refused_before_anything_is_written(kit, variable, value):
    before = kit.files()
    done = kit.make("submit", f"{variable}={value}")
    assert (
        done.returncode == 2 and f"{variable}={value}" in done.stdout and "can't be a name" in done.stdout
    ), done.stdout
    assert kit.files() == before


@pytest.mark.parametrize(
    "words, message",
    [
        (["comp=my-competition"], "there is no variable comp; did you mean COMP=my-competition?"),
        (["COMPETITION=x"], "there is no variable COMPETITION; did you mean COMP=x?"),
        (["experiment=head"], "there is no variable experiment; did you mean EXP=head?"),
        (
            ["SET=epochs=3", "lr=1e-3"],
            'lr is a setting: put all settings between quotes, SET="epochs=3 lr=1e-3"',
        ),
        (
            ["epochs=3", "learning_rate=1"],
            (
                'epochs, learning_rate are settings: put all settings between quotes, SET="epochs=3'
                ' learning_rate=1"'
            ),
        ),
        (
            ["MACHINE=wandb=off", "workers=0"],
            'workers is a setting: put all settings between quotes, MACHINE="wandb=off workers=0"',
        ),
        (["fold=0"], "there is no variable fold; did you mean FOLD=0?"),
        (["zzzz=$(touch x)`touch x`'; touch x; '"], "there is no variable zzzz; choose from COMP, EXP, SET,"),
        (["lr=1\n\ttouch x", "q'u;touch=1"], "there is no variable q'u;touch"),
    ],
)
@pytest.mark.parametrize("target", ["submit", "compare", "clean"])
def test_a_variable_that_nobody_reads_is_refused_with_what_was_meant(kit, words, message, target):
    kit.write("runs/kept/score.json", "{}")
    before = kit.files()
    done = kit.make(target, *words)
    assert done.returncode == 2 and message in done.stdout and len(done.stdout.splitlines()) == 1, done.stdout
    assert kit.files() == before


def test_without_a_python_one_line_says_so_and_unknown_variables_are_a_calling_makes_own_business(kit):
    done = kit.make("submit", "comp=x", "PYTHON=./none")
    assert done.returncode == 2 and "./none does not run here; give one that does: PYTHON=" in done.stdout
    kit.write("outer.mk", "all:\n\t$(MAKE) help\n")
    assert kit.make("-f", "outer.mk", "OTHER=1").returncode == 0


def test_a_report_follows_a_submission_and_can_neither_stop_nor_spoil_it(kit):
    kit.write("src/extras/report/command.py", "")
    run = "runs/demo-demo"
    assert kit.calls("submit")[-2:] == [f"submit {run}", f"report {run} --if-quick"]
    assert kit.calls("submit") == [], "nothing to do: no report either"
    assert kit.calls("submit", "FORCE=1", "REPORT=0")[-1] == f"submit {run}"
    assert kit.calls("submit", "FORCE=1", "REPORT=1")[-1] == f"report {run}"
    assert "must be 0 for no report" in kit.make("submit", "REPORT=no").stdout
    kit.write("python", PYTHON.replace('case "$*" in\n', 'case "$*" in\n  report*) exit 2;;\n', 1))
    assert kit.calls("submit", "FORCE=1")[-1] == f"report {run} --if-quick"


@pytest.mark.parametrize(
    "variable",
    [
        "FOLD",
        "GPUS",
        "TORCHRUN",
        "RUNS",
        "EXPS",
        "NAME",
        "ONLY",
        "A",
        "B",
        "BACKBONES",
        "CUT",
        "CHECKS",
        "FORCE",
        "FROM",
        "MSG",
        "LAST",
        "PUBLIC",
        "REPORT",
    ],
)
def test_what_someones_shell_exports_for_itself_changes_nothing(kit, variable):
    """NAME is the host's name on some systems, B or CUT anyone's."""
    assert kit.calls("submit", env={variable: "a b/../$(touch x)"}) == [
        "fetch inputs/demo",
        *stages("demo-demo"),
    ]
    assert kit.calls("submit", env={variable: "1"}) == []
    kit.write("src/extras/compare.py", ""), kit.write("src/extras/ensemble.py", "")
    assert "needs" in kit.make("compare", env={"A": "a", "B": "b"}).stdout
    assert "needs" in kit.make("ensemble", env={"NAME": "a", "RUNS": "b c"}).stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["COMP=inputs/x"], "write COMP=x INPUTS=inputs"),
        (["COMP=/data/kaggle/x/"], "write COMP=x INPUTS=/data/kaggle"),
        (["RUN=runs/x"], "write RUN=x"),
        (["A=runs/x", "B=y"], "write A=x"),
    ],
)
def test_a_path_in_the_place_of_a_name_gets_the_line_to_type(kit, words, message):
    before = kit.files()
    done = kit.make("submit", *words)
    assert done.returncode == 2 and message in done.stdout and kit.files() == before


ODD_FOLDERS = [
    "my data",
    "a:b",
    "a;touch x",
    "$(touch x)",
    "it's",
    'say "x"',
    "a#b",
    "a%b",
    "a&touch x",
    "`touch x`",
    "ä",
]


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_inputs_may_be_any_folder(kit, folder):
    before = {path.name for path in kit.root.iterdir()}
    assert kit.calls("submit", f"INPUTS={folder}") == [f"fetch {folder}/demo", *stages("demo-demo")]
    assert kit.calls("submit", f"INPUTS={folder}") == []
    kit.write(f"{folder}/mine.zip", "")
    assert kit.calls("data", "COMP=mine", env={"INPUTS": folder}) == [
        f"unpack {folder}/mine.zip {folder}/mine"
    ]
    kit.write(f"{folder}/mine/train.zip", "")
    assert kit.calls("split", "COMP=mine", env={"INPUTS": folder}) == [
        f"unpack all {folder}/mine",
        "split runs/mine-baseline",
    ]
    kit.write(f"{folder}/mine/train/1.jpg", "")
    assert kit.make("data", "COMP=mine", f"INPUTS={folder}").stdout == f"{folder}/mine is there\n"
    assert {path.name for path in kit.root.iterdir()} - before <= {folder, "runs", "submissions", "calls.txt"}


def test_a_name_too_long_for_the_files_of_a_run_is_refused_before_anything_is_written(kit):
    kit.write("inputs/demo/train.csv", "id,label\n")
    before = kit.files()
    for words in (["RUN=" + "r" * 121], ["COMP=" + "c" * 121], ["NAME=" + "n" * 246], ["RUNS=" + "n" * 246]):
        done = kit.make("submit", *words)
        assert done.returncode == 2 and "too long" in done.stdout and kit.files() == before
    kit.write(f"inputs/{'c' * 119}/train.csv", "id,label\n")
    done = kit.make("submit", "COMP=" + "c" * 119)
    assert (
        done.returncode == 2
        and "RUN=name gives a shorter one" in done.stdout
        and not (kit.root / "runs").exists()
    )
    assert kit.calls("split", "RUN=" + "r" * 120) == ["split runs/" + "r" * 120]


def test_a_long_list_in_set_is_named_by_a_checksum(kit):
    kit.write("inputs/demo/train.csv", "id,label\n")
    names = ",".join(f"blocks.{number}.conv_pw" for number in range(20))
    assert kit.calls("split", f"SET=trainable={names}")[-1].removeprefix("split runs/demo-demo-").isdigit()


def test_a_wrong_setting_or_experiment_stops_with_the_nearest_name_and_writes_nothing(kit):
    kit.write("inputs/demo/train.csv", "id,label\n")
    done = kit.make("train", "SET=lrr=1", "EXP=basline", "MACHINE=worker=1")
    assert done.returncode == 2
    for words in (
        "lrr=1: there is no setting lrr; did you mean lr?",
        "did you mean baseline?",
        "did you mean workers?",
    ):
        assert words in done.stdout
    assert not (kit.root / "runs").exists()


def test_one_fold_alone_has_no_score_and_is_not_taken_for_the_whole_later(kit):
    kit.write("inputs/demo/train.csv", "id,label\n")
    one = ["weights train predict submit runs/demo-demo --fold 0"]
    assert kit.calls("train", "FOLD=0") == ["split runs/demo-demo", "weights train runs/demo-demo --fold 0"]
    assert not (kit.root / "runs/demo-demo/score.json").exists()
    assert kit.calls("submit", "FOLD=0") == one
    assert not (kit.root / "submissions/demo-demo.csv").exists()
    assert kit.calls("submit") == stages("demo-demo")[1:]
    before = kit.files()
    assert kit.calls("submit", "FOLD=0") == one
    assert {name for name, time in kit.files().items() if before.get(name) != time} == {
        "submissions/demo-demo.fold0.csv"
    }
    assert kit.calls("submit") == []
    assert kit.make("train", "FOLD=x").returncode == 2


def test_smoke_goes_through_to_a_csv_under_a_name_of_its_own(kit):
    kit.write("inputs/mine/train.csv", "id,label\n")
    assert kit.calls("smoke", "COMP=mine", "SET=lr=1 epochs=7") == stages("mine-smoke")
    assert (
        '"set": "limit=200 folds=2 epochs=1 lr=1"' in (kit.root / "runs/mine-smoke/config.json").read_text()
    )


def test_a_run_called_by_its_name_remembers_the_rest(kit):
    kit.write("inputs/deep/er/mine/train.csv", "id,label\n")
    assert kit.calls("split", "COMP=mine", "EXP=demo", "SET=lr=1", "RUN=best") == ["split runs/best"]
    saved = (kit.root / "runs/best/config.json").read_text()
    assert '"inputs": "inputs/deep/er"' in saved
    assert kit.calls("split", "RUN=best") == []
    assert (kit.root / "runs/best/config.json").read_text() == saved
    assert kit.calls("train", "RUN=best", "SET=lr=2") == ["weights train predict runs/best"]
    assert "belongs to COMP=mine, not demo" in kit.make("split", "RUN=best", "COMP=demo").stdout


def test_an_ensembles_folder_is_left_alone(kit):
    kit.write("inputs/demo/train.csv", "id,label\n")
    kit.write("runs/both/config.json", '{"comp": "demo", "ensemble": ["a", "b"]}')
    before = kit.files()
    done = kit.make("submit", "RUN=both")
    assert done.returncode == 2 and "is an ensemble" in done.stdout
    assert kit.files() == before


def test_edited_code_is_named_and_only_retrain_acts_on_it(kit):
    kit.calls("submit")
    kit.write("src/training/losses.py", "old")
    kit.write("runs/demo-demo/fold0/done.json", '{"recipe": "abc", "code": {"src/training/losses.py": "0"}}')
    done = kit.make("submit")
    assert done.stdout.splitlines() == [
        (
            "code changed since this run was trained: src/training/losses.py; nothing is re-run: make retrain"
            " acts on it"
        ),
        "nothing to do: submissions/demo-demo.csv is up to date",
    ]
    assert kit.calls("retrain") == ["weights train predict runs/demo-demo"]
    assert (kit.root / "runs/demo-demo/old/abc/fold0/done.json").exists()


def test_archives_beside_the_files_are_unpacked_first_and_once(kit):
    kit.write("inputs/mine/train.csv", "id,label")
    kit.write("inputs/mine/train.zip", "")
    kit.write("inputs/mine/test.zip", "")
    assert kit.calls("split", "COMP=mine") == ["unpack all inputs/mine", "split runs/mine-baseline"]
    kit.write("inputs/mine/train/1.jpg", "")
    kit.write("inputs/mine/test/2.jpg", "")
    # new images, and nothing to unpack
    assert kit.calls("split", "COMP=mine") == ["split runs/mine-baseline"]
    assert kit.calls("split", "COMP=mine") == []


def test_force_calls_each_stage_again(kit):
    kit.calls("submit")
    assert kit.calls("submit", "FORCE=1") == ["split runs/demo-demo --force", *stages("demo-demo")[1:]]


def test_extras_are_targets_and_quick_checks_where_they_exist(kit):
    kit.calls("split")
    assert "No rule to make target" in kit.make("doctor").stdout and "make doctor" not in kit.make().stdout
    kit.write("src/extras/doctor/command.py", "")
    assert kit.calls("doctor")[-1] == "weights doctor runs/demo-demo" and "make doctor" in kit.make().stdout
    checked = stages("demo-demo", checks="doctor ", options=" --quick --quiet")
    split = "split runs/demo-demo --force"
    assert kit.calls("train", "FORCE=1") == [split, checked[1]]
    assert kit.calls("train", "FORCE=1", "CHECKS=0") == [split, stages("demo-demo")[1]]
    skipping = stages("demo-demo", checks="doctor ", options=" --quick --quiet --skip=-labels,first loss")
    assert kit.calls("train", "FORCE=1", "CHECKS=-labels,first loss") == [split, skipping[1]]
    assert "CHECKS=labels must be 0" in kit.make("train", "CHECKS=labels").stdout
    kit.write("src/extras/audit/command.py", "")
    audited = "audit runs/demo-demo --quick --quiet"
    assert kit.calls("submit", "FORCE=1") == [split, audited, *checked[1:]]


def test_one_process_trains_and_predicts_and_submit_needs_no_torch(kit):
    assert kit.calls("train")[-1] == "weights train predict runs/demo-demo"
    assert kit.calls("submit") == ["submit runs/demo-demo"]
    assert kit.calls("submissions/other.csv", "RUN=other") == stages("other")
    assert kit.calls("train", "GPUS=2", "SET=lr=2")[-1].endswith("train predict runs/demo-demo-lr=2 --gpus 2")
    words = "--nnodes 2 --rdzv-endpoint host:29500"
    assert kit.calls("train", "GPUS=2", "FOLD=0", f"TORCHRUN={words}")[-1].endswith(
        f"runs/demo-demo --gpus 2 --torchrun={words} --fold 0"
    )


def test_help_is_the_default_and_one_screen(kit):
    kit.write("src/extras/layers.py", "")
    shown = kit.make().stdout
    assert shown == kit.make("help").stdout
    for target in (
        "setup",
        "data",
        "split",
        "train",
        "submit",
        "smoke",
        "layers",
        "retrain",
        "test",
        "lint",
        "clean",
    ):
        assert f"make {target} " in shown
    assert len(shown.splitlines()) <= 30 and max(map(len, shown.splitlines())) <= 140


def test_setup_comes_first_once_and_again_when_the_requirements_change(kit):
    asked = kit.make("submit", "-n", py="").stdout
    assert asked.index("-m venv .venv") < asked.index(".venv/bin/python -m src data")
    kit.write(".venv/bin/python", "")
    kit.write(".venv/.stamp", "")
    assert "setup" not in kit.make("submit", "-n", py="").stdout
    assert "setup: .venv/bin/python is ready" in kit.make("setup", py="").stdout
    os.utime(kit.root / ".venv/.stamp", (0, 0))
    assert "setup 3/3" in kit.make("setup", "-n", py="").stdout


def test_setup_on_a_full_disk_says_how_much_is_free_and_how_to_go_on(kit):
    """Seen: a disk with 2 GB free, and of pip's many lines the last but one told it."""
    kit.write("pip", "#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'; exit 1\n")
    venv = "mkdir -p $3/bin && cp pip $3/bin/python && chmod +x $3/bin/python"
    kit.write("short", f'#!/bin/sh\nif [ "$2" = venv ]; then {venv}; else exec {sys.executable} "$@"; fi\n')
    (kit.root / "short").chmod(0o755)
    done = kit.make("setup", "PYTHON=./short", py="")
    assert done.returncode == 2 and not (kit.root / ".venv/.stamp").exists()
    assert "No space left on device" in done.stdout and "Use%" in done.stdout
    assert "setup stopped, see above. Where a disk is full: free some space" in done.stdout


@pytest.mark.parametrize("hosted", [{"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {"COLAB_RELEASE_TAG": "r1"}])
def test_where_torch_is_already_present_it_is_not_replaced(kit, hosted):
    asked = kit.make("submit", "-n", py="", env=hosted).stdout
    assert (
        "python3 -m pip install --quiet --disable-pip-version-check -r requirements-kaggle.txt" in asked
        and "python3 -m src weights train predict" in asked
    )
    assert "venv" not in asked and "constraints" not in asked
    names = [
        {
            line.split()[0]
            for line in (kit.root / f"requirements{which}.txt").read_text().splitlines()
            if line[0] != "#"
        }
        for which in ("", "-kaggle")
    ]
    assert {name.split(">")[0] for name in names[0] - names[1]} == {"torch", "torchvision"}
    assert names[1] < names[0]


@pytest.mark.parametrize("hosted", [{}, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}])
def test_a_python_that_is_too_old_is_told_before_anything_is_installed(kit, hosted):
    kit.write("old", f'#!/bin/sh\n[ "$1" = -c ] && exit 1\nexec {sys.executable} "$@"\n').chmod(0o755)
    done = kit.make("setup", "PYTHON=./old", py="", env=hosted)
    assert done.returncode == 2 and "pip" not in done.stdout
    assert "setup needs Python 3.11 or newer, ./old is older: make setup PYTHON=python3.12" in done.stdout


@pytest.mark.parametrize("words", [(), ("RUN=demo-demo",)])
def test_clean_removes_nothing_while_a_run_is_being_trained(kit, words):
    kit.calls("split")
    lock = kit.root / "runs/demo-demo/fold0.lock"
    code = (
        f"from pathlib import Path; from src.run import locks; lock = locks.lock(Path({str(lock)!r}));"
        " lock.__enter__(); print(); input()"
    )
    training = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    training.stdout.readline()
    done = kit.make("clean", *words)
    assert (
        done.returncode == 2
        and f"error: runs/demo-demo is being trained by process {training.pid} on " in done.stdout
    ), done.stdout
    assert (kit.root / "runs/demo-demo/folds.csv").exists()
    training.kill()
    training.communicate()
    assert (
        lock.exists()
        and kit.make("clean", *words).returncode == 0
        and not (kit.root / "runs/demo-demo").exists()
    )


@pytest.mark.parametrize("name", ["runs", "runs/demo-demo"])
def test_a_file_where_a_folder_should_be_is_named_in_one_line(kit, name):
    kit.write("inputs/demo/train.csv", "id,label\n")
    kit.write(name, "I am a file")
    done = kit.make("submit")
    assert (
        done.returncode == 2
        and done.stdout.splitlines()[0]
        == f"error: {name} is a file, and a folder must be there: move it away"
    )


def test_a_retrain_that_is_killed_is_not_taken_for_finished(kit):
    kit.calls("submit")
    kit.write("runs/demo-demo/fold0/done.json", '{"recipe": "abc", "code": {"src/gone.py": "0"}}')
    kit.write("python", PYTHON.replace("shift 2", "exit 1"))
    assert kit.make("retrain").returncode == 2
    kit.write("python", PYTHON)
    assert kit.calls("submit") == stages("demo-demo")[1:]


def test_clean_removes_runs_and_keeps_submissions_and_inputs(kit):
    kit.calls("submit")
    kit.calls("submit", "RUN=other")
    kit.make("clean", "RUN=other")
    assert (kit.root / "runs/demo-demo").exists() and not (kit.root / "runs/other").exists()
    kit.make("clean")
    assert (
        not (kit.root / "runs").exists()
        and (kit.root / "submissions/other.csv").exists()
        and (kit.root / "inputs/demo").exists()
    )


@pytest.mark.parametrize(
    "line",
    [
        ".ONESHELL:",
        "a b &: c",
        "X != date",
        "$(file >x)",
        ".RECIPEPREFIX = >",
        "undefine X",
        "X ::= 1",
        "define X =",
    ],
)
def test_lint_finds_what_make_3_81_lacks(kit, line):
    assert kit.make("lint", py="PY=true").returncode == 0
    (kit.root / "Makefile").write_text((kit.root / "Makefile").read_text() + f"ifeq (a,b)\n{line}\nendif\n")
    assert kit.make("lint", py="PY=true").returncode == 2


def test_what_advise_is_given_is_checked_and_passed_on(kit):
    kit.write("inputs/mine/train.csv", "id,label")
    kit.write("src/extras/advise.py", "")
    advised = kit.calls("advise", "COMP=mine", "BACKBONES=gem:tf_efficientnet_lite1 resnet18")
    assert advised[-1] == "weights advise runs/mine-baseline --backbones gem:tf_efficientnet_lite1 resnet18"
    assert "can't be a name" in kit.make("advise", "COMP=mine", "BACKBONES=gem:;ls").stdout


def test_a_cluster_trains_in_the_place_of_this_process_after_the_checks(kit):
    split, _, submit = stages("demo-demo")
    clustered = ["weights runs/demo-demo", "cluster runs/demo-demo --on local"]
    assert kit.calls("submit", "CLUSTER=local") == ["fetch inputs/demo", split, *clustered, submit]
    assert kit.calls("submit", "CLUSTER=local") == []
    kit.write("src/extras/doctor/command.py", ""), kit.write("src/extras/audit/command.py", "")
    assert kit.calls("train", "RUN=b", "CLUSTER=h1:6379", "CPUS=2", "LIMIT=5")[-3:] == [
        "audit runs/b --quick --quiet",
        "weights doctor runs/b --quick --quiet",
        "cluster runs/b --on h1:6379 --cpus 2 --limit 5",
    ]
    one = "cluster runs/c --on auto --fold 0,1"
    assert kit.calls("train", "RUN=c", "CLUSTER=auto", "FOLD=0,1", "CHECKS=0")[-1] == one
    assert kit.calls("submit", "RUN=c", "CLUSTER=auto", "FOLD=0", "CHECKS=0")[-2:] == [
        "cluster runs/c --on auto --fold 0",
        "predict submit runs/c --fold 0",
    ]
    kit.write("src/extras/sweep/command.py", "")
    swept = "weights sweep runs/demo-demo --trials 9 --on auto --limit 2"
    assert kit.calls("sweep", "TRIALS=9", "CLUSTER=auto", "LIMIT=2") == [swept]


def test_an_ensemble_makes_its_members_first(kit):
    kit.write("src/extras/ensemble/command.py", "")
    made = kit.calls("ensemble", "EXPS=baseline demo", "NAME=two", "SET=lr=2", "CHECKS=0", "GPUS=2")
    assert made == [
        *("fetch inputs/demo", "split runs/demo-baseline-lr=2"),
        "weights train predict runs/demo-baseline-lr=2 --gpus 2",
        *("submit runs/demo-baseline-lr=2", "split runs/demo-demo-lr=2"),
        "weights train predict runs/demo-demo-lr=2 --gpus 2",
        *("submit runs/demo-demo-lr=2", "ensemble runs/two demo-baseline-lr=2 demo-demo-lr=2"),
        "submit runs/two",
    ]
    again = kit.calls("ensemble", "EXPS=baseline demo", "RUNS=other", "NAME=two", "SET=lr=2", "GPUS=2")
    assert again == ["ensemble runs/two other demo-baseline-lr=2 demo-demo-lr=2", "submit runs/two"]


def test_the_members_of_an_ensemble_train_side_by_side_on_a_cluster(kit):
    kit.write("src/extras/ensemble/command.py", "")
    words = ("ensemble", "EXPS=baseline demo", "NAME=two", "CLUSTER=local", "CPUS=1", "CHECKS=0")
    assert kit.calls(*words) == [
        *("fetch inputs/demo", "split runs/demo-baseline", "weights runs/demo-baseline"),
        *("split runs/demo-demo", "weights runs/demo-demo"),
        "cluster runs/demo-baseline runs/demo-demo --on local --cpus 1",
        *("submit runs/demo-baseline", "submit runs/demo-demo"),
        *("ensemble runs/two demo-baseline demo-demo", "submit runs/two"),
    ]
    assert kit.calls(*words)[-2:] == ["ensemble runs/two demo-baseline demo-demo", "submit runs/two"]


def test_an_ensemble_with_a_wrong_member_trains_none(kit):
    kit.write("src/extras/ensemble/command.py", "")
    done = kit.make("ensemble", "EXPS=baseline typo", "NAME=two")
    assert done.returncode == 2 and "typo" in done.stdout, done.stdout
    assert (
        not (kit.root / "submissions").exists() and not (kit.root / "runs/demo-baseline/folds.csv").exists()
    )
    done = kit.make("ensemble", "EXPS=baseline demo", "NAME=two", "RUN=x")
    assert done.returncode == 2 and "leave out RUN" in done.stdout


def test_several_runs_are_trained_by_one_command_on_a_cluster(kit):
    kit.calls("split", "RUN=a"), kit.calls("split", "RUN=b", "SET=lr=2")
    assert kit.calls("train", "RUNS=a b", "CLUSTER=auto", "MACHINE=wandb=off") == [
        *("split runs/a", "weights runs/a", "split runs/b", "weights runs/b"),
        "cluster runs/a runs/b --on auto",
    ]
    assert '"set": "lr=2"' in (kit.root / "runs/b/config.json").read_text(), "it remembers its settings"
    assert '"wandb": "off"' in (kit.root / "runs/a/config.json").read_text()
    done = kit.make("train", "RUNS=a typo", "CLUSTER=auto")
    assert done.returncode == 2 and "there is no run typo; this makes it: make split RUN=typo" in done.stdout
    assert not (kit.root / "runs/typo").exists() and kit.calls("submit", "RUN=a") == ["submit runs/a"]
    assert "is for a cluster, this machine alone: CLUSTER=local" in kit.make("train", "RUNS=a b").stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["CLUSTER=everywhere"], "must be auto, local, or the address of a Ray cluster, HOST:6379"),
        (["CLUSTER=auto", "CPUS=0"], "CPUS=0 must be a whole number"),
        (
            ["CLUSTER=auto", "GPUS=2"],
            "GPUS is not for a cluster, where a task has one GPU: leave out GPUS or CLUSTER",
        ),
        (["LIMIT=2"], "LIMIT is for the tasks of a cluster: add CLUSTER=auto"),
    ],
)
def test_what_a_cluster_is_told_is_checked(kit, words, message):
    done = kit.make("train", *words)
    assert done.returncode == 2 and message in done.stdout and not (kit.root / "runs").exists()


def test_push_pull_and_ledger_get_what_was_typed_and_are_gone_with_their_extras(kit):
    assert "No rule to make target" in kit.make("push", "RUN=x").stdout
    kit.write("src/extras/kaggle/command.py", ""), kit.write("src/extras/ledger/command.py", "")
    text = 'it\'s $(touch x) `touch x` "new"; touch x'
    pushed = kit.calls("push", "RUN=x", f"MSG={text}", "LAST=1", "COMP=slug")
    assert pushed == [f"kaggle push runs/x --message={text} --slug slug --last"]
    assert kit.calls("push", "RUN=x") == ["kaggle push runs/x --message="]
    assert kit.calls("push-code", "RUN=x") == ["kaggle push-code runs/x"]
    assert kit.calls("pull") == ["kaggle pull"] and kit.calls("pull", "COMP=slug") == [
        "kaggle pull --slug slug"
    ]
    assert kit.calls("ledger", "COMP=x", "PUBLIC=0.3") == ["ledger --comp x --public 0.3"]
    kit.write("inputs/x/train.csv", "id,label\n")
    assert kit.calls("data", "COMP=x") == ["kaggle download runs/x-baseline"]
    assert "make push" in kit.make("help").stdout and not (kit.root / "x").exists()
    for wrong in ("PUBLIC=30", "LAST=yes"):
        assert "must be" in kit.make("push", "RUN=x", wrong).stdout
