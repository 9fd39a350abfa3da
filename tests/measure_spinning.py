"""How long OpenMP's threads should spin while they wait: steps a second of one process, and of each of two that
share the processor, by GOMP_SPINCOUNT. src/run/threads.py has the value that was chosen by it.

Run: python tests/measure_spinning.py [COUNT ...]     on an otherwise idle machine; half a minute for each count
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 3.0  # of each kind of work
COUNTS = ["", "0", "100", "1000", "10000", "100000"]  # "": as libgomp has it


def head_step() -> Callable[[], None]:
    """A step of a new head on cached features: short operations, between which threads wait."""
    import torch

    from src.training.adamp import AdamP

    features, target = torch.randn(128, 1280), torch.randint(0, 10, (128,))
    head = torch.nn.Linear(1280, 10)
    return stepper(head, AdamP(head.parameters(), lr=1e-3), features, target)


def full_step() -> Callable[[], None]:
    """A step of lite0 in which everything learns."""
    import timm
    import torch

    images = torch.randn(16, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=10).to(memory_format=torch.channels_last)
    return stepper(model, torch.optim.AdamW(model.parameters()), images, torch.randint(0, 10, (16,)))


def stepper(model, optimizer, images, target) -> Callable[[], None]:
    import torch

    def step() -> None:
        torch.nn.functional.cross_entropy(model(images), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def work() -> None:
    """For each kind of work: say that it is ready, wait for a line, print the steps a second."""
    sys.path.insert(0, str(ROOT))
    from src.run import memory

    memory.keep_freed()  # as a training does
    for step in (head_step(), full_step()):
        step(), step()
        print("ready", flush=True)
        input()
        begin, done = time.perf_counter(), 0
        while time.perf_counter() < begin + SECONDS:
            step()
            done += 1
        print(done / (time.perf_counter() - begin), flush=True)


def measure(count: str, processes: int) -> list[float]:
    """[steps a second of a head, of a whole network], of the slowest process; all begin at once."""
    environment = os.environ | {"OMP_NUM_THREADS": str(os.cpu_count())}
    environment.pop("GOMP_SPINCOUNT", None)
    if count:
        environment["GOMP_SPINCOUNT"] = count
    command, pipe = [sys.executable, __file__, "--work"], subprocess.PIPE
    children = [
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        for _ in range(processes)
    ]
    rates = []
    for _ in range(2):
        assert [child.stdout.readline() for child in children] == ["ready\n"] * processes
        for child in children:
            print("go", file=child.stdin, flush=True)
        rates.append(min(float(child.stdout.readline()) for child in children))
    for child in children:
        child.wait()
    return rates


def main(counts: list[str]) -> None:
    print("GOMP_SPINCOUNT   head: steps/s alone, beside another (slower by)   whole network: the same")
    for count in counts:
        alone, beside = measure(count, 1), measure(count, 2)
        parts = [f"{a:7.1f} {b:7.1f} ({a / b:4.1f} x)" for a, b in zip(alone, beside, strict=True)]
        print(f"{count or 'unset':>14}   {'   '.join(parts)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work()
    else:
        main(sys.argv[1:] or COUNTS)
