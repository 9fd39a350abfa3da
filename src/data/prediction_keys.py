"""Which predictions of a fold's model are there already, and still of this model, these images
and this code.
"""

from collections.abc import Iterable
from pathlib import Path

from src.data.recipe import backbone_code
from src.data.run import Run
from src.data.views import tta_views
from src.run import hashing, reuse
from src.run.errors import warn
from src.run.files import Damaged, check_file, read_json, sha256
from src.run.paths import RunPaths, fold_name


def predicting_code(run: Run) -> hashing.Units:
    """The code that predicts: the views, the reading of images, the model."""
    competition = run.competition
    views = [f"src.data.augment:VIEWS[{view}]" for view in tta_views(run.config) if view != "plain"]
    readers = [competition.read_image] if competition.read_image else []
    task = f"src.competition.tasks:TASKS[{competition.task}]"
    return hashing.reach(
        "src.predict:prepare_images",
        "src.predict:predict_views",
        task,
        f"src.data.images:RESIZES[{run.config.resize}]",
        *backbone_code(run.config),
        *views,
        *readers,
    )


def prediction_key(run: Run, fold: int, code: hashing.Units, images: list) -> str:
    """Of all that a fold's predictions depend on: its model, the images and extra columns, the views, the
    code. With an equal key they are not made again.

    Code that training shares is not among it: with a fold's model belongs the code that trained it (see
    check_shared_code).
    """
    done = read_json(run.paths.fold(fold).done)
    of_training = done["code"]
    alone = {
        file: {name: sha for name, sha in units.items() if name not in of_training.get(file, {})}
        for file, units in hashing.own(code).items()
    }
    alone = {file: units for file, units in alone.items() if units}
    of = [done["files"]["model.safetensors"], done["recipe"], run.config.tta, images, alone]
    if run.config.test_size:
        of.append(run.config.test_size)
    return sha256(of)


def check_shared_code(paths: RunPaths, numbers: Iterable[int], code: hashing.Units) -> None:
    """Raises ValueError where a model would be given images by other code than it has learned with."""
    units = {f"{file}: {name}" for file, names in code.items() for name in names}
    for k in numbers:
        edited = [unit for unit in reuse.changed_code(read_json(paths.fold(k).done)) if unit in units]
        if edited:
            raise ValueError(
                f"{fold_name(k)} of {paths.root} was trained before {hashing.few(edited)} changed, and would"
                f" predict by the new code: make retrain RUN={paths.name}, or undo the edit"
            )


def is_made(product: Path, note: Path, key: str) -> bool:
    """Whether it is there, of these models and images, and as it was written. What is damaged is
    made again.
    """
    if not product.exists() or not note.exists():
        return False
    try:
        written = read_json(note)
        if written["key"] != key:
            return False
        check_file(product, written["sha256"])
    except Damaged as damage:
        warn(f"predicted again: {damage.path} is damaged ({damage.why})")
        return False
    return True
