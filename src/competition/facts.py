"""What a competition is: everything that is the host's and not ours."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from src.competition.formats import COLUMN
from src.run import hashing

NUMBERS = ("regression", "bounded")  # tasks whose labels are numbers and no classes
WORDS = ("words", "ranked")  # answers with several labels in one cell
RESERVED = {"id", "row", "path", "group", "fold", "content", "external"}  # columns of folds.csv
OUTPUT = "{output}"  # in `row`: the sample has a line per image and output


@dataclass(frozen=True)
class Competition:
    """A field at its default is inferred, where its comment does not say otherwise. Columns are those of the
    host's csv.
    """

    name: str = ""  # the folder below inputs/; every path here is relative to it
    train_csv: str = ""  # none: the images' own names tell the label
    test_csv: str = ""  # none: the sample lists the test images, or the test folder does
    sample_csv: str = ""  # none: every test image is a row
    # a pattern with {id} or any {column}; ".*" is any image suffix, "**/" any folders between.
    train_images: str = ""
    # Without a csv its {names} become the columns, as in "train/{label}/*"
    test_images: str = ""
    id: str = ""  # the column that names an image
    # the column, or pattern of columns, that names a line of the submission; none: the id
    row: str = ""
    # the column(s) of the train csv to be predicted: a label, words, or a number per column
    labels: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()  # the outputs that the submission wants, where others learn along
    # extra columns, of train and test csv, given to the head; not inferred
    features: tuple[str, ...] = ()
    # the column whose images stay in one fold together, such as a patient; not inferred
    group: str = ""
    task: str = ""  # a name in TASKS; ordinal and bounded are not inferred
    # of task="bounded": the smallest and largest value that there can be; inferred: that there is
    bounds: tuple[float, ...] = ()
    # in the order of the outputs; for task="ordinal" from the lowest to the highest
    classes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()  # the submission's columns, the row's first
    # joins the images of a row: mean, max, or a function, frame (n, T) -> series (T,)
    pool: str | Callable = "mean"
    # a name in ANSWERS, or a function (predictions by row, sample) -> frame like the sample
    answer: str | Callable = ""
    # a name in METRICS, or the host's (solution, submission[, row id column]) -> float, pasted
    metric: str | Callable = ""
    lower_is_better: bool = False  # known for METRICS; state it for a pasted one
    # mirrors that keep the label: "", h, v, hv; inferred: h, and none for digits
    flips: str = "auto"
    max_pixels: int = 178_956_970  # of an image that is opened without complaint (Pillow's limit)
    # in place of train_csv: folder -> frame with id, label, and path or what train_images needs
    make_table: Callable | None = None
    # in place of test_csv: folder -> frame with id, and path or what test_images needs
    make_test: Callable | None = None
    # (table, competition) -> the truth as the metric wants it; else it is made like an answer
    make_solution: Callable | None = None
    # record (a row of the table, and `file`: its absolute path) -> uint8 (H, W, 3)
    read_image: Callable | None = None
    # rows whose image is missing get an average answer, as unreadable ones do; else they are an error
    missing_test: bool = False
    # found in the files: columns that look like a group
    suspects: tuple[str, ...] = field(default=(), compare=False)
    # to be looked at before a fold is trusted
    warnings: tuple[str, ...] = field(default=(), compare=False)
    assumed: str = field(default="", compare=False)  # what no file tells, in one line

    @property
    def targets(self) -> tuple[str, ...]:
        """The table's target columns: the one with the label, or one per class or number."""
        if self.task == "multilabel":
            return self.classes
        has_own_name = len(self.labels) == 1 and self.labels[0] not in RESERVED  # "group" may be the label
        return self.labels if self.task in NUMBERS or has_own_name else ("label",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of the predictions."""
        return self.targets if self.task in (*NUMBERS, "ordinal") else self.classes

    @property
    def is_single(self) -> bool:
        """Does each row have exactly one class?"""
        return self.task in ("multiclass", "binary")

    @property
    def positive(self) -> str:
        """The class whose probability a single column holds: the class that the column is named after, else
        the last one, such as 1 of 0 and 1.
        """
        return next(name for name in (*self.names[1:], self.classes[-1]) if name in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The header's names without spaces around them. Where all columns are classes with the same prefix
        or suffix, such as prob_cat and prob_dog, the classes.
        """
        names = [name.strip() for name in self.header]
        columns = names[1:]
        if len(columns) < 2:
            return tuple(names)
        prefix = len(os.path.commonprefix(columns))
        suffix = len(os.path.commonprefix([name[::-1] for name in columns]))
        bare = [[name[cut:] for name in columns] for cut in range(1, prefix + 1)]
        bare += [[name[:-cut] for name in columns] for cut in range(1, suffix + 1)]
        return (names[0], *next((some for some in bare if {*some} == {*self.classes}), columns))

    @property
    def metric_name(self) -> str:
        return self.metric if isinstance(self.metric, str) else hashing.name_of(self.metric)

    @property
    def has_header(self) -> bool:
        """Does the submission have a header line? The columns of a sample without one are called
        by number.
        """
        return not all(name.startswith(COLUMN) for name in self.header)
