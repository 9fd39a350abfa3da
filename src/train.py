"""Train every unfinished fold, one after another, memory given back between them; then score.  folds.csv ->
fold<k>/, oof.parquet, score.json
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from src.competition import decoders, scoring
from src.competition.tasks import TASKS, loss_name
from src.config import as_dict
from src.data.batches import SAMPLERS
from src.data.images import RESIZES
from src.data.inputs import Inputs, largest_batch
from src.data.recipe import check_code, differences
from src.data.run import Run
from src.data.training_table import TrainingTable, add_pseudo_labels, load_training_table
from src.data.views import training_views, tta_views
from src.evaluate import evaluate, score_lines
from src.model.heads import MARGINS
from src.model.pretrained import pretrained_hash
from src.prepare import prepare_inputs
from src.run import locks, memory, predictions, ranks, reuse
from src.run.choices import pick
from src.run.clock import Clock
from src.run.device import choose_device
from src.run.errors import Stopped, warn
from src.run.files import file_sha, read_json, write_json
from src.run.paths import REFIT, FoldPaths, RunPaths, fold_name
from src.solve_fold import solve_fold
from src.train_fold import train_fold
from src.training import state_files
from src.training.loop import NotFinite
from src.training.losses import LOSSES, ONE_CLASS
from src.training.schedules import SCHEDULES


def train(run: Run, only: Sequence[int] | None = None, *, is_shared: bool = False) -> None:
    """Finish the folds (or only some), then score them, unless this is one of several processes (is_shared).
    Raises ValueError for settings or data that don't work.
    """
    if ranks.count() > 1:
        ranks.begin(choose_device(run.machine.device))
    table = load_training_table(run, pretrained_hash(run.config))
    check_names(run)
    numbers = chosen_folds(table, only)
    check_code(run.paths, table.recipe, numbers)
    later = 0 if only else run.config.refit
    is_alone = not is_shared or ranks.count() > 1  # at its fold: no other process takes one of the rest
    held = finish_folds(table, numbers, later=later if is_alone else None)
    if is_shared:
        if is_alone and not only and not held:
            refit(run)
        return
    refuse_held(run.paths, held)
    if only:
        print(partial_score(table, numbers))
        return
    score_folds(table)
    refit(run)


def chosen_folds(table: TrainingTable, only: Sequence[int] | None) -> list[int]:
    """These folds, or all. Raises ValueError for one that there is not."""
    if unknown := sorted({*(only or [])} - {*table.folds}):
        raise ValueError(
            f"FOLD={unknown[0]} does not exist; the folds are {table.folds[0]} to {table.folds[-1]}"
        )
    return list(only or table.folds)


def prepare(run: Run) -> None:
    """Decode the images and run the trunk over them, so that processes that train the folds find them done.
    Raises Stopped with the part saved.
    """
    table = add_pseudo_labels(load_training_table(run, pretrained_hash(run.config)))
    check_names(run)
    clock = Clock(run.machine)
    with clock.listening():
        prepare_inputs(table, clock)


def refit(run: Run) -> None:
    """Train the models that learn from all images, each with the next seed: by the folds' recipe and files,
    but nothing is held out to score them.
    """
    for number in range(run.config.refit):
        config = replace(run.config, seed=run.config.seed + number)
        seeded = replace(run, settings=replace(run.settings, config=config))
        table = load_training_table(seeded, pretrained_hash(config))
        later = run.config.refit - number - 1
        refuse_held(run.paths, finish_folds(table, [REFIT - number], later=later))


def finish_folds(table: TrainingTable, numbers: Sequence[int], *, later: int | None) -> dict[int, str]:
    """Train the folds that are not finished; returns those that other processes are at, and who that is.
    later: how many models are to be trained after these; None where processes share the folds.

    It goes round until that brings nothing more: another process may have died, and left its fold.
    """
    clock = Clock(table.run.machine)
    with clock.listening():
        todo, held = ranks.from_main(lambda: unfinished(table, numbers))
        if not todo:
            return held
        table = add_pseudo_labels(table)
        inputs = prepare_inputs(table, clock)
        baseline = memory.baseline(inputs.device)
        while todo:
            for position, fold in enumerate(todo, start=1):
                clock.folds_after = None if later is None else len(todo) - position + later
                finish_fold(table, inputs, fold, clock, baseline)
            todo, held = ranks.from_main(lambda: unfinished(table, numbers))
        return held


def unfinished(table: TrainingTable, numbers: Sequence[int]) -> tuple[list[int], dict[int, str]]:
    """(folds to be trained, fold -> the process that trains it now). A fold of another recipe is moved to
    old/, and one that another run has trained by this very recipe is taken over.
    """
    todo, held = [], {}
    for fold in numbers:
        with locks.lock(table.run.paths.lock(fold)) as holder:
            if holder:
                held[fold] = holder
            elif not is_finished(table, fold):
                todo.append(fold)
    return todo, held


def is_finished(table: TrainingTable, fold: int) -> bool:
    """Whether the fold is trained by this very recipe, here or, taken over, in another run."""
    paths, files = table.run.paths, table.run.paths.fold(fold)
    origin = reuse.origin(files)
    if origin and (changes := differences(origin, table.recipe)):
        verb = "was trained" if files.done.exists() else "was in training"
        print(
            f"{fold_name(fold)} {verb} with {'; '.join(changes)}; kept in"
            f" {reuse.retire(files, origin['recipe'])}"
        )
    if not files.done.exists():
        source = reuse.adopt_fold(paths, fold, table.recipe_hash, table.run.settings.comp)
        if source:
            print(f"{fold_name(fold)}: the same recipe as in run {source}, taken over")
    if files.done.exists():
        state_files.clear(files.state)  # a kill may have come before that
    return files.done.exists()


def finish_fold(table: TrainingTable, inputs: Inputs, fold: int, clock: Clock, baseline: int) -> None:
    """Train one fold, unless another process has it by now, and close it with done.json; then give its memory
    back. baseline: bytes of the GPU that are in use between folds. Raises Stopped.
    """
    files = table.run.paths.fold(fold)
    with locks.shared(table.run.paths.lock(fold)) as holder:
        # it was unfinished and free before the inputs were prepared
        if holder or ranks.from_main(files.done.exists):
            return
        if ranks.agree(bool(clock.asked)):
            raise Stopped(f"{clock.asked}: {fold_name(fold)} is next; the same command goes on with it")
        clock.begin()
        result, watch = train_with_largest_batch(table, inputs, fold, clock)
        used = memory.free(watch, inputs.accelerator, device=inputs.device)
        if ranks.is_main():
            machine = as_dict(table.run.machine) | {"engine": inputs.engine}
            close(files, result | {"memory": used, "machine": machine})
        ranks.agree()
        judge_memory(table.run, fold, watch, inputs.device, baseline)


def close(files: FoldPaths, result: dict) -> None:
    """Write done.json, with hashes of the fold's files, and remove its state."""
    written = [file for file in (files.model, files.valid, files.valid_epochs, files.log) if file.exists()]
    write_json(result | {"files": {file.name: file_sha(file) for file in written}}, files.done)
    state_files.clear(files.state)


