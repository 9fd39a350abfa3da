"""What of a run is there already: its folds, decoded images, the trunk's outputs, trained models."""

from pathlib import Path

import pandas as pd

from src.competition import tables
from src.data import contents, decoding, features
from src.data.recipe import image_contents, make_recipe, recipe_hash
from src.data.run import Run, at_test_size
from src.data.views import TrainingViews, tta_views, without_draws
from src.extras.costs import STAGES
from src.model.classifier import Classifier
from src.model.engines import Trunk
from src.model.pretrained import pretrained_hash
from src.run import reuse
from src.run.device import make_accelerator
from src.run.files import read_json


def split_alike(run: Run) -> Path | None:
    """folds.csv of the run, or of another one that is split by the same settings."""
    wanted = read_json(run.paths.settings("split"))
    for paths in (run.paths, *reuse.siblings(run.paths)):
        settings = paths.settings("split")
        if paths.folds.exists() and settings.exists() and read_json(settings) == wanted:
            return paths.folds
    return None


def are_decoded(run: Run, images: pd.DataFrame) -> bool:
    """Are the table's images decoded at this size? No file is read for that: those that were decoded have
    been hashed.
    """
    names = [f"{run.inputs}/{path}" for path in images["path"]]
    if not all(contents.look_up(names, run.settings.memory)["digest"]):
        return False
    return decoding.place(run, images, image_contents(run, images))[0].exists()


def share_of_views(run: Run, model: Classifier, images: pd.DataFrame, views: TrainingViews) -> float:
    """The share of these views that have passed the trunk. The images are decoded."""
    if not views:
        return 0.0
    accelerator = make_accelerator(run.machine)
    trunk = Trunk(model.to(accelerator.device), run.machine, accelerator)
    of = features.made_from(run, trunk, decoding.decode(run, images, tolerant=True), accelerator)
    shares = []
    for engine in {trunk.engine, "torch"}:  # torch takes over what an engine can't run
        notes = features.notes_of(run.config, of, engine, views)
        there = [features.cache_path(run, engine, view, note).exists() for view, note in notes.items()]
        shares.append(sum(there) / len(there))
    return max(shares)


def shares_done(
    run: Run, models: Run, model: Classifier, views: TrainingViews, test: pd.DataFrame
) -> dict[str, float]:
    """part, as in costs.parts -> the share of it that is there. run: with the settings that are planned;
    models: the run whose models count, if its settings are these.
    """
    folds = split_alike(models)
    if folds is None:
        return {}
    table, done = tables.read_folds(folds), {"split": 1.0}
    if are_decoded(run, table):
        done |= {"decode": 1.0, "trunk": share_of_views(run, model, table, views)}
    predicted = at_test_size(run)
    if are_decoded(predicted, test):
        size = predicted.config.image_size
        test_views = without_draws(tta_views(run.config), size)
        done |= {"test decode": 1.0, "test trunk": share_of_views(predicted, model, test, test_views)}
    if run.config != models.config:
        return done
    done["folds"] = share_trained(run, table)
    if done["folds"] == 1:
        done |= {"checks": 1.0, "evaluate": float(run.paths.score.exists())}
    if run.paths.test_json.exists() and done["folds"] == 1:
        done |= dict.fromkeys(STAGES["predict"], 1.0)
    return done


def share_trained(run: Run, table: pd.DataFrame) -> float:
    """The share of the folds that are finished, by the recipe that the settings now give."""
    finished = run.paths.finished()
    if not finished:
        return 0.0
    recipe = recipe_hash(make_recipe(run, table, pretrained_hash(run.config)))
    same = [k for k in finished if read_json(run.paths.fold(k).done)["recipe"] == recipe]
    return len(same) / run.config.folds
