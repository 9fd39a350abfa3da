"""Folds of made-up predictions, for a table of more rows than could be trained in minutes: all that reads and
joins tables is the real one.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import tables
from src.config import as_dict
from src.data.run import Run
from src.data.training_table import TrainingTable, load_training_table
from src.evaluate import evaluate
from src.model.pretrained import pretrained_hash
from src.predict import origin_of
from src.run import predictions, provenance
from src.run.files import file_sha, write_json, write_text

NUM_EPOCHS = 3


def make_up(run: Run, note: Path) -> None:
    """Write the files of all folds; then score them and write their mean test predictions, as train and
    predict do. note: where it writes down what it is at.
    """
    note.write_text("table")
    table = load_training_table(run, pretrained_hash(run.config))
    test = tables.make_test(run.inputs, run.competition)
    for fold in table.folds:
        note.write_text("table")
        rows = table.for_fold(fold)
        note.write_text("start")
        write_fold(table, fold, rows.held_out_frame["id"], test["id"])
    note.write_text("evaluate")
    evaluate(run, table.frame)
    note.write_text("mean")
    folds = {run.paths.fold(k).root.name: run.paths.fold(k) for k in table.folds}
    mean = predictions.mean(predictions.read_fold_test(files) for files in folds.values())
    predictions.write_test(mean, run.paths, {name: origin_of(files) for name, files in folds.items()})
    note.write_text("start")


def write_fold(table: TrainingTable, fold: int, held_out: pd.Series, tested: pd.Series) -> None:
    """What a training and a prediction leave, but for a model."""
    run, files, rng = table.run, table.run.paths.fold(fold), np.random.default_rng(fold)

    def random_for(ids: pd.Series) -> pd.DataFrame:
        values = rng.random((len(ids), len(run.competition.outputs)), np.float32)
        return predictions.make(ids, values / values.sum(axis=1, keepdims=True), run.competition.outputs)

    files.root.mkdir(parents=True)
    epochs = [random_for(held_out) for _ in range(NUM_EPOCHS)]
    predictions.write(epochs[-1], files.valid)
    numbered = [frame.assign(epoch=number) for number, frame in enumerate(epochs)]
    pd.concat(numbered).to_parquet(files.valid_epochs, compression="zstd")
    predictions.write(random_for(tested), files.test)
    hashes = {file.name: file_sha(file) for file in (files.valid, files.valid_epochs)}
    done = table.recipe | {
        "recipe": table.recipe_hash,
        "code": table.code,
        "versions": provenance.versions(),
        "machine": as_dict(run.machine),
        "score": 0.0,
        "files": hashes,
        **dict.fromkeys(("seconds", "memory", "batch_size"), 0),
    }
    write_json(done, files.done)
    write_json({"sha256": file_sha(files.test), "seconds": 0.0, "unreadable": {}}, files.test_json)
    write_text("", files.log)