def train_with_largest_batch(
    table: TrainingTable, inputs: Inputs, fold: int, clock: Clock
) -> tuple[dict, memory.Watch]:
    """train_fold with the batch size of the settings, or the largest half, quarter ... of it that fits in
    memory.
    """
    config = table.run.config
    batch = memory.BatchSize(largest_batch(config), fold_name(fold), f", accumulated to {config.batch_size}")
    try:
        if config.solver == "exact":
            return batch.fit(lambda size: solve_fold(table, inputs, fold, size))
        return batch.fit(lambda size: train_with_batch(table, inputs, fold, size, clock))
    except NotFinite as error:
        ids = table.frame["id"].iloc[error.rows].tolist()
        raise ValueError(f"{fold_name(fold)}: {error}; images {ids}: {error.advice}") from error


def train_with_batch(
    table: TrainingTable, inputs: Inputs, fold: int, size: int, clock: Clock
) -> tuple[dict, memory.Watch]:
    """train_fold. Raises ValueError where processes in lockstep run out of memory: the others wait for this
    one in the middle of a forward pass.
    """
    try:
        return train_fold(table, inputs, fold, size, clock)
    except RuntimeError as error:
        in_lockstep = table.run.machine.sync_batchnorm and ranks.count() > 1
        if not in_lockstep or not memory.is_out_of_memory(error):
            raise
        raise ValueError(
            f"{fold_name(fold)}: out of memory, and with sync_batchnorm=true no process can turn back: set a"
            " smaller batch_size and a larger accumulate, which make the same step"
        ) from error


