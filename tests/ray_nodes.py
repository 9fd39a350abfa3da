"""Ray nodes on this machine, each with processors and folders of its own, for tests: started by `ray start`,
and ended for good whatever happens, without touching another's Ray.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from src.run.files import read_json

ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable, "-m", "src"]
RAY = Path(sys.executable).parent / "ray"
LEASH = ROOT / "src" / "extras" / "cluster" / "leash.py"
MARK = "PODIUM_TEST_NODE"  # in the environment of all that a node has started
# without a password, whoever reaches a port of Ray's could run code here
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class Node:
    """`ray start --block` and its children. The first is the head; others join it by its address."""

    def __init__(self, folder: Path, address: str = "", cpus: int = 1) -> None:
        port = free_port()
        self.address = address or f"127.0.0.1:{port}"
        self.mark = f"{os.getpid()}-{folder.name}-{port}"
        where = (
            [f"--address={address}"] if address else ["--head", f"--port={port}", "--include-dashboard=false"]
        )
        name = f"--node-name={folder.name}"
        store = "--object-store-memory=80000000"
        leash = [sys.executable, str(LEASH), str(os.getpid())]  # a killed test leaves no node behind
        command = [
            *leash,
            str(RAY),
            "start",
            "--block",
            *where,
            name,
            f"--num-cpus={cpus}",
            f"--temp-dir={folder}",
            store,
        ]
        environment = os.environ | TOKEN | {MARK: self.mark, "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "2000"}
        folder.mkdir()
        self.log = folder / "start.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: "Ray runtime started" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def processes(self) -> list[int]:
        """All that were started by this node, trainings too."""
        return [process for process in all_processes() if mark_of(process) == self.mark]

    def kill(self) -> None:
        """As when the machine loses its power."""
        while left := self.processes():
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.process.wait()


@contextmanager
def two_nodes(folder: Path) -> Iterator[list[Node]]:
    """Two nodes of one processor each. folder: short, for the names of sockets."""
    nodes: list[Node] = []
    try:
        nodes.append(Node(folder / "h"))
        nodes.append(Node(folder / "w", nodes[0].address))
        yield nodes
    finally:
        for node in reversed(nodes):
            node.kill()


def all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def mark_of(process: int) -> str:
    """ "" for a process of no node, or one that has ended."""
    try:
        words = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((word.decode().partition("=")[2] for word in words if word.startswith(MARK.encode())), "")


def wait_until(happens, seconds: float = 180.0) -> None:
    """Look again and again; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# ---- commands of the kit on these nodes ----


def environment() -> dict[str, str]:
    return os.environ | TOKEN | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Command:
    """A command in the background whose output is read line by line."""

    def __init__(self, *words: str) -> None:
        self.log = Path("command.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*PYTHON, *words], env=environment(), stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, happens) -> None:
        wait_until(lambda: happens() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text

    def end(self) -> int:
        try:
            return self.process.wait(300)
        finally:
            self.process.kill()


def in_training(mark: str = "") -> list[tuple[Path, int]]:
    """(fold, its worker) of the folds that have a saved state; of those on one node alone where it is named."""
    found = []
    for status in Path("runs").glob("*/cluster/fold*.json"):
        fold, worker = status.parents[1] / status.stem, read_json(status)["process"]
        has_state = any(fold.glob("state/*.json")) and not (fold / "done.json").exists()
        if has_state and (mark_of(worker) == mark if mark else mark_of(worker)):
            found.append((fold, worker))
    return found


def is_training(process: int) -> bool:
    try:
        return b"--fold" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def log_of(fold: Path) -> str:
    return (fold.parent / "cluster" / f"{fold.name}.log").read_text()
