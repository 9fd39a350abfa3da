"""Solve one fold's head exactly, in place of steps: a linear model of the frozen backbone's features, with a
C of its own.  TrainingTable, Inputs -> the files of a fold that train_fold writes
"""

import numpy as np
import pandas as pd
import torch

from src.data.batches import Batches, in_parts
from src.data.inputs import Inputs
from src.data.run import make_tracker
from src.data.training_table import FoldTable, TrainingTable
from src.model.classifier import Classifier
from src.run import memory
from src.run.files import naming, write_text
from src.run.paths import fold_name
from src.train_fold import finish, make_checkpoint, make_learner, make_model
from src.training.linear import Axes, Examples, choose_c, solve
from src.training.loop import Learner, Step, smooth
from src.validation import Validation


def solve_fold(table: TrainingTable, inputs: Inputs, fold: int, batch_size: int) -> tuple[dict, memory.Watch]:
    """Fit the head and write the fold's files, all but done.json. Returns what done.json will say, and a
    watch on what must be freed afterwards. It takes seconds, so a stop begins it anew.

    C is chosen by the loss of the other folds, each in turn held out: nothing of this fold is looked at.
    """
    run, files, rows = table.run, table.run.paths.fold(fold), table.for_fold(fold)
    model = make_model(inputs, rows)
    watch = memory.watch(model, inputs.template and inputs.template.trunk)
    layer = last_layer(model)
    checkpoint = make_checkpoint(table, inputs, model, batch_size)
    learner = make_learner(run, inputs, model, checkpoint, fold)
    batches, validation = inputs.batches(rows), Validation(run, rows, model, learner)
    write_text("", files.log)
    with make_tracker(run, files.log, files.root.name, "fold") as tracker:
        examples, positions = training_examples(model, inputs, batches, rows, learner)
        axes = Axes.of(examples.x)
        examples = examples._replace(x=axes.apply(examples.x))
        roughly = Examples(*(values.float() for values in examples))  # single precision tells a C as well
        c = choose_c(roughly, axes.variance.float(), learner.loss_fn, inner_folds(rows, positions))
        solution = solve(examples, axes.variance, learner.loss_fn, c)
        with torch.no_grad():
            for parameter, values in zip((layer.weight, layer.bias), axes.undo(solution)):
                parameter.copy_(values)
        logits = examples.x @ solution[:-1] + solution[-1]
        loss = (learner.loss_fn(logits, examples.target) * examples.weight).mean().item()
        checkpoint.advance(Step(0, loss, len(positions), has_updated=True, ends_epoch=True))
        valid = validation.after_epoch(batches)
        figures = {"loss": loss, **valid.figures, "C": c}
        with naming(files.log):
            tracker.log({"epoch": 1, **figures})
        print(f"{fold_name(fold)}  " + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        validation.check(valid, checkpoint)
        checkpoint.end_epoch(valid.predictions, valid.score)
        return finish(checkpoint, validation, files, tracker), watch


def last_layer(model: Classifier) -> torch.nn.Linear:
    """The one layer that learns. Raises ValueError where others learn too."""
    layers = [module for module in model.head.modules() if isinstance(module, torch.nn.Linear)]
    names = [name for name, _, _ in model.learning()]
    if len(layers) != 1 or len(names) != 2:
        raise ValueError(
            f"solver=exact fits one linear layer, and {', '.join(names[:4])} learn here: set trainable=head"
            " head=linear and a backbone without new layers, or solver=steps"
        )
    return layers[0]


def training_examples(
    model: Classifier, inputs: Inputs, batches: Batches, rows: FoldTable, learner: Learner
) -> tuple[Examples, np.ndarray]:
    """The training images in each of their views, and their positions (n,) in the table."""
    parts, positions = [], []
    steps = [[part] for part in in_parts(rows.training, 2 * learner.config.batch_size)]
    model.eval()
    for view in range(batches.num_views):
        for batch in batches.train_epoch(steps, epoch=view):
            with torch.no_grad(), learner.accelerator.autocast():
                features = batch.image if inputs.is_cached else model.features(batch.image)
            x = torch.cat([features.flatten(1), batch.extra], dim=1)
            target = smooth(batch.target, learner.label_smoothing)
            parts.append([values.cpu().double() for values in (x, target, batch.weight)])
            positions.append(batch.index.cpu().numpy())
    return Examples(*(torch.cat(values) for values in zip(*parts))), np.concatenate(positions)


def inner_folds(rows: FoldTable, positions: np.ndarray) -> np.ndarray:
    """The folds (n,) that choose C: the other ones. With a single other fold, thirds of its groups."""
    folds = rows.frame["fold"].to_numpy()[positions]
    if len({*folds.tolist()} - {-1}) > 1:
        return folds
    return pd.factorize(rows.frame["group"])[0][positions] % 3
