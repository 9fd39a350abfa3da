"""What a competition is: everything that is the host's and not ours. For the usual layouts nothing is to be written: the files tell it.

Where they do not, write a function that states the one fact and name it in COMPETITIONS; what is not stated is still inferred."""
import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from src import predictions
from src.data import tables
from src.fit.metrics import LOWER_IS_BETTER, METRICS, PROBABILITY_METRICS, split_words
from src.tasks import TASKS


@dataclass(frozen=True)
class Competition:
    """A field at its default is inferred, where its comment does not say otherwise. Columns are those of the host's csv."""

    name: str = ""                          # the folder below inputs/; every path here is relative to it
    train_csv: str = ""                     # none: the images' own names tell the label
    test_csv: str = ""                      # none: the sample lists the test images, or the test folder does
    sample_csv: str = ""                    # none: every test image is a row
    train_images: str = ""                  # a pattern with {id} or any {column}; ".*" is any image suffix, "**/" any folders between.
    test_images: str = ""                   # Without a csv its {names} become the columns, as in "train/{label}/*"
    id: str = ""                            # the column that names an image
    row: str = ""                           # the column, or pattern of columns, that names a line of the submission; none: the id
    labels: tuple[str, ...] = ()            # the column(s) of the train csv to be predicted: a label, words, or a number per column
    scored: tuple[str, ...] = ()            # the outputs that the submission wants, where others learn along
    features: tuple[str, ...] = ()          # extra columns, of train and test csv, given to the head; not inferred
    group: str = ""                         # the column whose images stay in one fold together, such as a patient; not inferred
    task: str = ""                          # a name in TASKS
    classes: tuple[str, ...] = ()           # in the order of the outputs
    header: tuple[str, ...] = ()            # the submission's columns, the row's first
    pool: str | Callable = "mean"           # joins the images of a row: mean, max, or a function, frame (n, T) -> series (T,)
    answer: str | Callable = ""             # a name in ANSWERS, or a function (predictions by row, sample) -> frame like the sample
    metric: str | Callable = ""             # a name in METRICS, or the host's (solution, submission[, row id column]) -> float, pasted
    lower_is_better: bool = False           # known for METRICS; state it for a pasted one
    flips: str = "auto"                     # mirrors that keep the label: "", h, v, hv; inferred: h, and none for digits
    max_pixels: int = 178_956_970           # of an image that is opened without complaint (Pillow's limit)
    make_table: Callable | None = None      # in place of train_csv: folder -> frame with id, label, and path or what train_images needs
    make_test: Callable | None = None       # in place of test_csv: folder -> frame with id, and path or what test_images needs
    make_solution: Callable | None = None   # (table, competition) -> the truth as the metric wants it; else it is made like an answer
    read_image: Callable | None = None      # record (a row of the table, and `file`: its absolute path) -> uint8 (H, W, 3)
    suspects: tuple[str, ...] = field(default=(), compare=False)      # columns that look like a group: a warning, nothing more
    unused: tuple[str, ...] = field(default=(), compare=False)        # columns of both train and test csv that could be features

    @property
    def targets(self) -> tuple[str, ...]:
        """The table's target columns: the one with the label, or one per class or number."""
        if self.task in ("multilabel", "regression"):
            return self.outputs
        return self.labels if len(self.labels) == 1 else ("label",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of the predictions."""
        return self.labels if self.task == "regression" else self.classes

    @property
    def metric_name(self) -> str:
        return self.metric if isinstance(self.metric, str) else self.metric.__name__

    def table(self, root: Path) -> pd.DataFrame:
        """id, row, path, targets, group, features of the training images. Raises ValueError with all that is wrong."""
        return tables.make_train(root, self)

    def test_table(self, root: Path) -> pd.DataFrame:
        """id, row, path, features of the test images."""
        return tables.make_test(root, self)

    def sample(self, root: Path) -> pd.DataFrame:
        """The host's sample submission, or one made of the test rows where there is none."""
        if self.sample_csv:
            return tables.read_csv(root / self.sample_csv)
        filler = self.classes[0] if self.answer in ("label", "words") else "0"
        return self.blank(sorted(set(self.test_table(root)["row"]))).replace("", filler)

    def blank(self, rows: list[str]) -> pd.DataFrame:
        """An empty submission for these rows."""
        return pd.DataFrame({name: list(rows) if name == self.header[0] else "" for name in self.header})

    def check_sample(self, test: pd.DataFrame, sample: pd.DataFrame) -> None:
        """Each row of the sample stands there once and has a test image. Raises ValueError."""
        rows, name = sample.iloc[:, 0], self.sample_csv or "the sample"
        problems = [] if tuple(sample) == self.header else [f"{name} has the columns {', '.join(sample)}, not {', '.join(self.header)}"]
        problems += tables.complain(rows[rows.duplicated()], f"rows stand twice in {name}")
        problems += tables.complain(rows[~rows.isin(test["row"])], f"of {len(rows)} rows of {name} have no test image ({self.test_csv})")
        if problems:
            raise ValueError("\n".join(problems))

    def answer_rows(self, by_row: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        """Predictions by row in the host's form: the sample's columns, rows and order, joined by row."""
        if lost := tables.complain(sample.iloc[:, 0][~sample.iloc[:, 0].isin(by_row.index)], "rows of the sample have no prediction"):
            raise ValueError(lost[0])
        by_row = by_row.loc[sample.iloc[:, 0]]
        if callable(self.answer):
            return self.answer(by_row, sample)
        return ANSWERS[self.answer](by_row, self).set_axis(list(self.header[1:]), axis=1).rename_axis(self.header[0]).reset_index()

    def strange_answers(self, column: pd.Series) -> list[str]:
        """What stands in a column of the written submission and can't be an answer."""
        if callable(self.answer):
            return []
        if self.answer in ("label", "words"):
            said = column.str.split().explode().fillna("") if self.answer == "words" else column
            return sorted(set(said) - {*self.classes})
        values = pd.to_numeric(column, errors="coerce")
        return sorted(set(column[~(values.notna() if self.answer == "value" else values.between(0, 1))]))

    def truth(self, table: pd.DataFrame) -> pd.DataFrame:
        """What perfect predictions by row would be."""
        images = predictions.make(table["id"], TASKS[self.task].encode(table, self), self.outputs)
        largest, smallest = (predictions.pool(images, table.set_index("id")["row"], how) for how in ("max", "min"))
        differing = largest.index[(largest != smallest).any(axis=1)]
        if len(differing):
            raise ValueError(f"images of one row differ in label: {tables.listed(list(differing))}: {tables.state('make_solution')}")
        return largest

    def score(self, table: pd.DataFrame, oof: pd.DataFrame) -> float:
        """The host's metric of predictions for images of the table, by the way that the submission takes: pool, answer, metric."""
        table, by_row = self.pooled(table, oof)
        blank = self.blank(by_row.index)
        solution = self.make_solution(table, self) if self.make_solution else self.answer_rows(self.truth(table), blank)
        return self.metric_value(solution, self.answer_rows(by_row, blank))

    def pooled(self, table: pd.DataFrame, oof: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The part of the table that is predicted, and the predictions by row."""
        table = table[table["id"].isin(oof.index)]
        return table, predictions.pool(oof, table.set_index("id")["row"], self.pool)

    def metric_value(self, solution: pd.DataFrame, submission: pd.DataFrame) -> float:
        """The metric of two frames in the host's form, joined by row."""
        row = submission.columns[0]
        solution = solution.rename(columns={solution.columns[0]: row}).set_index(row)
        submission = submission.set_index(row).loc[solution.index]
        numeric = [name for name in submission.select_dtypes("number") if name in solution]      # the truth may come from a csv, as text
        solution = solution.assign(**{name: pd.to_numeric(solution[name]) for name in numeric})
        if not callable(self.metric):
            return METRICS[self.metric](*(split_words(solution, submission) if self.answer == "words" else (solution, submission)))
        needed = [p for p in inspect.signature(self.metric).parameters.values() if p.default is p.empty]
        if len(needed) < 3:
            return float(self.metric(solution, submission))
        return float(self.metric(solution.reset_index(), submission.reset_index(), row))

    def also(self, table: pd.DataFrame, oof: pd.DataFrame) -> dict[str, float]:
        """Accuracy and log loss whatever the metric is; for values the two usual errors."""
        table, by_row = self.pooled(table, oof)
        wanted, names = list(self.scored or self.outputs), ("rmse", "mae") if TASKS[self.task].kind == "value" else ("accuracy", "log_loss")
        return {name: METRICS[name](self.truth(table)[wanted], by_row[wanted]) for name in names}

    def warnings(self, table: pd.DataFrame) -> list[str]:
        """What a competitor should look at before trusting a fold."""
        return [f"column {name!r} looks like a group (a patient, a site): if its images belong together, {tables.state(f'group={name!r}')}"
                for name in self.suspects if not self.group]

    def facts(self) -> dict:
        """What can change a model: goes into hashes. Neither paths nor the metric are among it."""
        read_image = self.read_image.__name__ if self.read_image else ""
        return {"task": self.task, "outputs": self.outputs, "features": self.features, "flips": self.flips, "read_image": read_image}

    def paste(self) -> str:
        """The definition as Python, for COMPETITIONS."""
        function = re.sub(r"\W|^(?=\d)", "_", self.name.lower())
        stated = [(f.name, getattr(self, f.name)) for f in fields(self) if f.compare and getattr(self, f.name) != f.default]
        lines = [f"        {name}={value.__name__ if callable(value) else repr(value)}," for name, value in stated]
        notes = [f"    # not used: {', '.join(self.unused)}; features=(...) gives them to the head"] if self.unused else []
        return "\n".join([f"def {function}() -> Competition:", *notes, "    return Competition(", *lines, "    )"])


# -- definitions: each states what its files do not tell, the rest is inferred

def melanoma() -> Competition:
    """SIIM-ISIC Melanoma: the same images lie there as DICOM and JPEG; patients have several; the metric reads probabilities."""
    return Competition(train_images="jpeg/train/{id}.jpg", test_images="jpeg/test/{id}.jpg", group="patient_id", metric="roc_auc")


def rsna_mammography() -> Competition:
    """RSNA 2022: some images per breast, a row per breast; test.csv names the row, for train.csv it is made. Add read_image=read_dicom
    for the host's own files; as it stands it takes PNG."""
    return Competition(row="{patient_id}_{laterality}", group="patient_id")


def read_dicom(record: dict) -> np.ndarray:
    """A grey DICOM image as uint8 (H, W); needs `pip install pydicom`."""
    import pydicom
    dicom = pydicom.dcmread(record["file"])
    pixels = dicom.pixel_array.astype("float32")
    pixels = pixels.max() - pixels if dicom.PhotometricInterpretation == "MONOCHROME1" else pixels - pixels.min()
    return (255 * pixels / max(pixels.max(), 1)).astype("uint8")


def dogs_vs_cats() -> Competition:
    """No csv and no folders: train/cat.0.jpg. The sample's 0.5 asks for the probability of the later class, dog."""
    return Competition(train_images="train/{label}.{number}.*", metric="log_loss")


def mask() -> Competition:
    """18 classes: mask * 6 + gender * 3 + age band; seven photographs of each person, which stay together."""
    return Competition(make_table=mask_table, labels=("label",), group="person", sample_csv="eval/info.csv", test_images="eval/images/{id}")


def mask_table(root: Path) -> pd.DataFrame:
    """Read from names such as train/images/000001_female_Asian_45/incorrect_mask.jpg."""
    table = tables.from_names(root, "train/images/{person}_{gender}_{race}_{age}/{kind}.*")
    worn = table["kind"].map(lambda kind: {"incorrect_mask": 1, "normal": 2}.get(kind, 0))
    age = table["age"].astype(int)
    label = worn * 6 + table["gender"].map({"male": 0, "female": 1}) * 3 + (age >= 30) + (age >= 60)
    return table.assign(label=label.astype(int).astype(str))


COMPETITIONS = {      # add yours: a function above, the name of its folder here
    "siim-isic-melanoma-classification": melanoma, "rsna-breast-cancer-detection": rsna_mammography,
    "dogs-vs-cats-redux-kernels-edition": dogs_vs_cats, "mask": mask,
}


# -- forms of an answer: (predictions by row, competition) -> the columns after the row's

def as_label(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    label = by_row.set_axis(list(competition.classes), axis=1).idxmax(axis=1)
    plain = all(re.fullmatch(r"0|-?[1-9]\d*", name) for name in competition.classes)      # not for "007"
    return (label.astype(int) if plain else label).to_frame()


def as_probability(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """Of the class "1", or of the later one where there is none."""
    return by_row[["1" if "1" in competition.classes else competition.classes[-1]]]


def as_probabilities(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """A column per class, by name; a class that no training image has gets 0."""
    return by_row.reindex(columns=list(competition.header[1:]), fill_value=0.0)


def as_words(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """Every class above a half, joined by spaces; the likeliest where none is."""
    values, names = by_row.to_numpy(), by_row.columns.to_numpy(dtype=object)
    chosen = values >= 0.5
    none = ~chosen.any(axis=1)
    chosen[none, values[none].argmax(axis=1)] = True
    return pd.DataFrame({"words": [" ".join(names[row]) for row in chosen]}, index=by_row.index)


def as_value(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    return by_row[list(competition.scored or competition.outputs)]


ANSWERS = {"label": as_label, "probability": as_probability, "probabilities": as_probabilities, "words": as_words, "value": as_value}


# -- inference

def load(comp: str, inputs: Path) -> Competition:
    """The competition in the folder inputs/comp: what COMPETITIONS states, and the rest from the files. Raises ValueError."""
    root = inputs / comp
    if not root.is_dir():
        raise ValueError(f"no folder {root}: unpack the competition's files there (train.csv, sample_submission.csv, image folders), "
                         f"or link them: ln -s /where/they/are {root}")
    return infer(replace(COMPETITIONS[comp]() if comp in COMPETITIONS else Competition(), name=comp), root)


def infer(stated: Competition, root: Path) -> Competition:
    """One fact after the other, from the files and from the facts before it."""
    c, files = stated, tables.list_files(root)
    images = tables.only_images(files, c)

    def fill(name: str, look: Callable) -> None:
        nonlocal c
        if getattr(c, name) == getattr(Competition, name):
            c = replace(c, **{name: look()})

    # which files
    fill("sample_csv", lambda: tables.find_csv(files, "sample_csv", r"sample[ _-]?submission.*\.csv", r"submission\.csv"))
    fill("test_csv", lambda: "" if c.make_test else tables.find_csv(files, "test_csv", r"test\.csv"))
    fill("train_csv", lambda: "" if c.make_table else tables.find_csv(files, "train_csv", r"train\.csv", r"train.*\.csv", r"labels?\.csv"))
    if not c.train_csv and not c.make_table:
        fill("train_images", lambda: tables.find_class_folders(images))
    if not c.test_csv and not c.sample_csv and not c.make_test:
        fill("test_images", lambda: tables.find_test_folder(images))

    # which columns
    sample, test = (tables.read_csv(root / file) if file else pd.DataFrame() for file in (c.sample_csv, c.test_csv))
    first, *asked = list(sample) or [""]
    train = tables.train_frame(root, c)
    fill("id", lambda: tables.find_id(train, test, first, images) if c.train_csv else "id")
    fill("row", lambda: tables.find_row(train, test, first) if first not in ("", c.id) else "")
    fill("labels", lambda: tables.find_labels(train, asked, {"id", "path", "row", c.id, c.row, c.group, *c.features}))
    tables.check_columns(train, [c.id, *c.labels], "the train table")
    fill("header", lambda: tuple(sample) or (c.id, *c.labels))

    # which problem
    wants_float = len(asked) == 1 and tables.are_floats(sample[asked[0]])
    fill("task", lambda: tables.find_task(train, c.labels, asked, wants_float))
    fill("classes", lambda: tables.find_classes(train, c.labels, c.task))
    fill("answer", lambda: find_answer(c, wants_float or c.metric in PROBABILITY_METRICS))
    fill("scored", lambda: wanted if len(wanted := tuple(name for name in c.outputs if name in c.header)) < len(c.outputs) else ())
    fill("metric", lambda: "rmse" if c.task == "regression" else "macro_f1")      # nothing in the files tells it
    fill("lower_is_better", lambda: c.metric in LOWER_IS_BETTER)
    fill("flips", lambda: "" if set(c.classes) == set("0123456789") else "h")

    # which images
    train, test = tables.train_frame(root, c), tables.test_frame(root, c)
    fill("train_images", lambda: "{path}" if c.make_table and "path" in train else tables.find_images(train, images, "train_images"))
    fill("test_images", lambda: "{path}" if c.make_test and "path" in test else tables.find_images(test, images, "test_images"))

    used = {"id", "path", c.id, c.row, c.group, *c.labels, *c.features, *tables.path_columns(train)}
    others = [name for name in train if name not in used]
    c = replace(c, suspects=tables.find_suspects(train[others]), unused=tuple(name for name in others if name in test))
    check(c)
    return c


def find_answer(c: Competition, probability_wanted: bool) -> str:
    """The form that the sample's columns and numbers ask for."""
    asked = c.header[1:]
    if c.task == "regression":
        return "value"
    if len(asked) > 1:
        return "probabilities"
    if c.task == "multilabel":
        return "words"
    return "probability" if c.task == "binary" and probability_wanted else "label"


def check(c: Competition) -> None:
    """Names that exist, and a submission whose columns can be filled. Raises ValueError."""
    choices: dict[str, Collection[str]] = {"task": TASKS, "answer": ANSWERS, "metric": METRICS, "pool": ("mean", "max"), "flips": ("", "h", "v", "hv")}
    problems = [f"{name}={getattr(c, name)!r} is unknown; choose from {', '.join(known)}" for name, known in choices.items()
                if not callable(getattr(c, name)) and getattr(c, name) not in known]
    asked = c.header[1:]
    lost = {"probabilities": [name for name in asked if name not in c.outputs] if len(c.labels) > 1 else [],
            "value": asked if len(asked) != len(c.scored or c.outputs) else []}.get(str(c.answer), [] if len(asked) == 1 else asked)
    if lost and not callable(c.answer):
        problems.append(f"{c.sample_csv or 'header'}: nothing fills column {tables.listed(list(lost))}; state labels, scored or answer")
    if not asked:
        problems.append(f"{c.sample_csv or 'the header'} has no column beside {', '.join(c.header)}; state sample_csv or header")
    if problems:
        raise ValueError("src/competitions.py, or what was inferred: " + "\n".join(problems))
