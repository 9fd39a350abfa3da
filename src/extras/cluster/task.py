"""What a Ray task does on its node: one command of the kit, in a process of its own, with its log in the
run's folder.

Ray sends these functions to the node as they are, so that a node without the kit can say so: the kit's own
modules are imported after the check.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL = 0.5  # seconds between looks at what the driver asks for
RUN, STOP = "run", "stop"  # what the driver asks for, in its file
STOPPED = 75  # the exit code of a command that was stopped with its state saved
PASSED_ON = ("WANDB_", "HF_")  # beginnings of the environment's variables that a command gets from the driver


def work(job: dict[str, Any], unit: dict[str, Any]) -> dict[str, Any]:
    """Run a unit's command on this node; returns the fields of an Outcome. Raises ChildProcessError where it
    was ended by somebody else than the driver, as when a node goes down: Ray then tries again.
    """
    import ray

    node, began = ray.get_runtime_context().get_node_id(), time.monotonic()
    if problem := difference(job):
        return {"code": 2, "line": f"error: {problem}", "node": node}
    if asked(job) == STOP:
        return {"code": STOPPED, "line": "not begun"}
    if job["source"] not in sys.path:
        sys.path.insert(0, job["source"])
    attempt = note_attempt(job, unit, node)
    log = Path(unit["log"])
    with log.open("a", encoding="utf-8") as output:
        print(f"== attempt {attempt} on node {node[:8]}: {' '.join(unit['words'])}", file=output, flush=True)
        begin = output.tell()
        wait_for_locks(job, unit, output)
        code = run_command(job, unit, output)
    if code < 0 or (code == STOPPED and not unit["has_limit"]):
        if asked(job) == RUN:
            how = signal.Signals(-code).name if code < 0 else "a signal"
            raise ChildProcessError(f"{unit['name']} was ended by {how}")
        code = STOPPED
    seconds = time.monotonic() - began
    return {
        "code": code,
        "line": last_line(log, begin),
        "node": node,
        "seconds": seconds,
        "attempt": attempt,
    }


def difference(job: dict[str, Any]) -> str:
    """In what this node differs from the driver's machine; "" where it can do the work."""
    source = Path(job["source"])
    for path in (source / "src" / "__main__.py", Path(job["python"]), Path(job["folder"])):
        if not path.exists():
            return f"{path} is not there: kit, runs and environment must have the same path on all nodes"
    if not asked(job):
        return (
            f"{job['folder']} is another folder there than here: all nodes must see the same one, such as a"
            " shared disk"
        )
    if job["source"] != job["folder"] and code_of(source) != job["code"]:
        return f"{source}/src has other code there than here, which is at commit {job['commit']}"
    return ""


def code_of(source: Path) -> str:
    """A hash of the kit's Python files."""
    digest = hashlib.sha256()
    for file in sorted((source / "src").rglob("*.py")):
        digest.update(file.relative_to(source).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def asked(job: dict[str, Any]) -> str:
    """What the driver asks for: "run" or "stop"; "" where its file is not there."""
    try:
        return RUN if Path(job["file"]).read_text(encoding="utf-8") == RUN else STOP
    except FileNotFoundError:
        return ""


def note_attempt(job: dict[str, Any], unit: dict[str, Any], node: str) -> int:
    """Write down that the unit begins here; how often it has begun in this job."""
    from src.run.files import read_json, write_json

    status = Path(unit["status"])
    before = read_json(status) if status.exists() else {}
    attempt = before["attempt"] + 1 if before.get("job") == job["id"] else 1
    write_json({"job": job["id"], "attempt": attempt, "node": node, "process": os.getpid()}, status)
    return attempt


def wait_for_locks(job: dict[str, Any], unit: dict[str, Any], output: Any) -> None:
    """Wait while other processes have the unit's folds: an earlier attempt that is saving its state, say."""
    from src.run import locks

    said = ""
    while asked(job) == RUN:
        held = []
        for path in Path(unit["run"]).glob(unit["locks"]):
            with locks.lock(path) as holder:
                held += [f"waiting for {holder}, which has {path}"] if holder else []
        if not held:
            return
        if held[0] != said:
            print(said := held[0], file=output, flush=True)
        time.sleep(POLL)


def run_command(job: dict[str, Any], unit: dict[str, Any], output: Any) -> int:
    """Run it to its end; its exit code, minus the signal's number where one has ended it. SIGTERM once the
    driver asks for a stop.
    """
    environment = os.environ | job["environment"]
    path = os.pathsep.join(filter(None, [job["source"], environment.get("PYTHONPATH")]))
    environment |= {"OMP_NUM_THREADS": str(unit["cpus"]), "TQDM_DISABLE": "1", "PYTHONPATH": path}
    leash = f"{job['source']}/src/extras/cluster/leash.py"
    command = [job["python"], leash, str(os.getpid()), "-m", "src", *unit["words"]]
    if asked(job) != RUN:
        return STOPPED
    child = subprocess.Popen(
        command, cwd=job["folder"], env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        is_told = False
        while True:
            try:
                return child.wait(POLL)
            except subprocess.TimeoutExpired:
                if not is_told and asked(job) != RUN:
                    child.terminate()
                    is_told = True
    finally:
        if child.poll() is None:
            child.terminate()


def last_line(log: Path, begin: int) -> str:
    """The last line that says something, of what was written from this byte on; "" for none."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
