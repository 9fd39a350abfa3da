"""The documents are true: their commands, settings, messages, files and links exist, and the guide's code, put
into a copy of the kit, trains.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from conftest import fast, make_competition
from PIL import Image

from src import config
from src.competition.facts import Competition
from src.config import Config, Machine
from src.experiments import EXPERIMENTS
from src.run.overrides import parse_set

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((ROOT / "docs").glob("*.md"))
)
GUIDE = ROOT / "docs" / "guide.md"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^(?:\$\(call (?:extra|part,[a-z]+),)?([a-z-]+)\)?:", MAKEFILE, flags=re.MULTILINE))
PLACEHOLDERS = {"its_name", "bigger"}  # experiments that a reader adds

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def code_of(path: Path) -> list[str]:
    """The lines of code blocks, and what is in backquotes."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", plain)


def commands_of(path: Path) -> list[str]:
    """Each `make target ...`, without a comment behind it."""
    lines = [line.strip().lstrip("!").partition("  #")[0].strip() for line in code_of(path)]
    return [line for line in lines if re.match(r"make( |$)", line)]


def words_of(command: str) -> list[str]:
    """The words of a command as a shell splits them, without quotes; ... is dropped."""
    words = re.findall(r'[A-Z]+="[^"]*"|\S+', command)[1:]
    return [word.replace('"', "") for word in words if word != "..."]


@every_document
def test_every_command_is_one_that_the_makefile_has(path):
    variables = {"PY", "PYTHON", "VENV"}
    for line in re.findall(r"^(?:SHARED|TYPED) := (.*)$", MAKEFILE, flags=re.MULTILINE):
        variables |= set(line.split())
    for command in commands_of(path):
        for word in words_of(command):
            name, equals, value = word.partition("=")
            assert name in (variables if equals else TARGETS), f"{path.name}: {command}: {word}"
            if name == "EXP":
                assert value in {*EXPERIMENTS, *PLACEHOLDERS}, f"{path.name}: {command}"


@every_document
def test_make_takes_every_command(path, tmp_path):
    """make -n reads the whole Makefile, checks names and variables, and runs nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    for command in dict.fromkeys(commands_of(path)):
        is_only_named = len(command.split()) == 2
        if is_only_named or "<" in command or '"..."' in command:
            continue
        words = [word for word in shlex.split(command)[1:] if word not in ("...", "PYTHON=python3.12")]
        done = subprocess.run(
            ["make", "-n", f"PY={sys.executable}", *words],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{path.name}: {command}: {done.stderr}"


@every_document
def test_every_setting_exists_and_takes_the_value_that_is_shown(path):
    for text in code_of(path):
        for variable, value in re.findall(r'\b(SET|MACHINE)="([^"]*)"', text):
            if "..." not in value and "lrr" not in value:
                settings = parse_set(value, Config if variable == "SET" else Machine)
                assert len(settings) == len(value.split()), f"{path.name}: {value}"


@every_document
def test_every_name_before_an_equals_sign_is_a_setting_or_a_field(path):
    """`tta=hflip` in running text is a setting, `task="ordinal"` a field of a Competition."""
    machine = [field.name for field in config.dataclasses.fields(Machine)]
    known = {*config.DEFAULTS, *machine, *Competition.__dataclass_fields__}
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.match(r"[a-z_]+=\S", code):
            for name in re.findall(r"(?:^|[ ,])([a-z_]+)=", code):
                assert name in known, f"{path.name}: {code}"


@every_document
def test_every_file_that_is_named_is_there(path):
    for code in code_of(path):
        for name in re.findall(r"(?<![\w/.])((?:src|tests|docs|\.github)/[\w./-]+)", code):
            assert (ROOT / name.rstrip("./")).exists(), f"{path.name}: {name}"


@every_document
def test_every_test_that_is_named_is_there(path):
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w{20,})`", path.read_text(encoding="utf-8")):
        assert f"def {name}(" in tests, f"{path.name}: {name}"


def anchor_of(heading: str) -> str:
    """As GitHub makes it: lower case, spaces as hyphens, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@every_document
