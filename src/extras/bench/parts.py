"""The parts of the benchmark: each runs its share of the work and returns its rows of the table."""

from collections.abc import Iterator
from statistics import median

import numpy as np

from src.extras.bench.work import Bench, Process, Row, engines, folder_of, total
from src.run.files import read_json


def compare_pairs(work: str, pairs: list[tuple[float, float]], required: str, note: str = "") -> Row:
    """(kit's, peer's) seconds of runs in turn: medians, and the median of the ratios."""
    kit, peer = (median(seconds) for seconds in zip(*pairs))
    return Row(work, kit, peer, median(b / a for a, b in pairs), required, note)


def over(work: str, pairs: list[tuple[float, float]], required: str, note: str = "") -> Row:
    """The same, with kit over the other where a ratio must be small."""
    row = compare_pairs(work, pairs, required, note)
    return row._replace(ratio=median(a / b for a, b in pairs))


def head(bench: Bench) -> list[Row]:
    """The head alone learns: the whole job, and what of it is more than passing each image once."""
    size = f"head {bench.work.folds} x {bench.work.epochs}"
    rows = [row for engine in engines() for row in first_experiment(bench, engine, size)]
    for engine in engines():
        row = second_experiment(bench, engine)
        rows.append(row)
    return rows + bench.frameworks(size, f"head-{engine}-0", row.peer, bench.all_folds)


def first_experiment(bench: Bench, engine: str, size: str) -> Iterator[Row]:
    runs = bench.heads(engine)
    whole = [(total(kit), bench.all_folds(peer)) for kit, peer in runs]
    required = ">= 60" if engine == "openvino" else ">= 30"
    yield compare_pairs(f"{size}, {engine}, whole processes", whole, required, "peer scaled from 1 epoch")
    train = [kit["train"] for kit, _ in runs]
    once = [bench.peer(f"head-{engine}-{pair}", "once").seconds for pair in range(bench.work.pairs)]
    yield over(
        f"  its process that trains and submits over one that passes each image once, {engine}",
        [(process.seconds, seconds) for process, seconds in zip(train, once)],
        "<= 1.3",
        "that process: torch, channels_last",
    )
    for work, parts, required in (
        ("imports, decoding and trunk", ("start", "decode", "trunk"), "<= 1.3"),
        ("decoding and trunk alone", ("decode", "trunk"), ""),
    ):
        pairs = [(process.seconds, sum(process.result[part] for part in parts)) for process in train]
        yield over(f"  and over its own {work}, {engine}", pairs, required)


def second_experiment(bench: Bench, engine: str) -> Row:
    """Another learning rate: what the cache of the trunk saves."""
    name, changes = f"head-{engine}", bench.settings("head", lr=5e-3)
    second = [
        bench.kit(f"{name}-{pair}/second", changes, engine=engine, cache=f"cache-{name}-{pair}")
        for pair in range(bench.work.pairs)
    ]
    pairs = [(total(kit), total(first)) for kit, (first, _) in zip(second, bench.heads(engine))]
    passes = sum(kit["train"].result.get("pass_calls", 0) for kit in second)
    return over(f"second experiment, same trunk, {engine}", pairs, "<= 0.33", f"{passes} trunk passes")


def tail(bench: Bench) -> list[Row]:
    """The last blocks learn: one or two epochs of each fold, and what is done once; all epochs from that."""
    work, one_view, four_views = bench.work, [], []
    num_epochs = min(2, work.epochs)
    for pair in range(work.pairs):
        name = f"tail-{pair}"
        changes = bench.settings(work.tail, epochs=num_epochs)
        prepared = bench.kit(name, changes, stages="", cache=f"cache-{name}")
        ran = bench.stages(folder_of(name), "train predict")
        repeated = ran.result["steps"] + ran.result["valid"]
        seconds = total(prepared) + ran.seconds - repeated + repeated / num_epochs * work.epochs
        peer = bench.all_folds(bench.peer(name))
        one_view.append((seconds, peer))
        four_views.append((seconds + 3 * ran.result.get("trunk", 0), peer))
    size = f"tail {work.folds} x {work.epochs}"
    row = compare_pairs(f"{size}, views=1", one_view, ">= 3.6", "both scaled from real epochs")
    return [
        row,
        compare_pairs(f"{size}, views=4", four_views, "", "3 more passes of the trunk added"),
        *bench.frameworks(size, "tail-0", row.kit, bench.all_folds),
    ]