def judge_memory(run: Run, fold: int, watch: memory.Watch, device: torch.device, baseline: int) -> None:
    """Warn of a finished fold that is still in memory; MACHINE="memory=strict" raises MemoryHeld."""
    try:
        memory.judge(watch, device=device, baseline=baseline)
    except memory.MemoryHeld as complaint:
        if run.machine.memory == "strict":
            raise
        warn(f"{fold_name(fold)} is finished, but {complaint}")


def score_folds(table: TrainingTable) -> None:
    """Score the finished folds together."""
    score = evaluate(table.run, table.frame)
    print(score_lines(score))


def partial_score(table: TrainingTable, numbers: Sequence[int]) -> str:
    """A line with the score of some folds, alone and together."""
    paths, competition = table.run.paths, table.run.competition
    scores = [f"{fold_name(k)} {read_json(paths.fold(k).done)['score']:.4f}" for k in numbers]
    line = f"{competition.metric_name} of {len(numbers)} of {len(table.folds)} folds: {', '.join(scores)}"
    if len(numbers) > 1:
        held_out = table.frame[table.frame["fold"].isin(numbers)]
        valid = predictions.join(predictions.read(paths.fold(k).valid) for k in numbers)
        line += f"; together {scoring.score(competition, held_out, valid):.4f}"
    return f"{line} (not all folds, so no OOF score is written)"


def check_names(run: Run) -> None:
    """Look up every name in the settings. Raises ValueError for unknown ones, and for a loss that the task
    can't have.
    """
    config, task = run.config, run.competition.task
    loss = loss_name(config.loss, task)
    pick(LOSSES, loss, "loss", "src/training/losses.py")
    if loss in ONE_CLASS and TASKS[task].loss not in ONE_CLASS:
        raise ValueError(
            f"loss={loss} is for one class per image, and task={task!r} is not: set loss=auto, which is"
            f" {TASKS[task].loss}"
        )
    if config.head in MARGINS and TASKS[task].loss not in ONE_CLASS:
        raise ValueError(
            f"head={config.head} puts a margin between classes, and task={task!r} has no single class per"
            " image: set head=cosine, or head=linear"
        )
    pick(SCHEDULES, config.schedule, "schedule", "src/training/schedules.py")
    pick(SAMPLERS, config.sampler, "sampler", "src/data/batches.py")
    pick(RESIZES, config.resize, "resize", "src/data/images.py")
    decoders.choose(config.decode, run.competition)
    training_views(config, run.competition, has_trunk=False)
    tta_views(config)


def refuse_held(paths: RunPaths, held: dict[int, str]) -> None:
    """Raises ValueError where other processes are still training folds."""
    for fold, holder in held.items():
        raise ValueError(
            f"{fold_name(fold)} of {paths.root} is being trained by {holder}: wait for it or end it; nothing"
            " else is left to do"
        )