def test_every_link_resolves(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in map(anchor_of, headings), f"{path.name}: {link}"


def test_the_readme_is_two_screens_and_has_a_diagram():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150 and "```mermaid" in text


def test_the_readme_shows_every_file_of_a_run():
    from test_pipeline import FOLD_FILES, RUN_FILES

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("## What you get") : text.index("## Change one thing")]
    before, _, rest = tree.partition("fold0/")
    fold, _, after = rest.partition("oof.parquet")
    assert set(fold.split()) >= FOLD_FILES
    assert {*before.split(), "oof.parquet", *after.split()} >= RUN_FILES


def test_the_map_of_contributing_has_every_file_of_src_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("\nsrc/\n") + 1 : text.index("\ntests/ ")]
    names, folders = set(), []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        if match := re.match(r" *([a-z]+)/", line):
            folders[depth:] = [match[1]]
        folder = "/".join(folders[:depth] if not match else folders)
        names |= {f"{folder}/{name}" for name in re.findall(r"(?<![\w/])\w+\.py\b", line)}
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "src").rglob("[!_]*.py")}
    assert names == files | {"src/__main__.py"}


def test_continuous_integration_runs_the_two_commands_of_the_readme():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    runs = re.findall(r"^ +- run: (.*)$", workflow, flags=re.MULTILINE)
    assert runs == ["make test", "make lint"]
    assert all(f"`{command}`" in (ROOT / "README.md").read_text(encoding="utf-8") for command in runs)


# ---- troubleshooting ----


def texts_of_the_kit() -> str:
    """Every string of the code, f-strings without their values, and the Makefile."""
    parts = [MAKEFILE]
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                constants = [part.value for part in node.values if isinstance(part, ast.Constant)]
                parts.append("\0".join(constants))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts.append(node.value)
    return "\n".join(parts)


def test_every_message_of_troubleshooting_is_one_that_the_kit_says():
    messages, texts = documented_messages(), texts_of_the_kit()
    lost = [parts for parts in messages if not all(part in texts for part in parts)]
    assert len(messages) > 50 and not lost, lost