def full(bench: Bench) -> list[Row]:
    """Everything learns: one epoch of one fold, and how near its steps come to those of the model alone."""
    whole, kit_steps, peer_steps, num_folds = [], [], [], bench.work.folds
    for pair in range(bench.work.pairs):
        name = f"full-{pair}"
        prepared = bench.kit(name, bench.settings("all", epochs=1, augment="none"), stages="")
        step = bench.call("src.extras.bench.inside", "ceiling", folder_of(name)).result["step"]
        ran = bench.stages(folder_of(name), "train predict")
        peer = bench.peer(name)
        # all processes of the kit, but one fold in place of all; the test images on both sides
        repeated = ran.result["steps"] + ran.result["valid"] + ran.result["test"]
        seconds = total(prepared) + ran.seconds - repeated * (num_folds - 1) / num_folds
        whole.append((seconds, seconds_of_fold(peer)))
        ceiling = step * peer.result["steps"]
        kit_steps.append(ceiling * num_folds / ran.result["steps"])
        peer_steps.append((ceiling, peer.result["training"][0]))
    work, note = (
        "full, one epoch of one fold, whole process",
        "kit: the mean of its folds, decoding and start whole",
    )
    row = compare_pairs(work, whole, ">= 1.5", note)
    share = median(kit_steps)
    ceiling, theirs = (median(seconds) for seconds in zip(*peer_steps))
    work = "  training part over the model alone on made-up tensors"
    return [
        row,
        *bench.frameworks("full", "full-0", row.kit, seconds_of_fold),
        Row(work, ceiling / share, ceiling, share, ">= 0.9", "share of the ceiling"),
        Row("  the peer's share of that ceiling", theirs, ceiling, ceiling / theirs, "", ""),
    ]


def seconds_of_fold(peer: Process) -> float:
    """The peer's process for one fold and epoch; of Lightning and fastai without the validation after it."""
    return peer.result["start"] + peer.result["epoch"][0] + peer.result["test"]


def step(bench: Bench) -> list[Row]:
    """A training step on the cached output of the trunk."""
    words = ("step", bench.work.step, str(bench.work.pairs))
    result = bench.call("src.extras.bench.inside", *words).result
    backbone = bench.work.step.split()[0].partition("=")[2]
    return [Row(f"step, {backbone} from its last block on", **result, required=">= 2.5", note="per step")]


def demo(bench: Bench) -> list[Row]:
    """The whole demo, in training steps of its whole backbone with 32 of its images."""
    bench.call("src", "data", folder_of("demo"), demo=True)
    seconds, num_steps = [], []
    for pair in range(bench.work.pairs):
        run = bench.kit(f"demo-{pair}", bench.work.demo, demo=True, cache=f"cache-demo-{pair}")
        step = bench.call("src.extras.bench.inside", "plain", "tf_efficientnet_lite0", "12").result["step"]
        seconds.append((total(run), step))
        num_steps.append(total(run) / step)
    whole, step = (median(column) for column in zip(*seconds))
    note = "the ratio: how many steps of 32 images of 96 px by AdamW take as long"
    return [Row("the demo from its images to its csv", whole, step, median(num_steps), "<= 330", note)]


def adamp(bench: Bench) -> list[Row]:
    """The optimizer's step against that of its package."""
    rows, note = [], "bit-equal, asserted"
    for backbone, pairs, speedup in bench.work.optimizers:
        result = bench.call("src.extras.bench.inside", "adamp", backbone, str(pairs)).result
        rows.append(Row(f"AdamP step, {backbone}", **result, required=f">= {speedup:g}", note=note))
    return rows


def inference(bench: Bench) -> list[Row]:
    """All folds' models on two views of the test images; the peer passes each image through each of them."""
    engine, num_folds, inside, whole = engines()[-1], bench.work.folds, [], []
    for pair, (_, peer) in enumerate(bench.heads(engine)):
        options = {"engine": engine, "cache": f"cache-inference-{pair}"}
        changes = bench.settings("head", tta="hflip")
        ran = bench.kit(f"head-{engine}-{pair}", changes, stages="predict", **options)["predict"]
        passes = 2 * num_folds * peer.result["test"]
        inside.append((ran.result["all"] - ran.result["start"] - ran.result["held"], passes))
        whole.append((ran.seconds - ran.result["held"], peer.result["start"] + passes))
    work = f"inference {num_folds} folds x 2 views, {engine}, in the process"
    note = "peer scaled from 1 model and view; held-out views, which it has none of, taken out"
    return [compare_pairs(work, inside, ">= 8", note), compare_pairs("  whole process", whole, ">= 5", note)]


