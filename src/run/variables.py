"""Check the variables of a make command line, and name the run that they ask for. Standard library only, for
any Python 3.9: make calls it before there is an environment.

Run: python -m src.run.variables [--smoke] NAME ... -- COMP=x SET=lr=1 ...     all names that make knows, then
what
was typed; prints runs/NAME, or what is wrong in one line
     python -m src.run.variables --help                                        what `make help` shows
"""

from __future__ import annotations

import ast
import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path

NAMES = ("COMP", "EXP", "RUN", "NAME", "ONLY", "SWEEP")  # each names a folder, a file or a part of one
LISTS = ("RUNS", "EXPS", "A", "B", "BACKBONES")  # of names
RULES = {
    "FOLD": (r"\d+(,\d+)*", "must be a whole number, or several: 0,3"),
    "GPUS": (r"\d+", "must be a whole number"),
    "TORCHRUN": (r"[^\r\n]*", "must be one line"),
    "CPUS": (r"[1-9]\d*", "must be a whole number"),
    "LIMIT": (r"[1-9]\d*", "must be a whole number"),
    "CLUSTER": (
        r"auto|local|(ray://)?[A-Za-z0-9._-]+:\d+",
        "must be auto, local, or the address of a Ray cluster, HOST:6379",
    ),
    "PUBLIC": (r"0?\.\d+|1", "must be the share of the test rows that the public score is of, such as 0.3"),
    "MSG": (r"[^\r\n]*", "must be one line"),
    "LAST": (r"1", "must be 1, or left out"),
    "SIZES": (r"[1-9]\d*(,[1-9]\d*)*", "must be whole numbers of images: 2000,20000"),
    "TRIALS": (r"[1-9]\d*", "must be a whole number"),
    "BUDGET": (r"\d+(\.\d+)?(s|min|h|d)", "must be a time such as 90min, 9h or 2d"),
    "N": (r"[1-9]\d*", "must be a whole number of images"),
    "MACHINES": (r"[1-9]\d*", "must be a whole number"),
    "DISK": (r"[1-9]\d*(\.\d+)?", "must be a number of MB a second"),
    "NETWORK": (r"[1-9]\d*(\.\d+)?", "must be a number of Gbit a second"),
    "CUT": (r"[\d.]+", "must be a number such as 0.95"),
    "REPORT": (r"[01]", "must be 0 for no report after make submit, or 1 for one however long it takes"),
    "CHECKS": (r"[01]|-[a-z ,-]+", "must be 0 for none of the quick checks, or -name,name for all but these"),
}
LONGEST_NAME = 120
# what make submit trains where there is a GPU and no EXP is given: of NVIDIA, natively or under WSL
GPU_EXPERIMENT = "gpu_effnetv2_b3"
GPU_FILES = (Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
USAGE = """\
The same command again does what is left to do, and nothing else. A changed setting makes a new run beside the old one.
  make submit                                          the demo, from nothing
  make submit COMP=clothing EXP=head                   your files in inputs/clothing/, an experiment of src/experiments.py
  make submit COMP=clothing SET="epochs=9 lr=3e-4"     settings of src/config.py; lists: trainable=blocks.5,blocks.6
MACHINE="workers=4"  what can't change a score     RUN=name  your own name for the run     FOLD=0  one fold alone, or some: FOLD=0,3
INPUTS=folder  where COMP is, up to three levels deep     CACHE=folder  what can be computed again     PY=python  your own environment
FORCE=1  call every stage, whatever the file times say     GPUS=2  a process per GPU: folds side by side, or one over all
CLUSTER=auto  folds, or RUNS="a b", or trials on the machines of a Ray cluster; CLUSTER=local: on this one
CHECKS=0  no quick checks; CHECKS=-labels  all but this one     REPORT=0  no report at the end of make submit"""
PLACES = {"Split": "SET", "Train": "SET", "Predict": "SET", "Submit": "SET", "Machine": "MACHINE"}


def setting_places(source: str) -> dict[str, str]:
    """{"lr": "SET", "workers": "MACHINE"}: each setting of config.py, and each other name that it goes by."""
    places: dict[str, str] = {}
    names_of: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in PLACES:
            fields = [field.target for field in node.body if isinstance(field, ast.AnnAssign)]
            places.update({field.id: PLACES[node.name] for field in fields if isinstance(field, ast.Name)})
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES_OF":
            names_of = ast.literal_eval(node.value)
    for setting, names in names_of.items():
        places.update(dict.fromkeys(names.split(), places[setting]))
    return places


def unknown_problems(known: list[str], values: dict[str, str], places: dict[str, str]) -> list[str]:
    """For a setting the whole SET="..." to type, for another unknown variable the nearest name."""
    problems, misplaced = [], {"SET": [], "MACHINE": []}
    for name, value in values.items():
        if name in known:
            continue
        close = [name.upper()] if name.upper() in known else get_close_matches(name.upper(), known, 1, 0.4)
        if name in places and name.upper() not in known:
            misplaced[places[name]].append(name)
        elif close:
            problems.append(f"there is no variable {name}; did you mean {close[0]}={value}?")
        else:
            problems.append(f"there is no variable {name}; choose from {', '.join(known)}")
    for place, names in misplaced.items():
        if names:
            text = " ".join([values.get(place, ""), *(f"{name}={values[name]}" for name in names)]).strip()
            verb = "is a setting" if len(names) == 1 else "are settings"
            problems.append(f'{", ".join(names)} {verb}: put all settings between quotes, {place}="{text}"')
    return problems


def name_problem(variable: str, name: str) -> str:
    """Why this can't name a folder, a make target and a file; "" if it can."""
    problem = (
        f"{variable}={name} can't be a name: use letters, digits and . _ = - , (a letter or digit first,"
        " no ..)"
    )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,-]*", name) or ".." in name:
        folder, _, last = name.rstrip("/").rpartition("/")
        instead = f"{variable}={last}" + (f" INPUTS={folder or '/'}" if variable == "COMP" else "")
        return f"{problem}: write {instead}" if "/" in name else problem
    return (
        f"{variable}={name} is too long for a name: use at most 120 characters"
        if len(name) > LONGEST_NAME
        else ""
    )