def documented_messages() -> list[list[str]]:
    """The messages of the tables, each as its parts between the `...`."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]*)`", text, flags=re.MULTILINE)
    return [[part.strip() for part in message.split("...") if part.strip()] for message in messages]


def raised_errors() -> dict[str, list[str]]:
    """file:line of every error that the kit raises with words of its own -> its strings."""
    kinds = {"ValueError", "CheckFailed", "Stopped", "Unclear"}
    errors = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            constants = [part.value for part in ast.walk(node.exc) if isinstance(part, ast.Constant)]
            texts = [value for value in constants if isinstance(value, str)]
            if ast.unparse(node.exc.func).split(".")[-1] in kinds and max(map(len, texts), default=0) >= 20:
                errors[f"{file.relative_to(ROOT)}:{node.lineno}"] = texts
    return errors


def test_nearly_every_error_of_the_kit_is_in_troubleshooting():
    messages, errors = documented_messages(), raised_errors()

    def is_documented(texts: list[str]) -> bool:
        return any(all(any(part in text for text in texts) for part in parts) for parts in messages)

    lost = [place for place, texts in errors.items() if not is_documented(texts)]
    assert len(lost) < 0.05 * len(errors), lost


def test_every_target_that_a_message_says_to_make_exists():
    verbs = {"asks", "calls", "compares"}  # of what make does
    named = re.findall(r"(?:[:;`] ?|then )make ([a-z-]+)(?=[` ,.]|\Z)", texts_of_the_kit())
    assert len(named) > 20 and set(named) - verbs <= TARGETS, set(named) - TARGETS


# ---- the guide's code, in a copy of the kit ----


slow = pytest.mark.slow  # together as long as 20 quiet seconds


class Recipe(NamedTuple):
    place: str  # where it goes: its first line, without the #
    code: str


def recipes() -> list[Recipe]:
    blocks = re.findall(
        r"^```python\n# ([^\n]*)\n(.*?)^```",
        GUIDE.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    return [Recipe(place, code) for place, code in blocks]


def put_in(recipe: Recipe, root: Path) -> None:
    """Edit a file of the kit as the first line of a recipe says."""
    name, _, how = recipe.place.partition(", ")
    file = root / name
    text = file.read_text(encoding="utf-8")
    if how == "at its end":
        text += "\n\n" + recipe.code
    else:
        anchor = how.removeprefix("below the line ")
        lines = text.splitlines(keepends=True)
        number = next(number for number, line in enumerate(lines) if line.strip().startswith(anchor))
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        lines.insert(number + 1, textwrap.indent(recipe.code, indent))
        text = "".join(lines)
    file.write_text(text, encoding="utf-8")


TINY = fast("epochs=3 folds=2 warmup_epochs=0.5")
RUNS = {  # run -> (COMP, EXP, SET)
    "plain": ("tiny", "bigger", fast("epochs=1 folds=2")),
    "attention": ("tiny", "baseline", f"{TINY} head=attention pool_type=none schedule=late"),
    "cosface": ("tiny", "baseline", f"{TINY} head=cosface"),
    "squeezed": ("tiny", "baseline", f"{fast('epochs=1 folds=2 backbone=squeezed:test_resnet')}"),
    "branches": ("tiny", "baseline", f"{fast('epochs=1 folds=2 backbone=two_branches')}"),
    "words": (
        "tiny",
        "baseline",
        fast(
            "epochs=1 folds=2 loss=gentle_focal augment=turned views=2 tta=darker sampler=rare_twice fold_scheme=by_site"
        ),
    ),
    "described": ("described", "baseline", fast("epochs=1 folds=2")),
    "second": ("second", "baseline", fast("epochs=1 folds=2 head=mlp")),
}
DRIVER = """
import json, sys
from pathlib import Path
from src import competitions, predict, split, submit, train
from src.data.run import Run
from src.experiments import EXPERIMENTS
from src.extras.doctor.command import QUICK, examine
from src.run import configure
from src.run.paths import RunPaths

failed = []
for name, (comp, exp, text) in json.loads(sys.argv[1]).items():
    paths = RunPaths(Path("runs") / name)
    asked = {"COMP": comp, "EXP": exp, "SET": text, "MACHINE": "wandb=off workers=0 device=cpu memory=strict sanity=false", "INPUTS": "inputs"}
    settings = configure.settings_for(paths, asked, EXPERIMENTS)
    configure.write(settings, paths)
    run = Run(paths, settings, competitions.load(comp, settings.inputs))
    split.split(run)
    if name in ("attention", "cosface"):
        failed += [(name, finding.check, finding.seen) for finding in examine(run, QUICK) if finding.level == "FAIL"]
    for stage in (train.train, predict.predict, submit.submit):
        stage(run)
Path("checks.json").write_text(json.dumps({"quick": list(QUICK), "failed": failed}))
"""


def make_described(root: Path, part: str) -> None:
    """The tiny competition with a patient and an age beside each image; with part="second" as photograph and
    depth map, in two folders.
    """
    make_competition(root)
    for csv, folder in (("train.csv", "train"), ("test.csv", "test")):
        frame = pd.read_csv(root / ("train.csv" if folder == "train" else "sample_submission.csv"))
        frame = frame if folder == "train" else frame[["id"]]
        extra = {"age": [20 + 3 * (n % 11) for n in range(len(frame))]}
        if part == "described":
            extra["patient_id"] = [f"p{n // 4}" for n in range(len(frame))]
        frame.assign(**extra).to_csv(root / csv, index=False)
        if part == "second":
            (root / folder / "photo").mkdir()
            (root / folder / "depth").mkdir()
            for image in sorted((root / folder).glob("*.png")):
                Image.open(image).convert("L").save(root / folder / "depth" / image.name)
                image.rename(root / folder / "photo" / image.name)


def copy_with_recipes(root: Path) -> None:
    """The kit's code with all recipes in it; with small backbones in place of those of the guide."""
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in recipes():
        small = recipe.code.replace("tf_efficientnet_lite0", "test_resnet").replace(
            "resnet18.a1_in1k", "test_efficientnet"
        )
        if recipe.place.startswith("src/"):
            put_in(Recipe(recipe.place, small), root)