def memory(bench: Bench) -> list[Row]:
    """Peak memory, and whether it grows with the folds."""
    kit, peer = bench.heads("torch")[0]
    highest = max(process.peak for process in kit.values())
    folds = sorted((bench.folder / folder_of("head-torch-0")).glob("fold*/done.json"))
    held = [read_json(path)["memory"]["rss_mib"] for path in folds]
    last, second = held[-1], held[min(1, len(held) - 1)]
    work = "process memory after the last fold over after the second, MiB"
    return [
        Row(
            "peak memory, MiB", highest, peer.peak, peer.peak / highest, ">= 1", "the largest process of each"
        ),
        Row(work, last, second, last / second, "<= 1.03", ""),
    ]


def growth(bench: Bench) -> list[Row]:
    """Seconds of the train stage against the model once + t V N + a K E N (images N, views V, folds K, epochs
    E), fitted to all sizes together by least squares.
    """
    names, factors, seconds = [], [], []
    base = dict(pair.split("=") for pair in bench.work.growth_base.split())
    for name, size in ((name, size) for name, sizes in bench.work.growth for size in sizes):
        changes = base | {name: str(size), "trainable": bench.work.tail}
        run, text = f"grow-{name}-{size}", " ".join(f"{key}={value}" for key, value in changes.items())
        result = bench.kit(run, text, stages="train predict", cache=f"cache-{run}")["train"].result
        n, k, e, v = (int(changes[key]) for key in ("limit", "folds", "epochs", "views"))
        names.append(f"growth: {name}={size}")
        factors.append((1, v * n, (k - 1) * e * n))  # each fold learns from K - 1 of K parts
        seconds.append(result["all"] - result["start"])
    matrix = np.array(factors, dtype=float)
    weights = np.linalg.lstsq(matrix, np.array(seconds), rcond=None)[0]
    expected = (matrix @ weights).tolist()
    once, view, epoch = weights
    note = f"fitted: {once:.1f} s + {view * 1e3:.1f} ms V N + {epoch * 1e3:.2f} ms (K-1) E N"
    rows = [Row(name, a, b, a / b, "") for name, a, b in zip(names, seconds, expected)]
    return [rows[0]._replace(note=note), *rows[1:]]


def feed(bench: Bench) -> list[Row]:
    """Images per second that the input pipeline delivers, and what augmentation takes of a training in which
    everything learns.
    """
    words = [",".join(map(str, values)) for values in bench.work.feed]
    kit, peer = (bench.call("src.extras.bench.feed", by, *words).result for by in ("kit", "peer"))
    rows = []
    for case, ours in kit.items():
        augment, size, cores = case.split()
        work = f"input, augment={augment}, {size} px, {cores} cores, s for 1,000 images"
        note = f"{ours:,.0f} images/s, peer {peer[case]:,.0f}"
        required = ">= 3" if augment == "medium" else ">= 1"
        rows.append(Row(work, 1000 / ours, 1000 / peer[case], ours / peer[case], required, note))
    return [*rows, augmented_full(bench)]


def augmented_full(bench: Bench) -> Row:
    """As in full, with augment=medium: its training part over the model alone."""
    name, num_folds = "full-medium", bench.work.folds
    bench.kit(name, bench.settings("all", epochs=1, augment="medium"), stages="")
    step = bench.call("src.extras.bench.inside", "ceiling", folder_of(name)).result["step"]
    result = bench.stages(folder_of(name), "train").result
    ceiling = step * result["num_steps"]
    work = "full, augment=medium: training part over the model alone on made-up tensors"
    share = ceiling / result["steps"]
    return Row(work, result["steps"], ceiling, share, ">= 0.93", f"share of the ceiling, {num_folds} folds")


PARTS = {
    part.__name__: part for part in (head, tail, full, step, demo, adamp, inference, memory, growth, feed)
}
