"""What the files of a competition do not tell. For the usual layouts there is nothing to write.

Else write a function that states the one fact, and name it in COMPETITIONS. All other facts are still
inferred; src/competition/facts.py lists them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np  # noqa: F401    for functions of your own, such as a read_image
import pandas as pd

from src.competition import definition, tables
from src.competition.facts import Competition
from src.competition.inference.complete import infer
from src.competition.stated import FILE, beside, fits

# -- definitions: each states what its files do not tell


def melanoma() -> Competition:
    """SIIM-ISIC Melanoma: each image comes as DICOM and as JPEG, patients have several images, and the metric
    reads probabilities.
    """
    return Competition(
        train_images="jpeg/train/{id}.jpg",
        test_images="jpeg/test/{id}.jpg",
        group="patient_id",
        metric="roc_auc",
    )


def rsna_mammography() -> Competition:
    """RSNA 2022: several images per breast, one row per breast. test.csv names the row; for train.csv it is
    built. This reads PNG; add read_image=read_dicom for the host's own files.
    """
    return Competition(row="{patient_id}_{laterality}", group="patient_id")


def dogs_vs_cats() -> Competition:
    """No csv and no folders: train/cat.0.jpg. The 0.5 of the sample asks for the probability of the later
    class, dog.
    """
    return Competition(train_images="train/{label}.{number}.*", metric="log_loss")


def mask() -> Competition:
    """18 classes: mask * 6 + gender * 3 + age band. The seven photographs of a person stay in one fold."""
    return Competition(
        make_table=mask_table,
        labels=("label",),
        group="person",
        sample_csv="eval/info.csv",
        test_images="eval/images/{id}",
    )


def mask_table(root: Path) -> pd.DataFrame:
    """Read from names such as train/images/000001_female_Asian_45/incorrect_mask.jpg."""
    table = tables.from_names(root, "train/images/{person}_{gender}_{race}_{age}/{kind}.*")
    worn = table["kind"].map(lambda kind: {"incorrect_mask": 1, "normal": 2}.get(kind, 0))
    age = table["age"].astype(int)
    label = worn * 6 + table["gender"].map({"male": 0, "female": 1}) * 3 + (age >= 30) + (age >= 60)
    return table.assign(label=label.astype(int).astype(str))


# each applies to a folder with the host's full name, and only if its files are there
EXAMPLES = {
    "siim-isic-melanoma-classification": melanoma,
    "rsna-breast-cancer-detection": rsna_mammography,
    "dogs-vs-cats-redux-kernels-edition": dogs_vs_cats,
    "boostcamp-mask-wearing-status-classification": mask,
}
# add yours: a function above, under the name of its folder here; or write inputs/COMP/competition.py instead
COMPETITIONS: dict[str, Callable[[], Competition]] = {}


# -- loading


def load(comp: str, inputs: Path) -> Competition:
    """The competition in the folder inputs/comp: what is stated, completed from its files. Raises
    ValueError where the files are missing or ambiguous.
    """
    root = inputs / comp
    if not root.is_dir():
        raise ValueError(
            f"no folder {root}: unpack the competition's files there (train.csv, sample_submission.csv, image"
            f" folders), or link them: ln -s /where/they/are {root}"
        )
    return infer(replace(stated_for(comp, root), name=comp), root)


def remembered(facts: dict[str, dict], comp: str, *folders: Path) -> Competition:
    """The competition of a run as its split has written it down (definition.as_json): nothing is inferred, so
    no training file need be there. folders: where its competition.py may be. Raises ValueError without it.
    """
    if not facts["functions"]:
        return definition.from_json(facts, Competition())
    root = next((folder for folder in folders if (folder / FILE).is_file()), Path(comp))
    return definition.from_json(facts, stated_for(comp, root))


def stated_for(comp: str, root: Path) -> Competition:
    """What is stated: in competition.py beside the files, else in COMPETITIONS, else in an example whose
    files are there.
    """
    if (root / FILE).is_file():
        return beside(root / FILE)
    if comp in COMPETITIONS:
        return COMPETITIONS[comp]()
    example = EXAMPLES[comp]() if comp in EXAMPLES else Competition()
    return example if fits(example, root) else Competition()