def value_problems(values: dict[str, str]) -> list[str]:
    names = [(variable, values[variable]) for variable in NAMES if variable in values]
    names += [(variable, name) for variable in LISTS for name in values.get(variable, "").split()]
    problems = []
    for variable, name in names:
        # gem:resnet18 is an own backbone around a timm model
        parts = name.split(":") if variable == "BACKBONES" else [name]
        problems += filter(None, [name_problem(variable, part) for part in parts])
    for variable, (pattern, rule) in RULES.items():
        if variable in values and not re.fullmatch(pattern, values[variable]):
            problems.append(f"{variable}={values[variable]} {rule}")
    if "EXPS" in values and "RUN" in values:
        problems.append("EXPS are several runs, and RUN would name them all: leave out RUN")
    for variable in sorted({"GPUS", "TORCHRUN"} & {*values}) if "CLUSTER" in values else ():
        problems.append(
            f"{variable} is not for a cluster, where a task has one GPU: leave out {variable} or CLUSTER"
        )
    for variable in sorted({"CPUS", "LIMIT"} & {*values}) if "CLUSTER" not in values else ():
        problems.append(f"{variable} is for the tasks of a cluster: add CLUSTER=auto")
    return problems


def checksum(data: bytes) -> int:
    """What the command cksum prints: POSIX's CRC of the bytes and of their number."""
    length = len(data)
    while length:
        data += bytes([length % 256])
        length //= 256
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc >> 31 else 0)
    return crc ^ 0xFFFFFFFF


def has_gpu() -> bool:
    """Is there a GPU that this process may use? Without torch, which may not be installed yet. Apple's does not
    count: it computes in full precision, and the GPU's experiment would take days.
    """
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not is_hidden and any(file.exists() for file in GPU_FILES)


def default_experiment(comp: str, machine: str) -> str:
    """EXP where none is given. The device chooses the experiment by its name; no setting depends on it."""
    if comp == "demo":
        return "demo"
    return GPU_EXPERIMENT if has_gpu() and "device=cpu" not in machine.split() else "baseline"


def run_name(values: dict[str, str], *, is_smoke: bool) -> str:
    """RUN, or one that tells COMP, EXP and SET; a checksum for a SET that is long or has odd characters."""
    comp = values.get("COMP", "demo")
    if is_smoke:
        return f"{comp}-smoke"
    if "RUN" in values:
        return values["RUN"]
    name = f"{comp}-{values.get('EXP') or default_experiment(comp, values.get('MACHINE', ''))}"
    settings = values.get("SET", "").split()
    if not settings:
        return name
    readable = "-".join([name, *settings])
    is_safe = re.fullmatch(r"[A-Za-z0-9._=,-]*", readable) and ".." not in readable
    if is_safe and len(settings) < 9 and len(readable) - len(settings) + 1 <= 100:
        return readable
    return f"{name}-{checksum(' '.join(settings).encode('utf-8', 'surrogateescape'))}"


def help_text(makefile: str) -> str:
    """The targets with the text behind their ##, but for extras that are not there, and how to call make."""
    lines = []
    extras = Path(__file__).parents[1] / "extras"
    for call, whole, name, text in re.findall(
        r"^(\$\(call (?:extra|part,([a-z]+)),)?([a-z-]+)\)?:.*## (.*)$", makefile, re.MULTILINE
    ):
        extra = whole or name
        if not call or (extras / extra / "command.py").exists() or (extras / f"{extra}.py").exists():
            lines.append(f"make {name:9} {text}")
    return "\n".join(f"  {line}" for line in [*lines, "", *USAGE.splitlines()])


def main(words: list[str]) -> str:
    """The run's folder, or what is wrong."""
    if words == ["--help"]:
        return help_text(Path("Makefile").read_text(encoding="utf-8")) + "\n"
    end = words.index("--")
    known = [word for word in words[:end] if word != "--smoke"]
    values = dict(word.partition("=")[::2] for word in words[end + 1 :])
    config = Path(__file__).parents[1] / "config.py"
    unknown = {name: value for name, value in values.items() if name not in ("SHELL", "MAKEFLAGS")}
    problems = unknown_problems(known, unknown, setting_places(config.read_text(encoding="utf-8")))
    problems += value_problems(values)
    return "; ".join(problems) or f"runs/{run_name(values, is_smoke='--smoke' in words[:end])}"


if __name__ == "__main__":
    line = main(sys.argv[1:])
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))  # as it was typed, UTF-8 or not