def test_every_recipe_finds_its_place_and_is_python(tmp_path):
    copy_with_recipes(tmp_path)
    edited = {recipe.place.partition(",")[0] for recipe in recipes() if recipe.place.startswith("src/")}
    assert len(edited) >= 9 and all(
        ast.parse((tmp_path / name).read_text(encoding="utf-8")) for name in edited
    )
    for recipe in recipes():
        assert ast.parse(recipe.code) and recipe.place.startswith(("src/", "inputs/", "in Python")), (
            recipe.place
        )


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """A copy of the kit with all recipes in it, and the runs that use them."""
    root = tmp_path_factory.mktemp("kit")
    copy_with_recipes(root)
    make_competition(root / "inputs" / "tiny")
    described = [recipe.code for recipe in recipes() if recipe.place.startswith("inputs/")]
    for comp, code in zip(("described", "second"), described, strict=True):
        make_described(root / "inputs" / comp, comp)
        (root / "inputs" / comp / "competition.py").write_text(code, encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RUN", "FOLD", "SET", "MAKEFLAGS")
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(RUNS)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@slow
def test_every_run_of_the_recipes_ends_in_a_checked_submission(kit):
    assert {path.stem for path in (kit / "submissions").glob("*.csv")} == {*RUNS, "ledger"}


@slow
def test_the_heads_of_the_guide_pass_the_quick_checks_and_learn(kit):
    checks = json.loads((kit / "checks.json").read_text())
    assert checks["failed"] == [] and checks["quick"]
    for name in ("attention", "cosface"):
        losses = [
            json.loads(line)["loss"]
            for line in (kit / "runs" / name / "fold0" / "log.jsonl").read_text().splitlines()
        ]
        assert losses[-1] < losses[0]


@slow
def test_the_schedule_of_the_guide_falls_in_its_last_third_alone(kit):
    rates = [
        json.loads(line)["lr"]
        for line in (kit / "runs" / "attention" / "fold0" / "log.jsonl").read_text().splitlines()
    ]
    assert rates[0] == rates[1] > rates[2] > 0


@slow
def test_the_figures_that_the_guide_adds_are_in_the_log(kit):
    first = json.loads((kit / "runs" / "plain" / "fold0" / "log.jsonl").read_text().splitlines()[0])
    assert {"accuracy", "log_loss", "macro_f1", "valid_loss"} <= set(first)


@slow
def test_a_described_competition_keeps_groups_together_and_uses_the_pasted_metric(kit):
    folds = pd.read_csv(kit / "runs" / "described" / "folds.csv")
    assert folds.groupby("group")["fold"].nunique().max() == 1 and folds["group"].str.startswith("p").all()
    assert json.loads((kit / "runs" / "described" / "score.json").read_text())["metric"] == "score"


@slow
def test_the_table_of_mistakes_is_printed(kit):
    code = next(recipe.code for recipe in recipes() if recipe.place.startswith("in Python"))
    code = code.replace("runs/x-baseline", "runs/plain").replace('"label"   ', '"colour"   ', 1)
    done = subprocess.run([sys.executable, "-c", code], cwd=kit, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout and "green" in done.stdout
