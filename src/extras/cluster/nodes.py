"""The connection to Ray, and the tasks that it runs. With task.py all in the kit that knows Ray.

Ray (Moritz et al. 2018, OSDI) gives each task the processors or the GPU that it asks for, and runs it again
where its worker or its node is lost.
"""

import dataclasses
import os
import secrets
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise

import ray

from src.extras.cluster import task
from src.extras.cluster.job import Job
from src.extras.cluster.units import FAILED, Outcome, Unit

RETRIES = 10  # of a task whose worker or node is lost
FEW = 4  # processors of a task, where a node has as many: a fold gains little by more
OBJECT_STORE = 80_000_000  # bytes, of CLUSTER=local: results go through files

Resources = dict[str, float]  # of a node: CPU, GPU ...


def connect(address: str) -> None:
    """Connect to the cluster at this address, to the one that this machine belongs to ("auto"), or to this
    machine alone ("local"). Raises ValueError where none answers.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        # Ray would write one into the home folder, which closes later clusters to nodes that lack it
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ValueError(
            f"CLUSTER={address}: no Ray cluster answers ({str(error).splitlines()[0]}): type `ray start"
            " --head` here and `ray start --address=HOST:6379` on each further machine, or CLUSTER=local"
            " for this machine alone"
        ) from error


def alive() -> list[Resources]:
    """What each node has that can compute."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [resources for resources in nodes if resources.get("CPU")]


def processors(nodes: list[Resources], asked: int) -> int:
    """Of a task. Where nobody asks for a number: a GPU's share of its node, or a few. Raises ValueError for
    more than any node has.
    """
    most = int(max((node["CPU"] for node in nodes), default=0))
    if asked > most or not most:
        raise ValueError(f"CPUS={asked or 1}: the largest node of the cluster has {most} processors")
    shares = [node["CPU"] // node["GPU"] for node in nodes if node.get("GPU")]
    return asked or max(1, int(min(shares or [min(node["CPU"], FEW) for node in nodes])))


def slots(nodes: list[Resources], cpus: int) -> int:
    """How many units these nodes run at once."""
    has_gpu = any(node.get("GPU") for node in nodes)
    return sum(
        int(min(node["CPU"] // cpus, node.get("GPU", 0) if has_gpu else node["CPU"])) for node in nodes
    )


class Cluster:
    """The units that Ray has now. cpus: processors of each, 0: chosen by what the nodes have."""

    def __init__(self, job: Job, cpus: int = 0) -> None:
        nodes = alive()
        self.job, self.cpus = job, processors(nodes, cpus)
        self.has_gpu = any(node.get("GPU") for node in nodes)
        self.units: dict[ray.ObjectRef, Unit] = {}
        ray.cloudpickle.register_pickle_by_value(task)
        self.task = ray.remote(task.work)

    @property
    def slots(self) -> int:
        return max(slots(alive(), self.cpus), 1)

    def submit(self, unit: Unit) -> None:
        num_gpus = 1 if self.has_gpu and unit.device in ("auto", "cuda") else 0
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": num_gpus, "name": unit.name}
        options |= {"max_retries": RETRIES, "retry_exceptions": [ChildProcessError]}
        options["scheduling_strategy"] = "SPREAD"
        fields = {
            "name": unit.name,
            "run": str(unit.run.resolve()),
            "words": unit.words,
            "locks": unit.locks,
            "log": str(unit.log.resolve()),
            "status": str(unit.status.resolve()),
            "has_limit": unit.has_limit,
            "cpus": self.cpus,
        }
        reference = self.task.options(**options).remote(dataclasses.asdict(self.job), fields)
        self.units[reference] = unit

    def wait(self, seconds: float) -> list[tuple[Unit, Outcome]]:
        """The units that have come to an end, after so many seconds at the latest."""
        ended, _ = ray.wait([*self.units], timeout=seconds)
        return [(self.units.pop(reference), outcome(reference)) for reference in ended]

    def name_of(self, node: str) -> str:
        """The name, by default the address, of the node of this id."""
        return next((each["NodeName"] for each in ray.nodes() if each["NodeID"] == node), node[:8])


def outcome(reference: ray.ObjectRef) -> Outcome:
    """Of a task that has come to an end."""
    try:
        return Outcome(**ray.get(reference))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if cause and not isinstance(cause, ChildProcessError):
            return Outcome(FAILED, f"error: {type(cause).__name__}: {cause}")
        why = str(cause or f"{type(error).__name__}, its worker or its node was lost")
        return Outcome(FAILED, f"error: {why}, at each of {RETRIES + 1} attempts")
