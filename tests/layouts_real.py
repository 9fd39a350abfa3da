"""More than a hundred layouts of real competitions, from public descriptions and from memory, each in a few
tiny files; and the truth of each, stated apart from the kit: which label each image has, which images are the
test's and how their rows are called, the submission's columns, the problem.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from layouts import picture

Rows = dict[str, tuple[str, str]]


@dataclass
class Layout:
    """Format strings over the fields of an item: i (number), j (another number), label, code (the label's
    number), g (group), s (side), x (a number).

    train, test: the image of an item, several joined by |. files: "name" or "name@test" -> (header, line per
    item). row: the sample's row of an item.
    """

    name: str
    labels: str | list[str]
    train: str
    test: str
    files: Rows
    header: str
    row: str
    task: str = "multiclass"
    answer: str = "label"
    n: int = 12
    m: int = 4
    also: Callable[[Path], object] | None = None
    encoding: str = "utf-8"
    truth: str = "{label}"  # the label of an item as the table should have it
    # a line that must be printed, where the files leave two readings
    says: str = ""
    # the files do not tell: one error, whose printed line makes it right
    asks: bool = False
    others: list[str] = field(default_factory=list)  # images that are neither
    every: bool = False  # all images of an item belong to its row, not its first alone

    def items(self, part: str) -> list[dict]:
        labels = self.labels.split() if isinstance(self.labels, str) else self.labels
        count, first = (self.n, 0) if part == "train" else (self.m, 500)
        order = np.random.default_rng(len(self.name)).permutation(count)
        items = []
        for place in range(count):
            kind = int(order[place]) % len(labels)
            items.append(
                {
                    "i": first + place,
                    "k": place,
                    "j": int(first + order[place]),
                    "label": labels[kind],
                    "code": kind,
                    "g": place // 3,
                    "s": "LR"[place % 2],
                    "x": f"{(place * 37 % 100) / 7:.3f}",
                    "h": f"{(first + place) * 7919 + 104729:06x}",
                    "hot": ",".join("01"[n == kind] for n in range(len(labels))),
                    "part": part,
                }
            )
        return items

    def build(self, root: Path) -> None:
        for part, pattern in (("train", self.train), ("test", self.test)):
            for item in self.items(part):
                for one in filter(None, pattern.split("|")):
                    picture(root / one.format(**item), item["i"] * 10 + len(one))
        for seed, file in enumerate(self.others):
            picture(root / file, 90_000 + seed)
        for name, (header, line) in self.files.items():
            file, _, part = name.partition("@")
            lines = [one for item in self.items(part or "train") for one in line.format(**item).split("\n")]
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes("\n".join([*filter(None, [header]), *lines, ""]).encode(self.encoding))
        if self.also:
            self.also(root)

    def true_labels(self) -> dict[str, str]:
        return {
            path: self.truth.format(**item)
            for item in self.items("train")
            for path in self.images(self.train, item)
        }

    def images(self, pattern: str, item: dict) -> list[str]:
        paths = [one.format(**item) for one in pattern.split("|")]
        return paths if self.every else paths[:1]

    def true_tests(self) -> dict[str, set[str]]:
        rows: dict[str, set[str]] = {}
        for item in self.items("test"):
            rows.setdefault(self.row.format(**item), set()).update(self.images(self.test, item))
        return rows


def put(name: str, content: object) -> Callable[[Path], object]:
    """Writes one more file: a text, or anything else as json."""

    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(
            content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8"
        )

    return write


def both(*actions: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: [action(root) for action in actions]


def frame_of(layout_items: list[dict], columns: dict[str, str]) -> list[dict]:
    return [{name: text.format(**item) for name, text in columns.items()} for item in layout_items]


def records(
    name: str, part: str, columns: dict[str, str], shape: str = "list"
) -> Callable[["Layout"], Callable[[Path], object]]:
    """A table of the layout's items as json list, json lines, parquet, or {name: label}."""

    def of(layout: "Layout") -> Callable[[Path], object]:
        def write(root: Path) -> None:
            rows = frame_of(layout.items(part), columns)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if shape == "parquet":
                import pandas as pd

                pd.DataFrame(rows).to_parquet(root / name)
            elif shape == "lines":
                (root / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            elif shape == "map":
                first, second = columns
                (root / name).write_text(
                    json.dumps({row[first]: row[second] for row in rows}), encoding="utf-8"
                )
            else:
                (root / name).write_text(json.dumps(rows), encoding="utf-8")

        return write

    return of


def coco(
    name: str, part: str, file_name: str, with_labels: bool = True
) -> Callable[["Layout"], Callable[[Path], object]]:
    def of(layout: "Layout") -> Callable[[Path], object]:
        def write(root: Path) -> None:
            items = layout.items(part)
            content: dict = {
                "info": {"year": 2020},
                "images": [
                    {"id": item["h"], "file_name": file_name.format(**item), "width": 8, "height": 8}
                    for item in items
                ],
            }
            if with_labels:
                kinds = sorted({(item["code"], item["label"]) for item in items})
                content["annotations"] = [
                    {"id": n, "image_id": item["h"], "category_id": item["code"]}
                    for n, item in enumerate(items)
                ]
                content["categories"] = [{"id": code, "name": label} for code, label in kinds]
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(content))

        return write

    return of


def split_column(layout: Layout) -> Callable[[Path], object]:
    """One table of all images, with a column that says which are for training."""

    def write(root: Path) -> None:
        lines = [
            f"images/{item['h']}.jpg,{part},{item['label'] if part == 'train' else ''}"
            for part in ("train", "test")
            for item in layout.items(part)
        ]
        (root / "metadata.csv").write_text("\n".join(["path,split,label", *lines, ""]))

    return write


def halves(layout: Layout) -> Callable[[Path], object]:
    """The training table in two files."""

    def write(root: Path) -> None:
        items = layout.items("train")
        for number, part in enumerate((items[:6], items[6:]), 1):
            (root / f"train_part{number}.csv").write_text(
                "\n".join(["id,label", *(f"{item['h']},{item['label']}" for item in part), ""])
            )

    return write


def extended(layout: Layout, *makers: Callable[[Layout], Callable[[Path], object]]) -> Layout:
    """The layout with files that are made of its own items."""
    before = layout.also
    layout.also = both(*([before] if before else []), *(make(layout) for make in makers))
    return layout


S, SAMPLE = "sample_submission.csv@test", "sample_submission.csv"
TAGS = [
    "clear primary",
    "haze primary water",
    "agriculture clear primary road",
    "cloudy",
    "clear primary water",
    "agriculture clear habitation primary road",
    "haze primary",
    "partly_cloudy primary",
    "clear cultivation primary",
    "agriculture partly_cloudy primary",
    "clear primary road",
    "haze primary road water",
]
BREEDS = "affenpinscher beagle chow pug"
COVER = ["cat", "dog", "owl"]

LAYOUTS = [
    # -- Kaggle: ids in a csv
    Layout(
        "cassava-leaf-disease",
        "0 1 2 3 4",
        "train_images/10{i:04}.jpg",
        "test_images/22{i:04}.jpg",
        {"train.csv": ("image_id,label", "10{i:04}.jpg,{label}"), S: ("image_id,label", "22{i:04}.jpg,4")},
        "image_id,label",
        "22{i:04}.jpg",
        n=15,
        also=put(
            "label_num_to_disease_map.json", {"0": "CBB", "1": "CBSD", "2": "CGM", "3": "CMD", "4": "Healthy"}
        ),
    ),
    Layout(
        "aptos2019-blindness-detection",
        "0 1 2 3 4",
        "train_images/{h}.png",
        "test_images/{h}.png",
        {
            "train.csv": ("id_code,diagnosis", "{h},{label}"),
            "test.csv@test": ("id_code", "{h}"),
            S: ("id_code,diagnosis", "{h},0"),
        },
        "id_code,diagnosis",
        "{h}",
        n=15,
    ),
    Layout(
        "diabetic-retinopathy-detection",
        "0 1 2 3 4",
        "train/{i}_left.jpeg",
        "test/{i}_right.jpeg",
        {
            "trainLabels.csv": ("image,level", "{i}_left,{label}"),
            "sampleSubmission.csv@test": ("image,level", "{i}_right,0"),
        },
        "image,level",
        "{i}_right",
        n=15,
    ),
    Layout(
        "histopathologic-cancer-detection",
        "0 1",
        "train/{h}.tif",
        "test/{h}.tif",
        {"train_labels.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},0")},
        "id,label",
        "{h}",
        "binary",
        says="may stand for a label or for a probability",
    ),
    Layout(
        "aerial-cactus-identification",
        "0 1",
        "train/train/{h}.jpg",
        "test/test/{h}.jpg",
        {"train.csv": ("id,has_cactus", "{h}.jpg,{label}"), S: ("id,has_cactus", "{h}.jpg,0.5")},
        "id,has_cactus",
        "{h}.jpg",
        "binary",
        "probability",
    ),
    Layout(
        "plant-pathology-2020",
        "healthy multiple_diseases rust scab",
        "images/Train_{k}.jpg",
        "images/Test_{k}.jpg",
        {
            "train.csv": ("image_id,healthy,multiple_diseases,rust,scab", "Train_{k},{hot}"),
            "test.csv@test": ("image_id", "Test_{k}"),
            S: ("image_id,healthy,multiple_diseases,rust,scab", "Test_{k},0.25,0.25,0.25,0.25"),
        },
        "image_id,healthy,multiple_diseases,rust,scab",
        "Test_{k}",
        answer="probabilities",
    ),
    Layout(
        "plant-pathology-2021",
        ["healthy", "scab", "rust", "scab rust", "complex", "scab rust complex", "rust complex"],
        "train_images/8{h}.jpg",
        "test_images/8{h}.jpg",
        {"train.csv": ("image,labels", "8{h}.jpg,{label}"), S: ("image,labels", "8{h}.jpg,healthy")},
        "image,labels",
        "8{h}.jpg",
        "multilabel",
        "words",
        n=14,
    ),
    Layout(
        "siim-isic-melanoma",
        "0 1",
        "jpeg/train/ISIC_{i:07}.jpg",
        "jpeg/test/ISIC_{i:07}.jpg",
        {
            "train.csv": (
                "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
                "ISIC_{i:07},IP_{g:07},male,45.0,torso,nevus,kind{code},{label}",
            ),
            "test.csv@test": (
                "image_name,patient_id,sex,age_approx,anatom_site_general_challenge",
                "ISIC_{i:07},IP_{g:07},male,45.0,torso",
            ),
            S: ("image_name,target", "ISIC_{i:07},0"),
        },
        "image_name,target",
        "ISIC_{i:07}",
        "binary",
        says="may stand for a label or for a probability",
    ),
    Layout(
        "dog-breed-identification",
        BREEDS,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "labels.csv": ("id,breed", "{h},{label}"),
            S: ("id,affenpinscher,beagle,chow,pug", "{h},0.25,0.25,0.25,0.25"),
        },
        "id,affenpinscher,beagle,chow,pug",
        "{h}",
        answer="probabilities",
    ),
    Layout(
        "leaf-classification",
        "Acer_Opalus Quercus_Rubra Tilia_Oliveri",
        "images/{i}.jpg",
        "images/{i}.jpg",
        {
            "train.csv": ("id,species,margin1,shape1", "{i},{label},0.0{i},0.1"),
            "test.csv@test": ("id,margin1,shape1", "{i},0.02,0.1"),
            S: ("id,Acer_Opalus,Quercus_Rubra,Tilia_Oliveri", "{i},0.3,0.3,0.3"),
        },
        "id,Acer_Opalus,Quercus_Rubra,Tilia_Oliveri",
        "{i}",
        answer="probabilities",
    ),
    Layout(
        "state-farm-distracted-driver",
        "c0 c1 c2",
        "imgs/train/{label}/img_{i}.jpg",
        "imgs/test/img_{i}.jpg",
        {
            "driver_imgs_list.csv": ("subject,classname,img", "p{g:03},{label},img_{i}.jpg"),
            S: ("img,c0,c1,c2", "img_{i}.jpg,0.1,0.1,0.1"),
        },
        "img,c0,c1,c2",
        "img_{i}.jpg",
        answer="probabilities",
        says="group",
    ),
    Layout(
        "planet-amazon",
        TAGS,
        "train-jpg/train_{k}.jpg",
        "test-jpg/test_{k}.jpg",
        {
            "train_v2.csv": ("image_name,tags", "train_{k},{label}"),
            "sample_submission_v2.csv@test": ("image_name,tags", "test_{k},primary clear"),
        },
        "image_name,tags",
        "test_{k}",
        "multilabel",
        "words",
        n=24,
        others=[f"train-tif-v2/train_{k}.tif" for k in range(24)]
        + [f"test-tif-v2/test_{k}.tif" for k in range(4)],
    ),
    Layout(
        "dogs-vs-cats",
        "cat dog",
        "train/{label}.{i}.jpg",
        "test1/{i}.jpg",
        {S: ("id,label", "{i},0")},
        "id,label",
        "{i}",
        "binary",
        "label",
        asks=True,
    ),
    Layout(
        "plant-seedlings",
        ["Black-grass", "Charlock", "Small-flowered Cranesbill"],
        "train/{label}/{h}.png",
        "test/{h}.png",
        {S: ("file,species", "{h}.png,Charlock")},
        "file,species",
        "{h}.png",
    ),
    Layout(
        "petfinder-pawpularity",
        [str(n) for n in (3, 57, 21, 88, 40, 63, 12, 95, 30, 77, 50, 8)],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("Id,Subject Focus,Eyes,Face,Pawpularity", "{h},0,1,{code},{label}"),
            "test.csv@test": ("Id,Subject Focus,Eyes,Face", "{h},1,0,1"),
            S: ("Id,Pawpularity", "{h},65.13"),
        },
        "Id,Pawpularity",
        "{h}",
        "regression",
        "value",
    ),
    Layout(
        "hpa-2018",
        ["0", "1 5", "7 1 2 0", "5", "18", "7", "2 5", "1", "0 7", "2", "18 0", "7 5"],
        "train/{h}_green.png|train/{h}_red.png|train/{h}_blue.png",
        "test/{h}_green.png|test/{h}_red.png|test/{h}_blue.png",
        {"train.csv": ("Id,Target", "{h},{label}"), S: ("Id,Predicted", "{h},0")},
        "Id,Predicted",
        "{h}",
        "multilabel",
        "words",
        asks=True,
    ),
    Layout(
        "human-protein-rgb",
        ["0", "1 5", "7 1 2 0", "5", "18", "7", "2 5", "1", "0 7", "2", "18 0", "7 5"],
        "train/{h}.png",
        "test/{h}.png",
        {"train.csv": ("Id,Target", "{h},{label}"), S: ("Id,Predicted", "{h},0")},
        "Id,Predicted",
        "{h}",
        "multilabel",
        "words",
    ),
    Layout(
        "rsna-intracranial",
        "0 1",
        "stage_2_train/ID_{h}.png",
        "stage_2_test/ID_{h}.png",
        {
            "stage_2_train.csv": ("ID,Label", "ID_{h}_epidural,{code}\nID_{h}_subdural,0\nID_{h}_any,{code}"),
            "stage_2_sample_submission.csv@test": (
                "ID,Label",
                "ID_{h}_epidural,0.5\nID_{h}_subdural,0.5\nID_{h}_any,0.5",
            ),
        },
        "ID,Label",
        "ID_{h}",
        "multilabel",
        "probabilities",
        truth="{code} 0 {code}",
    ),
    Layout(
        "csiro-biomass",
        "a b",
        "train/ID{h}.jpg",
        "test/ID{h}.jpg",
        {
            "train.csv": (
                "sample_id,image_path,State,target_name,target",
                "ID{h}__Dry_Green_g,train/ID{h}.jpg,Tas,Dry_Green_g,{x}\n"
                "ID{h}__Dry_Dead_g,train/ID{h}.jpg,Tas,Dry_Dead_g,1.5",
            ),
            "test.csv@test": (
                "sample_id,image_path,target_name",
                "ID{h}__Dry_Green_g,test/ID{h}.jpg,Dry_Green_g\nID{h}__Dry_Dead_g,test/ID{h}.jpg,Dry_Dead_g",
            ),
            S: ("sample_id,target", "ID{h}__Dry_Green_g,0.0\nID{h}__Dry_Dead_g,0.0"),
        },
        "sample_id,target",
        "ID{h}",
        "regression",
        "value",
        truth="{x} 1.5",
    ),
    Layout(
        "ubc-ovca-thumbnails-only",
        "CC EC HGSC",
        "train_thumbnails/{i}_thumbnail.png",
        "test_thumbnails/{i}_thumbnail.png",
        {
            "train.csv": ("image_id,label,image_width,image_height,is_tma", "{i},{label},{i}00,{k}10,False"),
            "test.csv@test": ("image_id,image_width,image_height", "{i},28469,16987"),
            S: ("image_id,label", "{i},HGSC"),
        },
        "image_id,label",
        "{i}",
    ),
    Layout(
        "ubc-ovca",
        "CC EC HGSC",
        "train_images/{i}.png",
        "test_images/{i}.png",
        {
            "train.csv": ("image_id,label,image_width,image_height,is_tma", "{i},{label},{i}00,{k}10,False"),
            "test.csv@test": ("image_id,image_width,image_height", "{i},28469,16987"),
            S: ("image_id,label", "{i},HGSC"),
        },
        "image_id,label",
        "{i}",
        others=[f"train_thumbnails/{i}.png" for i in range(12)]
        + [f"test_thumbnails/{i}.png" for i in range(500, 504)],
        asks=True,
    ),
    Layout(
        "mayo-strip-ai",
        "CE LAA",
        "train/{h}_{k}.tif",
        "test/{h}_{k}.tif",
        {
            "train.csv": ("image_id,center_id,patient_id,image_num,label", "{h}_{k},{g},{h},{k},{label}"),
            "test.csv@test": ("image_id,center_id,patient_id,image_num", "{h}_{k},{g},{h},{k}"),
            S: ("patient_id,CE,LAA", "{h},0.5,0.5"),
        },
        "patient_id,CE,LAA",
        "{h}",
        "binary",
        "probabilities",
    ),
    Layout(
        "paddy-disease",
        "blast normal tungro",
        "train_images/{label}/1{i:05}.jpg",
        "test_images/2{i:05}.jpg",
        {
            "train.csv": ("image_id,label,variety,age", "1{i:05}.jpg,{label},ADT45,{k}"),
            S: ("image_id,label", "2{i:05}.jpg,"),
        },
        "image_id,label",
        "2{i:05}.jpg",
    ),
    Layout(
        "herbarium-2020",
        "105 2030 7",
        "nybg2020/train/images/{k}/{i}.jpg",
        "nybg2020/test/images/{k}/{i}.jpg",
        {S: ("Id,Predicted", "{h},0")},
        "Id,Predicted",
        "{h}",
        truth="{code}",
    ),
    Layout(
        "inaturalist-2019",
        "Danaus Quercus Vulpes",
        "train_val2019/Plants/{code}/{h}.jpg",
        "test2019/{h}.jpg",
        {"kaggle_sample_submission.csv@test": ("id,predicted", "{h},0 1 2")},
        "id,predicted",
        "{h}",
        answer="ranked",
        truth="{code}",
    ),
    Layout(
        "iwildcam-2020",
        "empty deer hog",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {S: ("Id,Category", "{h},0")},
        "Id,Category",
        "{h}",
        truth="{code}",
    ),
    Layout(
        "imet-2019",
        ["0", "3 7", "1 3 12", "7", "3", "1", "12 7", "0 1", "12", "0 7"],
        "train/{h}.png",
        "test/{h}.png",
        {
            "train.csv": ("id,attribute_ids", "{h},{label}"),
            S: ("id,attribute_ids", "{h},0 1 2"),
            "labels.csv": ("attribute_id,attribute_name", "{k},culture::{k}"),
        },
        "id,attribute_ids",
        "{h}",
        "multilabel",
        "words",
        n=20,
    ),
    Layout(
        "bengali-pngs",
        "0 1",
        "train/Train_{k}.png",
        "test/Test_{k}.png",
        {
            "train.csv": (
                "image_id,grapheme_root,vowel_diacritic,consonant_diacritic,grapheme",
                "Train_{k},{k},{code},1,x",
            ),
            S: ("image_id,label", "Test_{k},0"),
        },
        "image_id,label",
        "Test_{k}",
        truth="{code}",
        task="binary",
    ),
    Layout(
        "happy-whale",
        "w_1 w_2 w_3",
        "train_images/{h}.jpg",
        "test_images/{h}.jpg",
        {
            "train.csv": ("image,species,individual_id", "{h}.jpg,whale{code},{label}"),
            S: ("image,predictions", "{h}.jpg,w_1 w_2 w_3"),
        },
        "image,predictions",
        "{h}.jpg",
        answer="ranked",
    ),
    Layout(
        "humpback-whale",
        "w_1287 w_98baf new_whale",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("Image,Id", "{h}.jpg,{label}"), S: ("Image,Id", "{h}.jpg,new_whale w_1287 w_98baf")},
        "Image,Id",
        "{h}.jpg",
        answer="ranked",
    ),
    Layout(
        "snapshot-serengeti-tsv",
        "zebra lion gnu",
        "images/{h}.JPG",
        "images/{h}.JPG",
        {
            "train.tsv": ("image\tlabel", "{h}\t{label}"),
            "sample_submission.csv@test": ("image,label", "{h},zebra"),
        },
        "image,label",
        "{h}",
    ),
    Layout(
        "whale-categorization",
        "new_whale w_1",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("Image,Id", "{h}.jpg,{label}"), S: ("Image,Id", "{h}.jpg,new_whale w_1")},
        "Image,Id",
        "{h}.jpg",
        "binary",
        answer="ranked",
    ),
    Layout(
        "ranzcr-clip",
        "0 1",
        "train/1.2.826.{i}.jpg",
        "test/1.2.826.{i}.jpg",
        {
            "train.csv": ("StudyInstanceUID,ETT,NGT,CVC,PatientID", "1.2.826.{i},{code},1,0,p{g}"),
            S: ("StudyInstanceUID,ETT,NGT,CVC", "1.2.826.{i},0,0,0"),
        },
        "StudyInstanceUID,ETT,NGT,CVC",
        "1.2.826.{i}",
        "multilabel",
        "probabilities",
        truth="{code} 1 0",
        says="group='PatientID'",
    ),
    Layout(
        "cifar-10",
        "airplane cat ship",
        "train/{k}.png",
        "test/{k}.png",
        {
            "trainLabels.csv": ("id,label", "{k},{label}"),
            "sampleSubmission.csv@test": ("id,label", "{k},cat"),
        },
        "id,label",
        "{k}",
    ),
    Layout(
        "digit-pngs",
        "0 1 2 3 4 5 6 7 8 9",
        "trainingSet/{label}/img_{i}.jpg",
        "testSet/img_{i}.jpg",
        {S: ("ImageId,Label", "img_{i},0")},
        "ImageId,Label",
        "img_{i}",
        n=30,
    ),
    Layout(
        "intel-scenes",
        "buildings forest sea",
        "seg_train/seg_train/{label}/{i}.jpg",
        "seg_pred/seg_pred/{i}.jpg",
        {S: ("id,label", "{i},sea")},
        "id,label",
        "{i}",
        others=[
            f"seg_test/seg_test/{name}/9{n}.jpg" for name in ("buildings", "forest", "sea") for n in range(3)
        ],
        says="not used: 9 images in seg_test/; to learn from them too state make_table=lambda root: reshape.named(root,"
        " 'seg_train/seg_train/{label}/*', 'seg_test/seg_test/{label}/*')",
    ),
    Layout(
        "chest-xray",
        "NORMAL PNEUMONIA",
        "chest_xray/train/{label}/IM-{i}.jpeg",
        "chest_xray/test/IM-{i}.jpeg",
        {},
        "id,label",
        "IM-{i}.jpeg",
        "binary",
        others=[f"chest_xray/val/{name}/v{n}.jpeg" for name in ("NORMAL", "PNEUMONIA") for n in range(3)],
        says="not used: 6 images in chest_xray/val/; to learn from them too state make_table=lambda root: reshape.named(root,"
        " 'chest_xray/train/{label}/*', 'chest_xray/val/{label}/*')",
    ),
    Layout(
        "asl-alphabet",
        [*"ABCDEFGHIJKL", "del"],
        "asl_alphabet_train/asl_alphabet_train/{label}/{label}{i}.jpg",
        "asl_alphabet_test/asl_alphabet_test/{i}_test.jpg",
        {},
        "id,label",
        "{i}_test.jpg",
        n=26,
        says="no mirror",
    ),
    Layout(
        "flowers-tpu-jpeg",
        "rose tulip daisy",
        "train/{label}/{h}.jpeg",
        "test/{h}.jpeg",
        {S: ("id,label", "{h},0")},
        "id,label",
        "{h}",
        says="none of the labels",
    ),
    Layout(
        "kuzushiji",
        "U+304A U+304D U+3059",
        "train/{label}/{h}.png",
        "test/{h}.png",
        {S: ("id,character", "{h},U+304A")},
        "id,character",
        "{h}",
    ),
    Layout(
        "ship-classification",
        "1 2 3 4 5",
        "train/images/{i}.jpg",
        "train/images/{i}.jpg",
        {
            "train/train.csv": ("image,category", "{i}.jpg,{label}"),
            "test_ApKoW4T.csv@test": ("image", "{i}.jpg"),
            "sample_submission_ns2btKE.csv@test": ("image,category", "{i}.jpg,1"),
        },
        "image,category",
        "{i}.jpg",
        n=15,
    ),
    Layout(
        "emergency-vs-non-emergency",
        "0 1",
        "images/{i}.jpg",
        "images/{i}.jpg",
        {
            "train.csv": ("image_names,emergency_or_not", "{i}.jpg,{label}"),
            "test.csv@test": ("image_names", "{i}.jpg"),
            "sample_submission.csv@test": ("image_names,emergency_or_not", "{i}.jpg,0"),
        },
        "image_names,emergency_or_not",
        "{i}.jpg",
        "binary",
        says="may stand for a label or for a probability",
    ),
    Layout(
        "age-detection-indian-actors",
        "YOUNG MIDDLE OLD",
        "Train/{i}.jpg",
        "Test/{i}.jpg",
        {
            "train.csv": ("ID,Class", "{i}.jpg,{label}"),
            "test.csv@test": ("ID", "{i}.jpg"),
            "sample_submission.csv@test": ("Class,ID", "YOUNG,{i}.jpg"),
        },
        "Class,ID",
        "{i}.jpg",
    ),
    Layout(
        "gender-of-pets-hackerearth",
        "Cat Dog Owl",
        "dataset/train/{h}.jpg",
        "dataset/test/{h}.jpg",
        {
            "dataset/train.csv": ("Image,Breed,Group", "{h}.jpg,{label},g{g}"),
            "dataset/test.csv@test": ("Image", "{h}.jpg"),
            "dataset/sample.csv@test": ("Image,Breed", "{h}.jpg,Cat"),
        },
        "Image,Breed",
        "{h}.jpg",
    ),
    Layout(
        "gala-images",
        "Food Attire misc",
        "dataset/Train Images/image{i}.jpg",
        "dataset/Test Images/image{i}.jpg",
        {
            "dataset/train.csv": ("Image,Class", "image{i}.jpg,{label}"),
            "dataset/test.csv@test": ("Image", "image{i}.jpg"),
        },
        "Image,Class",
        "image{i}.jpg",
    ),
    Layout(
        "fashion-product-images",
        "Shirts Jeans Watches",
        "images/{i}.jpg",
        "images/{i}.jpg",
        {
            "styles.csv": (
                "id,gender,articleType,season,productDisplayName",
                "{i},Men,{label},Fall,Turtle Check {i}",
            ),
            S: ("id,articleType", "{i},Shirts"),
        },
        "id,articleType",
        "{i}",
        n=60,
        also=lambda root: (root / "styles.csv").write_text(
            (root / "styles.csv").read_text().replace("Turtle Check 7\n", "Turtle Check, blue, 7\n")
        ),
    ),
    Layout(
        "celeba-attributes",
        "0 1",
        "img_align_celeba/img_align_celeba/{i:06}.jpg",
        "test/{i:06}.jpg",
        {
            "list_attr_celeba.csv": ("image_id,Bald,Smiling,Young", "{i:06}.jpg,-1,{x},1"),
            S: ("image_id,Bald,Smiling,Young", "{i:06}.jpg,0,0,0"),
        },
        "image_id,Bald,Smiling,Young",
        "{i:06}.jpg",
        "multilabel",
        "probabilities",
        truth="0 {code} 1",
        also=lambda root: (root / "list_attr_celeba.csv").write_text(
            "image_id,Bald,Smiling,Young\n"
            + "".join(f"{item['i']:06}.jpg,-1,{2 * item['code'] - 1},1\n" for item in CELEBA().items("train"))
        ),
    ),
    Layout(
        "gtsrb",
        "0 1 14 38",
        "Train/{label}/{h}.png",
        "Test/{h}.png",
        {
            "Train.csv": ("Width,Height,Roi.X1,ClassId,Path", "27,2{k},5,{label},Train/{label}/{h}.png"),
            "Test.csv@test": ("Width,Height,Roi.X1,Path", "53,54,6,Test/{h}.png"),
            S: ("Path,ClassId", "Test/{h}.png,0"),
        },
        "Path,ClassId",
        "Test/{h}.png",
        n=16,
    ),
    Layout(
        "gtsrb-original",
        "00000 00014 00038",
        "GTSRB/Final_Training/Images/{label}/{h}.ppm.png",
        "GTSRB/Final_Test/Images/{i:05}.png",
        {"sample_submission.csv@test": ("Filename,ClassId", "{i:05}.png,00014")},
        "Filename,ClassId",
        "{i:05}.png",
    ),
    # -- Dacon
    Layout(
        "dacon-bird",
        "B006 B012 B013",
        "train/TRAIN_{k:05}.jpg",
        "test/TEST_{k:05}.jpg",
        {
            "train.csv": (
                "img_path,upscale_img_path,label",
                "./train/TRAIN_{k:05}.jpg,./upscale_train/TRAIN_{k:05}.png,{label}",
            ),
            "test.csv@test": ("id,img_path", "TEST_{k:05},./test/TEST_{k:05}.jpg"),
            S: ("id,label", "TEST_{k:05},B006"),
        },
        "id,label",
        "TEST_{k:05}",
    ),
    Layout(
        "dacon-wallpaper",
        ["훼손", "오염", "면불량"],
        "train/{label}/{i}.png",
        "test/{k:03}.png",
        {
            "test.csv@test": ("id,img_path", "TEST_{k:03},./test/{k:03}.png"),
            S: ("id,label", "TEST_{k:03},훼손"),
        },
        "id,label",
        "TEST_{k:03}",
    ),
    Layout(
        "dacon-cp949",
        ["고양이", "강아지", "토끼"],
        "train/{i}.jpg",
        "test/{i}.jpg",
        {"train.csv": ("파일명,라벨", "{i}.jpg,{label}"), S: ("파일명,라벨", "{i}.jpg,고양이")},
        "파일명,라벨",
        "{i}.jpg",
        encoding="cp949",
    ),
    Layout(
        "dacon-artist",
        ["Vincent van Gogh", "Diego Velazquez", "Claude Monet"],
        "train/{k:04}.jpg",
        "test/TEST_{k:04}.jpg",
        {
            "train.csv": ("id,img_path,artist", "{k},./train/{k:04}.jpg,{label}"),
            "test.csv@test": ("id,img_path", "TEST_{k:04},./test/TEST_{k:04}.jpg"),
            S: ("id,artist", "TEST_{k:04},Edgar Degas"),
        },
        "id,artist",
        "TEST_{k:04}",
        says="none of the labels",
    ),
    Layout(
        "dacon-permuted-index",
        "cat dog owl",
        "train/{j}.jpg",
        "test/{j}.jpg",
        {
            "train.csv": ("index,file_name,label", "{k},{j}.jpg,{label}"),
            "test.csv@test": ("index,file_name", "{k},{j}.jpg"),
            S: ("index,label", "{k},0"),
        },
        "index,label",
        "{k}",
        says="none of the labels",
    ),
    Layout(
        "dacon-lego-numbers",
        "10 2 30",
        "train/{k:03}.png",
        "test/{k:03}.png",
        {
            "train_df.csv": ("file,label", "{k},{label}"),
            "test_df.csv@test": ("file", "{k}"),
            S: ("file,label", "{k},10"),
        },
        "file,label",
        "{k}",
    ),
    Layout(
        "dacon-anomaly",
        "good-bottle broken_large-bottle good-cable",
        "train/{i}.png",
        "test/{i}.png",
        {
            "train_df.csv": ("index,file_name,class,state,label", "{k},{i}.png,x,y,{label}"),
            "test_df.csv@test": ("index,file_name", "{k},{i}.png"),
            S: ("index,label", "{k},good-cable"),
        },
        "index,label",
        "{k}",
    ),
    Layout(
        "dacon-landmark",
        ["0", "1", "2"],
        "public/train/{g}/{h}.JPG",
        "public/test/{g}/{h}.JPG",
        {
            "public/train.csv": ("id,landmark_id", "{h},{label}"),
            "public/sample_submission.csv@test": ("id,landmark_id,conf", "{h},0,0.5"),
        },
        "id,landmark_id,conf",
        "{h}",
        asks=True,
    ),
    Layout(
        "dacon-mnist-letters",
        [*"ABCDEFGHIJKL"],
        "train/{k:05}.png",
        "test/{k:05}.png",
        {"train_labels.csv": ("id,letter", "{k:05},{label}"), S: ("id,letter", "{k:05},A")},
        "id,letter",
        "{k:05}",
        n=24,
        says="no mirror",
    ),
    # -- BoostCamp
    Layout(
        "boostcamp-sketch",
        "0 1 2",
        "data/train/{label}_class/{h}.JPEG",
        "data/test/{i}.JPEG",
        {
            "data/train.csv": ("class_name,image_path,target", "n{code},{label}_class/{h}.JPEG,{label}"),
            "data/test.csv@test": ("image_path", "{i}.JPEG"),
            "data/sample_submission.csv@test": ("ID,image_path,target", "{k},{i}.JPEG,0"),
        },
        "ID,image_path,target",
        "{k}",
    ),
    Layout(
        "boostcamp-receipts",
        "0 1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("ID,target", "{h}.jpg,{label}"),
            "meta.csv": ("target,class_name", "{k},name{k}"),
            S: ("ID,target", "{h}.jpg,0"),
        },
        "ID,target",
        "{h}.jpg",
    ),
    # -- Zindi, DrivenData, AIcrowd, SIGNATE, Tianchi ...
    Layout(
        "zindi-wheat-rust",
        "healthy_wheat leaf_rust stem_rust",
        "train/{label}/{h}.jpg",
        "test/{h}.jpg",
        {"sample_submission.csv@test": ("ID,leaf_rust,stem_rust,healthy_wheat", "{h},0,0,0")},
        "ID,leaf_rust,stem_rust,healthy_wheat",
        "{h}",
        answer="probabilities",
    ),
    Layout(
        "zindi-makerere-beans",
        "als bean_rust healthy",
        "images/{h}.jpg",
        "images/{h}.jpg",
        {
            "Train.csv": ("Image_id,Label", "{h}.jpg,{label}"),
            "Test.csv@test": ("Image_id", "{h}.jpg"),
            "SampleSubmission.csv@test": ("Image_id,als,bean_rust,healthy", "{h}.jpg,0,0,0"),
        },
        "Image_id,als,bean_rust,healthy",
        "{h}.jpg",
        answer="probabilities",
    ),
    Layout(
        "zindi-sasol-turtles",
        "t_id_1 t_id_2 t_id_3",
        "images/ID_{h}.JPG",
        "images/ID_{h}.JPG",
        {
            "train.csv": ("image_id,image_location,turtle_id", "ID_{h},side,{label}"),
            "test.csv@test": ("image_id,image_location", "ID_{h},side"),
            "sample_submission.csv@test": ("image_id,prediction1", "ID_{h},t_id_1"),
        },
        "image_id,prediction1",
        "ID_{h}",
    ),
    Layout(
        "zindi-digital-green-count",
        [str(n) for n in (0, 3, 12, 7, 1, 30, 5, 2, 18, 9, 4, 22)],
        "TrainImages/id_{h}.jpg",
        "TestImages/id_{h}.jpg",
        {
            "Train.csv": ("ID,Count", "id_{h},{label}"),
            "Test.csv@test": ("ID", "id_{h}"),
            "SampleSubmission.csv@test": ("ID,Count", "id_{h},0"),
        },
        "ID,Count",
        "id_{h}",
        "regression",
        "value",
    ),
    Layout(
        "drivendata-conservision",
        "antelope_duiker bird blank",
        "train_features/ZJ{h}.jpg",
        "test_features/ZJ{h}.jpg",
        {
            "train_features.csv": ("id,filepath,site", "ZJ{h},train_features/ZJ{h}.jpg,S{g:04}"),
            "train_labels.csv": ("id,antelope_duiker,bird,blank", "ZJ{h},{hot}"),
            "test_features.csv@test": ("id,filepath,site", "ZJ{h},test_features/ZJ{h}.jpg,S9{g:03}"),
            "submission_format.csv@test": ("id,antelope_duiker,bird,blank", "ZJ{h},0.3,0.3,0.3"),
        },
        "id,antelope_duiker,bird,blank",
        "ZJ{h}",
        answer="probabilities",
        says="train_features.csv names 12 training images: column site looks like a group",
        n=12,
    ),
    Layout(
        "drivendata-bees",
        "0.0 1.0",
        "images/train/{i}.jpg",
        "images/test/{i}.jpg",
        {
            "train_labels.csv": ("id,genus", "{i},{label}"),
            "SubmissionFormat.csv@test": ("id,genus", "{i},0.0"),
        },
        "id,genus",
        "{i}",
        "binary",
        "probability",
        truth="{code}",
    ),
    Layout(
        "drivendata-open-ai-roofs",
        "1 2 3",
        "stac/train/{h}.tif",
        "stac/test/{h}.tif",
        {
            "train.csv": ("building_id,roof_material,verified", "{h},{label},True"),
            "test.csv@test": ("building_id", "{h}"),
            "submission_format.csv@test": ("building_id,roof_material", "{h},1"),
        },
        "building_id,roof_material",
        "{h}",
    ),
    Layout(
        "drivendata-hakuna-season",
        "0 1",
        "S1/{h}.JPG",
        "S2/{h}.JPG",
        {
            "train_metadata.csv": ("seq_id,file_name", "SER_S1#{h},S1/{h}.JPG"),
            "train_labels.csv": ("file_name,gazelle,zebra", "S1/{h}.JPG,{code},1"),
            "submission_format.csv@test": ("file_name,gazelle,zebra", "S2/{h}.JPG,0.5,0.5"),
        },
        "file_name,gazelle,zebra",
        "S2/{h}.JPG",
        "multilabel",
        "probabilities",
        truth="{code} 1",
    ),
    Layout(
        "aicrowd-snakes",
        "agkistrodon-contortrix boa-imperator crotalus-atrox",
        "train/{label}/{h}.jpg",
        "round1/{h}.jpg",
        {
            "given_submission_sample.csv@test": (
                "filename,agkistrodon-contortrix,boa-imperator,crotalus-atrox",
                "{h}.jpg,0.3,0.3,0.3",
            )
        },
        "filename,agkistrodon-contortrix,boa-imperator,crotalus-atrox",
        "{h}.jpg",
        answer="probabilities",
    ),
    Layout(
        "aicrowd-food",
        "water pizza salad",
        "train_images/{h}.jpg",
        "test_images/{h}.jpg",
        {
            "train.csv": ("ImageId,ClassName", "{h}.jpg,{label}"),
            "test.csv@test": ("ImageId", "{h}.jpg"),
            "sample_submission.csv@test": ("ImageId,ClassName", "{h}.jpg,water"),
        },
        "ImageId,ClassName",
        "{h}.jpg",
    ),
    Layout(
        "aicrowd-blitz-faces",
        "0 1 2",
        "training/{i:05}.jpg",
        "testing/{i:05}.jpg",
        {"training.csv": ("id,label", "{i:05},{label}")},
        "id,label",
        "{i:05}",
    ),
    Layout(
        "signate-food",
        "0 1 2",
        "train_images/train_{k}.jpg",
        "test_images/test_{k}.jpg",
        {
            "train_master.tsv": ("file_name\tcategory_id", "train_{k}.jpg\t{label}"),
            "sample_submit.tsv@test": ("", "test_{k}.jpg\t0"),
        },
        "column 1,column 2",
        "test_{k}.jpg",
    ),
    Layout(
        "signate-parts",
        "0 1",
        "train_{g}/train_{k}.jpg",
        "test/test_{k}.jpg",
        {
            "train_master.tsv": ("file_name\tflag", "train_{k}.jpg\t{label}"),
            "sample_submit.csv@test": ("", "test_{k}.jpg,0"),
        },
        "column 1,column 2",
        "test_{k}.jpg",
        "binary",
        says="probability",
    ),
    Layout(
        "signate-cp932",
        ["犬の写真", "猫の写真", "鳥の写真"],
        "train/{i}.png",
        "test/{i}.png",
        {
            "train.csv": ("ファイル名,ラベル", "{i}.png,{label}"),
            "sample_submit.csv@test": ("ファイル名,ラベル", "{i}.png,犬の写真"),
        },
        "ファイル名,ラベル",
        "{i}.png",
        encoding="cp932",
    ),
    Layout(
        "tianchi-gb18030",
        ["猫的图片", "狗的照片", "鸟的照片"],
        "训练集/{i}.jpg",
        "测试集/{i}.jpg",
        {
            "训练集标签.csv": ("图片名,类别", "{i}.jpg,{label}"),
            "提交示例.csv@test": ("图片名,类别", "{i}.jpg,猫的图片"),
        },
        "图片名,类别",
        "{i}.jpg",
        encoding="gb18030",
    ),
    Layout(
        "tianchi-headless",
        "0 1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.txt": ("", "{h}.jpg {label}"), "submit_example.csv@test": ("image,label", "{h}.jpg,0")},
        "image,label",
        "{h}.jpg",
    ),
    Layout(
        "aidea-defects",
        "0 1 2",
        "train_images/train_{k:05}.png",
        "test_images/test_{k:05}.png",
        {
            "train.csv": ("ID,Label", "train_{k:05}.png,{label}"),
            "test.csv@test": ("ID,Label", "test_{k:05}.png,"),
        },
        "ID,Label",
        "test_{k:05}.png",
    ),
    Layout(
        "tbrain-big5-orchids",
        ["蝴蝶蘭花", "石斛蘭花", "嘉德麗雅"],
        "training/{h}.jpg",
        "testing/{h}.jpg",
        {
            "label.csv": ("filename,category", "{h}.jpg,{label}"),
            "submission_template.csv@test": ("filename,category", "{h}.jpg,石斛蘭花"),
        },
        "filename,category",
        "{h}.jpg",
        encoding="big5",
    ),
    Layout(
        "heavy-makeup-output",
        "0 1 2",
        "img/{h}.jpg",
        "img/{h}.jpg",
        {"ground_truth.csv": ("photo,kind", "{h},{label}"), "output.csv@test": ("photo,kind", "{h},0")},
        "photo,kind",
        "{h}",
    ),
    Layout(
        "huawei-garbage",
        "0 1 2",
        "train_data/img_{i}.jpg",
        "test_data/img_{i}.jpg",
        {"result_template.csv@test": ("name,label", "img_{i}.jpg,0")},
        "name,label",
        "img_{i}.jpg",
    ),
    # -- Hugging Face, Roboflow, ImageFolder
    Layout(
        "hf-imagefolder-csv",
        "cat dog owl",
        "train/{h}.png",
        "test/{h}.png",
        {
            "train/metadata.csv": ("file_name,label", "{h}.png,{label}"),
            "test/metadata.csv@test": ("file_name", "{h}.png"),
            S: ("file_name,label", "{h}.png,cat"),
        },
        "file_name,label",
        "{h}.png",
    ),
    Layout(
        "hf-imagefolder-jsonl",
        "cat dog owl",
        "data/train/{h}.png",
        "data/test/{h}.png",
        {},
        "file_name,label",
        "{h}.png",
    ),
    Layout(
        "hf-classes",
        "angular_leaf_spot bean_rust healthy",
        "train/{label}/{label}_train.{i}.jpg",
        "test/{h}.jpg",
        {},
        "id,label",
        "{h}.jpg",
        others=[
            f"validation/{name}/v{n}.jpg"
            for name in ("angular_leaf_spot", "bean_rust", "healthy")
            for n in range(3)
        ],
        says="not used: 9 images in validation/; to learn from them too state make_table=lambda root: reshape.named(root,"
        " 'train/{label}/*', 'validation/{label}/*')",
    ),
    Layout(
        "roboflow-folders",
        "daisy rose tulip",
        "train/{label}/{h}_jpg.rf.{i}.jpg",
        "test/{h}_jpg.rf.{i}.jpg",
        {},
        "id,label",
        "{h}_jpg.rf.{i}.jpg",
        also=both(
            put("README.dataset.txt", "Flowers, 2 classes\nhttps://x\n"),
            put("README.roboflow.txt", "Flowers - v1\n\nexported"),
        ),
        others=[f"valid/{name}/v{n}.jpg" for name in ("daisy", "rose", "tulip") for n in range(2)],
        says="not used: 6 images in valid/; to learn from them too state make_table=lambda root: reshape.named(root,"
        " 'train/{label}/*', 'valid/{label}/*')",
    ),
    Layout(
        "roboflow-multiclass-csv",
        "cat dog",
        "train/{h}_jpg.rf.{i}.jpg",
        "test/{h}_jpg.rf.{i}.jpg",
        {
            "train/_classes.csv": ("filename, cat, dog", "{h}_jpg.rf.{i}.jpg, {hot}"),
            S: ("filename,cat,dog", "{h}_jpg.rf.{i}.jpg,0.5,0.5"),
        },
        "filename,cat,dog",
        "{h}_jpg.rf.{i}.jpg",
        "binary",
        "probabilities",
    ),
    Layout(
        "imagefolder-root",
        "cat dog owl",
        "{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "imagefolder-two-levels",
        "cat dog owl bat",
        "train/camera{g}/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "imagefolder-two-levels-silent",
        "cat dog owl bat",
        "train/camera{g}/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},")},
        "id,label",
        "{h}",
        asks=True,
    ),
    Layout(
        "imagenet-kernel",
        "n01440764 n01443537 n01484850",
        "ILSVRC/Data/CLS-LOC/train/{label}/{label}_{i}.JPEG",
        "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_{i:08}.JPEG",
        {S: ("ImageId,PredictionString", "ILSVRC2012_test_{i:08},n01440764 n01443537 n01484850")},
        "ImageId,PredictionString",
        "ILSVRC2012_test_{i:08}",
        answer="ranked",
    ),
    Layout(
        "food-101-subset",
        "apple_pie ramen",
        "images/{label}/{i}.jpg",
        "images/{label}/{i}.jpg",
        {"meta/train.json": ("", ""), "meta/sample_submission.csv@test": ("id,label", "{label}/{i},ramen")},
        "id,label",
        "{label}/{i}",
        "binary",
        asks=True,
    ),
    Layout(
        "csv-labels-as-json-map",
        "0 1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},0")},
        "id,label",
        "{h}",
    ),
    Layout(
        "csv-labels-as-json-list",
        "cat dog owl",
        "imgs/{h}.jpg",
        "imgs/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "parquet-table",
        "cat dog owl",
        "imgs/{h}.jpg",
        "imgs/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    # -- several images per row, several tables, encodings of ids
    Layout(
        "several-views-per-case",
        "0 1",
        "train/{g}_{k}.png",
        "test/{g}_{k}.png",
        {
            "train.csv": ("image_id,case_id,label", "{g}_{k},{g},{label}"),
            "test.csv@test": ("image_id,case_id", "{g}_{k},T{g}"),
            S: ("case_id,label", "T{g},0.5"),
        },
        "case_id,label",
        "T{g}",
        "binary",
        "probability",
        m=6,
        also=lambda root: (root / SAMPLE).write_text("case_id,label\nT0,0.5\nT1,0.5\n"),
    ),
    Layout(
        "ids-in-other-case",
        "cat dog owl",
        "train/IMG_{h}.JPG",
        "test/IMG_{h}.JPG",
        {"train.csv": ("id,label", "img_{h}.jpg,{label}"), S: ("id,label", "img_{h}.jpg,cat")},
        "id,label",
        "img_{h}.jpg",
    ),
    Layout(
        "jpg-in-csv-png-on-disk",
        "cat dog owl",
        "train/{h}.png",
        "test/{h}.png",
        {"train.csv": ("id,label", "{h}.jpg,{label}"), S: ("id,label", "{h}.jpg,cat")},
        "id,label",
        "{h}.jpg",
    ),
    Layout(
        "zero-padded",
        "cat dog owl",
        "train/{i:06}.png",
        "test/{i:06}.png",
        {"train.csv": ("id,label", "{i},{label}"), S: ("id,label", "{i},cat")},
        "id,label",
        "{i}",
    ),
    Layout(
        "prefixed-files",
        "cat dog owl",
        "train/pet_{i:05}.png",
        "test/pet_{i:05}.png",
        {"train.csv": ("id,label", "{i},{label}"), S: ("id,label", "{i},cat")},
        "id,label",
        "{i}",
    ),
    Layout(
        "numbered-parts",
        "cat dog owl",
        "images_00{g}/{h}.jpg",
        "test/{h}.jpg",
        {
            "Data_Entry.csv": ("Image Index,Finding Labels,Patient ID", "{h}.jpg,{label},{g}"),
            S: ("Image Index,Finding Labels", "{h}.jpg,cat"),
        },
        "Image Index,Finding Labels",
        "{h}.jpg",
        says="group='Patient ID'",
    ),
    Layout(
        "nih-chest-x-ray",
        [
            "No Finding",
            "Edema",
            "Effusion|Edema",
            "Effusion",
            "Mass",
            "Mass|Edema",
            "Hernia",
            "Effusion|Hernia",
            "Mass|Effusion|Edema",
        ],
        "images_00{g}/images/{h}.png",
        "test/{h}.png",
        {
            "Data_Entry_2017.csv": (
                "Image Index,Finding Labels,Follow-up #,Patient ID",
                "{h}.png,{label},{k},{g}",
            ),
            S: ("Image Index,Edema,Effusion,Hernia,Mass,No Finding", "{h}.png,0,0,0,0,0"),
        },
        "Image Index,Edema,Effusion,Hernia,Mass,No Finding",
        "{h}.png",
        "multilabel",
        "probabilities",
        n=18,
        asks=True,
        truth="{label}",
    ),
    Layout(
        "sites-beside",
        "0 1",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "train_sites.csv": ("id,site", "{h},s{g}"),
            S: ("id,label", "{h},0.5"),
        },
        "id,label",
        "{h}",
        "binary",
        "probability",
        says="column site looks like a group",
    ),
    Layout(
        "validation-beside",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        also=put("val.csv", "id,label\nv0,cat\nv1,dog\nv2,owl\n"),
        others=[f"val/v{n}.jpg" for n in range(3)],
        says="val.csv",
    ),
    Layout(
        "inner-copies",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        also=lambda root: [
            (root / part / part / file.name).parent.mkdir(exist_ok=True)
            or (root / part / part / file.name).write_bytes(file.read_bytes())
            for part in ("train", "test")
            for file in [*(root / part).glob("*.jpg")]
        ],
    ),
    Layout(
        "class-codes-and-names",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,class_id,class_name", "{h},{code},{label}"), S: ("id,prediction", "{h},cat")},
        "id,prediction",
        "{h}",
    ),
    Layout(
        "wide-scores",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,prob_cat,prob_dog,prob_owl", "{h},0.3,0.3,0.3")},
        "id,prob_cat,prob_dog,prob_owl",
        "{h}",
        answer="probabilities",
    ),
    Layout(
        "ordered-columns",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("label,id", "{label},{h}"), S: ("label,id", "cat,{h}")},
        "label,id",
        "{h}",
    ),
    Layout(
        "urls-beside",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("url,id,label", "http://h/{h}.jpeg?w=1,{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "positive-is-two",
        "1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,y", "{h},{label}"), S: ("id,y", "{h},0.5")},
        "id,y",
        "{h}",
        "binary",
        "probability",
        says="probability",
    ),
    Layout(
        "left-right",
        "left right",
        "train/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,side", "{h},left")},
        "id,side",
        "{h}",
        "binary",
        says="no mirror",
    ),
    Layout(
        "digits-without-zero",
        [*"123456789"],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},1")},
        "id,label",
        "{h}",
        n=27,
        says="no mirror",
    ),
    Layout(
        "path-of-host",
        "cat dog owl",
        "images/train/{h}.jpg",
        "images/test/{h}.jpg",
        {
            "train.csv": ("id,path,label", "{k},/kaggle/input/pets-2024/images/train/{h}.jpg,{label}"),
            "test.csv@test": ("id,path", "{i},/kaggle/input/pets-2024/images/test/{h}.jpg"),
            S: ("id,label", "{i},cat"),
        },
        "id,label",
        "{i}",
    ),
    Layout(
        "backslashes",
        "cat dog owl",
        "train/a/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,file,label", "{k},train\\a\\{h}.jpg,{label}"),
            "test.csv@test": ("id,file", "{i},test\\{h}.jpg"),
            S: ("id,label", "{i},cat"),
        },
        "id,label",
        "{i}",
    ),
    Layout(
        "regression-of-two",
        "a b",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,x,y", "{h},{x},1{k}.5"), S: ("id,x,y", "{h},0.0,0.0")},
        "id,x,y",
        "{h}",
        "regression",
        "value",
        truth="{x} 1{k}.5",
    ),
    # -- written to see what was not thought of: most of these were right at once
    Layout(
        "cassava-2019",
        "cbb cmd healthy",
        "train/train/{label}/train-{label}-{i}.jpg",
        "test/test/0/test-img-{i}.jpg",
        {"sample_submission_file.csv@test": ("Category,Id", "cbb,test-img-{i}.jpg")},
        "Category,Id",
        "test-img-{i}.jpg",
        others=[f"extraimages/extraimages/extra-image-{n}.jpg" for n in range(5)],
        says="not used: 5 images in extraimages",
    ),
    Layout(
        "invasive-species",
        "0 1",
        "train/{k}.jpg",
        "test/{k}.jpg",
        {
            "train_labels.csv": ("name,invasive", "{k},{label}"),
            "sample_submission.csv@test": ("name,invasive", "{k},0.5"),
        },
        "name,invasive",
        "{k}",
        "binary",
        "probability",
    ),
    Layout(
        "galaxy-zoo",
        "a b",
        "images_training_rev1/{i}.jpg",
        "images_test_rev1/{i}.jpg",
        {
            "training_solutions_rev1.csv": ("GalaxyID,Class1.1,Class1.2", "{i},0.{k},0.5"),
            "all_zeros_benchmark.csv@test": ("GalaxyID,Class1.1,Class1.2", "{i},0.0,0.0"),
        },
        "GalaxyID,Class1.1,Class1.2",
        "{i}",
        "regression",
        "value",
        truth="0.{k} 0.5",
    ),
    Layout(
        "fisheries",
        "ALB BET LAG",
        "train/{label}/img_{i:05}.jpg",
        "test_stg1/img_{i:05}.jpg",
        {"sample_submission_stg1.csv@test": ("image,ALB,BET,LAG", "img_{i:05}.jpg,0.4,0.3,0.3")},
        "image,ALB,BET,LAG",
        "img_{i:05}.jpg",
        answer="probabilities",
    ),
    Layout(
        "cervical",
        "Type_1 Type_2 Type_3",
        "train/{label}/{i}.jpg",
        "test/{k}.jpg",
        {"sample_submission.csv@test": ("image_name,Type_1,Type_2,Type_3", "{k}.jpg,0.3,0.3,0.3")},
        "image_name,Type_1,Type_2,Type_3",
        "{k}.jpg",
        answer="probabilities",
        others=[f"additional/Type_{n}/a{n}.jpg" for n in (1, 2, 3)],
        says="not used: 3 images in additional",
    ),
    Layout(
        "bengali-rows",
        "0 1",
        "train/Train_{k}.png",
        "test/Test_{k}.png",
        {
            "train.csv": ("image_id,grapheme_root,vowel_diacritic,grapheme", "Train_{k},1{k},{code},x"),
            "test.csv@test": (
                "row_id,image_id,component",
                "Test_{k}_grapheme_root,Test_{k},grapheme_root\nTest_{k}_vowel_diacritic,Test_{k},vowel_diacritic",
            ),
            S: ("row_id,target", "Test_{k}_grapheme_root,0\nTest_{k}_vowel_diacritic,0"),
        },
        "row_id,target",
        "Test_{k}",
        "regression",
        "value",
        truth="1{k} {code}",
        says="codes of classes",
    ),
    Layout(
        "wind-storms",
        "a b",
        "train/abs_{i:03}.jpg",
        "test/abs_{i:03}.jpg",
        {
            "training_set_features.csv": ("Image ID,Storm ID,Ocean", "abs_{i:03},s{g},1"),
            "training_set_labels.csv": ("Image ID,Wind Speed", "abs_{i:03},4{k}"),
            "test_set_features.csv@test": ("Image ID,Storm ID,Ocean", "abs_{i:03},s{g},1"),
            "submission_format.csv@test": ("Image ID,Wind Speed", "abs_{i:03},0"),
        },
        "Image ID,Wind Speed",
        "abs_{i:03}",
        "regression",
        "value",
        truth="4{k}",
        says="Storm ID",
    ),
    Layout(
        "plantvillage",
        "c_0 c_1 c_2",
        "crowdai/{label}/{h}.jpg",
        "test/{h}.jpg",
        {"sample.csv@test": ("filename,c_0,c_1,c_2", "{h}.jpg,0.3,0.3,0.3")},
        "filename,c_0,c_1,c_2",
        "{h}.jpg",
        answer="probabilities",
    ),
    Layout(
        "dirty-mnist",
        "0 1",
        "dirty_mnist_2nd/{i:05}.png",
        "test_dirty_mnist_2nd/{i:05}.png",
        {"dirty_mnist_2nd_answer.csv": ("index,a,b,c", "{i},{code},1,1"), S: ("index,a,b,c", "{i},0,0,0")},
        "index,a,b,c",
        "{i}",
        "multilabel",
        "probabilities",
        truth="{code} 1 1",
    ),
    Layout(
        "breast-masks",
        "0 1",
        "train_imgs/BC_{i:04}.png",
        "test_imgs/BC_{i:04}.png",
        {
            "train.csv": (
                "ID,img_path,mask_path,N_category",
                "BC_{i:04},./train_imgs/BC_{i:04}.png,./train_masks/BC_{i:04}.png,{label}",
            ),
            "test.csv@test": ("ID,img_path", "BC_{i:04},./test_imgs/BC_{i:04}.png"),
            S: ("ID,N_category", "BC_{i:04},0"),
        },
        "ID,N_category",
        "BC_{i:04}",
        "binary",
        asks=True,
        others=[f"train_masks/BC_{i:04}.png" for i in range(12)],
    ),
    Layout(
        "isic-2024",
        "0 1",
        "train-image/image/ISIC_{i:07}.jpg",
        "test-image/image/ISIC_{i:07}.jpg",
        {
            "train-metadata.csv": (
                "isic_id,target,patient_id,age_approx,sex",
                "ISIC_{i:07},{label},IP_{g},{k}5.0,male",
            ),
            "test-metadata.csv@test": ("isic_id,patient_id,age_approx,sex", "ISIC_{i:07},IP_{g},45.0,male"),
            S: ("isic_id,target", "ISIC_{i:07},0.3"),
        },
        "isic_id,target",
        "ISIC_{i:07}",
        "binary",
        "probability",
        says="group='patient_id'",
    ),
    Layout(
        "hotel-id",
        "111 222 333",
        "train_images/{g}/{h}.jpg",
        "test_images/{h}.jpg",
        {
            "train.csv": ("image,chain,hotel_id,timestamp", "{h}.jpg,{g},{label},2019-0{code}-01"),
            S: ("image,hotel_id", "{h}.jpg,111 222 333"),
        },
        "image,hotel_id",
        "{h}.jpg",
        answer="ranked",
    ),
    Layout(
        "landmarks-deep",
        "1 2 3",
        "train/{g}/0/{h}.jpg",
        "test/{g}/1/{h}.jpg",
        {"train.csv": ("id,landmark_id", "{h},{label}"), S: ("id,landmarks", "{h},1 0.1")},
        "id,landmarks",
        "{h}",
        says="holds several words",
    ),
    Layout(
        "vegetables",
        "Bean Carrot Potato",
        "Vegetable Images/train/{label}/{i:04}.jpg",
        "Vegetable Images/test/{label}/{i:04}.jpg",
        {},
        "id,label",
        "{i:04}.jpg",
        others=[f"Vegetable Images/validation/{n}/9.jpg" for n in ("Bean", "Carrot", "Potato")],
    ),
    Layout(
        "vegetables-repeating",
        "Bean Carrot Potato",
        "train/{label}/{k}.jpg",
        "test/{label}/{g}.jpg",
        {},
        "id,label",
        "{label}/{g}.jpg",
        m=3,
    ),
    Layout(
        "garbage-lists",
        "1 2 3",
        "pics/g{code}/g{i}.jpg",
        "pics/g{code}/g{i}.jpg",
        {
            "one-indexed-files-train.txt": ("", "g{i}.jpg {label}"),
            "one-indexed-files-test.txt@test": ("", "g{i}.jpg {label}"),
        },
        "column 1,column 2",
        "g{i}.jpg",
    ),
    Layout(
        "split-column",
        COVER,
        "images/{h}.jpg",
        "images/{h}.jpg",
        {"metadata.csv": ("path,split,label", "images/{h}.jpg,train,{label}")},
        "path,label",
        "images/{h}.jpg",
        asks=True,
        also=None,
    ),
    Layout(
        "one-folder-names-repeat",
        COVER,
        "train/{label}/{k}.jpg",
        "test/{i}.jpg",
        {"train.csv": ("file,kind", "{k}.jpg,{label}"), S: ("file,kind", "{i}.jpg,cat")},
        "file,kind",
        "{i}.jpg",
    ),
    Layout(
        "patients-as-folders",
        "0 1",
        "train_images/{g}/{k}.png",
        "test_images/{g}/{k}.png",
        {
            "train.csv": ("site_id,patient_id,image_id,laterality,cancer", "1,{g},{k},{s},{label}"),
            "test.csv@test": (
                "site_id,patient_id,image_id,laterality,prediction_id",
                "1,{g},{k},{s},{g}_{s}_{k}",
            ),
            S: ("prediction_id,cancer", "{g}_{s}_{k},0.02"),
        },
        "prediction_id,cancer",
        "{g}_{s}_{k}",
        "binary",
        "probability",
    ),
    Layout(
        "plant-traits",
        "a b",
        "train_images/{h}.jpeg",
        "test_images/{h}.jpeg",
        {
            "train.csv": ("id,WORLDCLIM_1,X4_mean,X11_mean", "{h},1{k}.5,{x},2{k}.25"),
            "test.csv@test": ("id,WORLDCLIM_1", "{h},3.5"),
            S: ("id,X4,X11", "{h},1.1,2.2"),
        },
        "id,X4,X11",
        "{h}",
        "regression",
        "value",
        truth="{x} 2{k}.25",
        asks=True,
    ),
    Layout(
        "npy-seti",
        "0 1",
        "train/{h}.png",
        "test/{h}.png",
        {"train_labels.csv": ("id,target", "{h},{label}"), S: ("id,target", "{h},0.5")},
        "id,target",
        "{h}",
        "binary",
        "probability",
    ),
    Layout(
        "alaska",
        "Cover JMiPOD UERD",
        "{label}/{i:05}.jpg",
        "Test/{i:04}.jpg",
        {S: ("Id,Label", "{i:04}.jpg,0.5")},
        "Id,Label",
        "{i:04}.jpg",
        answer="function",
        asks=True,
    ),
    Layout(
        "rps",
        "paper rock scissors",
        "rps/rps/{label}/{label}{i}.png",
        "rps-test/rps-test/{label}{i}.png",
        {},
        "id,label",
        "{label}{i}.png",
    ),
    Layout(
        "hateful",
        "0 1",
        "img/{h}.png",
        "img/{h}.png",
        {S: ("id,label", "{h},0")},
        "id,label",
        "{h}",
        "binary",
        says="label or for a probability",
    ),
    Layout(
        "tag-commas",
        ["a,b", "a", "b,c", "c", "a,c", "b", "a,b,c", "b,a"],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id;tags", "{h};{label}"), "sample_submission.csv@test": ("id;tags", "{h};a,b")},
        "id,tags",
        "{h}",
        "multilabel",
        "words",
        n=24,
    ),
    Layout(
        "quoted-path",
        "cat dog owl",
        "imgs/{h} (1).jpg",
        "imgs/{h} (1).jpg",
        {
            "train.csv": ("filename,label", '"{h} (1).jpg", "{label}"'),
            S: ("filename,label", '"{h} (1).jpg", "cat"'),
        },
        "filename,label",
        "{h} (1).jpg",
    ),
    Layout(
        "submission-in-folder",
        "cat dog owl",
        "data/train_set/{h}.jpg",
        "data/test_set/{h}.jpg",
        {
            "data/train_set_labels.csv": ("img,cls", "{h}.jpg,{label}"),
            "submissions/example.csv@test": ("img,cls", "{h}.jpg,cat"),
        },
        "img,cls",
        "{h}.jpg",
    ),
    Layout(
        "public-private",
        "cat dog owl",
        "train/{h}.jpg",
        "public/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "public_test.csv@test": ("id", "{h}"),
            S: ("id,label", "{h},cat"),
        },
        "id,label",
        "{h}",
        others=[f"private/p{n}.jpg" for n in range(3)],
        says="not used: 3 images in private",
    ),
    Layout(
        "two-samples",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            S: ("id,label", "{h},cat"),
            "random_submission.csv@test": ("id,label", "{h},dog"),
        },
        "id,label",
        "{h}",
        asks=True,
    ),
    Layout(
        "answers-of-last-year",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "train_v1.csv": ("id,label", "{h},cat"),
            S: ("id,label", "{h},cat"),
        },
        "id,label",
        "{h}",
        asks=True,
    ),
    Layout(
        "grades-as-words",
        "none mild severe",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,grade,grade_id", "{h},{label},{code}"), S: ("id,grade_id", "{h},0")},
        "id,grade_id",
        "{h}",
        truth="{code}",
    ),
    Layout(
        "ids-are-numbers-and-columns-too",
        "3 1 2",
        "train/{i}.jpg",
        "test/{i}.jpg",
        {
            "train.csv": ("id,age,site,label", "{i},{k},{g},{label}"),
            "test.csv@test": ("id,age,site", "{i},5,1"),
            S: ("id,label", "{i},1"),
        },
        "id,label",
        "{i}",
    ),
    Layout(
        "semicolon-sample",
        "cat dog owl",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id;label", "{h};{label}"), "sample.csv@test": ("id;label", "{h};cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "korean-folders",
        ["고양이", "강아지"],
        "학습데이터/{label}/{h}.jpg",
        "평가데이터/{h}.jpg",
        {"제출양식.csv@test": ("파일,정답", "{h}.jpg,고양이")},
        "파일,정답",
        "{h}.jpg",
        "binary",
    ),
    Layout(
        "labels-in-names",
        "n s e",
        "train/{i:04}_{label}.png",
        "test/{i:04}.png",
        {S: ("id,direction", "{i:04},n")},
        "id,direction",
        "{i:04}",
        asks=True,
    ),
    Layout(
        "face-emotions-upper",
        "angry happy sad",
        "fer/train/{label}/Training_{i}.jpg",
        "fer/test/{label}/Test_{i}.jpg",
        {},
        "id,label",
        "Test_{i}.jpg",
    ),
    Layout(
        "five-crops",
        "0 1",
        "train/{h}/0.png|train/{h}/1.png",
        "test/{h}/0.png|test/{h}/1.png",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},0.5")},
        "id,label",
        "{h}",
        "binary",
        "probability",
        asks=True,
        every=True,
    ),
    # -- a third look for what was not thought of
    Layout(
        "train-list-and-labels-in-two-tables",
        COVER,
        "img/{h}.jpg",
        "img/{h}.jpg",
        {
            "train.csv": ("case,label", "{i},{label}"),
            "images.csv": ("case,file", "{i},img/{h}.jpg"),
            "images_test.csv@test": ("case,file", "{i},img/{h}.jpg"),
            S: ("case,label", "{i},cat"),
        },
        "case,label",
        "{i}",
        asks=True,
    ),
    Layout(
        "no-image-suffix-in-path",
        COVER,
        "data/train/{h}.jpg",
        "data/test/{h}.jpg",
        {
            "train.csv": ("path,label", "data/train/{h},{label}"),
            "test.csv@test": ("path", "data/test/{h}"),
            S: ("path,label", "data/test/{h},cat"),
        },
        "path,label",
        "data/test/{h}",
    ),
    Layout(
        "sample-with-float-labels",
        "0 1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},0.0")},
        "id,label",
        "{h}",
        "regression",
        "value",
        says="are they classes",
    ),
    Layout(
        "label-first-column",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("label,filename,split_seed", "{label},{h}.jpg,{k}"),
            S: ("filename,label", "{h}.jpg,cat"),
        },
        "filename,label",
        "{h}.jpg",
    ),
    Layout(
        "binary-yes-no",
        "yes no",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,has_ship", "{h},{label}"), S: ("id,has_ship", "{h},0.5")},
        "id,has_ship",
        "{h}",
        "binary",
        "probability",
        says="probability of",
    ),
    Layout(
        "true-false",
        "True False",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,target", "{h},{label}"), S: ("id,target", "{h},False")},
        "id,target",
        "{h}",
        "binary",
    ),
    Layout(
        "ratings",
        "1 2 3 4 5",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,score", "{h},{label}"), S: ("id,score", "{h},3.0")},
        "id,score",
        "{h}",
        "regression",
        "value",
        n=30,
        says="amounts",
    ),
    Layout(
        "counts",
        [str(n) for n in range(0, 40, 3)],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,count", "{h},{label}"), S: ("id,count", "{h},0")},
        "id,count",
        "{h}",
        n=60,
        says='task="regression"',
    ),
    Layout(
        "two-labels-same-names",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,annotator1,annotator2,label", "{h},{label},cat,{label}"),
            S: ("id,label", "{h},cat"),
        },
        "id,label",
        "{h}",
    ),
    Layout(
        "test-with-dummy-labels",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "test.csv@test": ("id,label", "{h},unknown"),
            S: ("id,label", "{h},cat"),
        },
        "id,label",
        "{h}",
    ),
    Layout(
        "ids-with-slashes",
        COVER,
        "a/train/{g}/{h}.png",
        "a/test/{g}/{h}.png",
        {
            "a/train.csv": ("id,label", "{g}/{h},{label}"),
            "a/sample_submission.csv@test": ("id,label", "{g}/{h},cat"),
        },
        "id,label",
        "{g}/{h}",
    ),
    Layout(
        "xray-views",
        "0 1",
        "train/p{g}/study1/{h}.jpg",
        "test/p{g}/study1/{h}.jpg",
        {
            "train.csv": (
                "Path,Sex,Edema,Fracture",
                "CheXpert-v1.0-small/train/p{g}/study1/{h}.jpg,M,{code},1",
            ),
            S: ("Path,Edema,Fracture", "CheXpert-v1.0-small/test/p{g}/study1/{h}.jpg,0,0"),
        },
        "Path,Edema,Fracture",
        "CheXpert-v1.0-small/test/p{g}/study1/{h}.jpg",
        "multilabel",
        "probabilities",
        truth="{code} 1",
    ),
    Layout(
        "mapping-table-beside",
        "0 1 2",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "label_map.csv": ("label,name", "{k},n{k}"),
            S: ("id,label", "{h},n0"),
        },
        "id,label",
        "{h}",
        says="none of the labels",
    ),
    Layout(
        "all-in-one-folder-no-sample",
        COVER,
        "imgs/{h}.jpg",
        "imgs/{h}.jpg",
        {"labels.csv": ("id,label", "{h},{label}")},
        "id,label",
        "{h}.jpg",
        asks=True,
    ),
    Layout(
        "test-list-txt",
        COVER,
        "imgs/{h}.jpg",
        "imgs/{h}.jpg",
        {
            "train.txt": ("", "{h}.jpg\t{label}"),
            "test.txt@test": ("", "{h}.jpg"),
        },
        "column 1,column 2",
        "{h}.jpg",
    ),
    Layout(
        "train-txt-spaces-paths",
        "0 1 2",
        "JPEG/{label}/{h}.jpg",
        "JPEG/x/{h}.jpg",
        {"lists/train.txt": ("", "{label}/{h}.jpg {label}"), "lists/test.txt@test": ("", "x/{h}.jpg")},
        "column 1,column 2",
        "x/{h}.jpg",
    ),
    Layout(
        "classes-txt",
        COVER,
        "train/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("image,class", "{h}.jpg,0")},
        "image,class",
        "{h}.jpg",
        also=put("classes.txt", "cat\ndog\nowl\n"),
        says="none of the labels",
    ),
    Layout(
        "duplicate-rows",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}\n{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "weights-column",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label,weight,source", "{h},{label},{x},web"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "fold-column",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label,fold", "{h},{label},{code}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
    ),
    Layout(
        "soft-votes",
        "a b c",
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,a,b,c", "{h},0.{code},0.5,0.1"), S: ("id,a,b,c", "{h},0,0,0")},
        "id,a,b,c",
        "{h}",
        "regression",
        "value",
        truth="0.{code} 0.5 0.1",
    ),
    Layout(
        "test-a-test-b",
        COVER,
        "train/{h}.jpg",
        "testA/{h}.jpg",
        {"train.csv": ("id,label", "{h}.jpg,{label}"), "submit_A.csv@test": ("id,label", "{h}.jpg,cat")},
        "id,label",
        "{h}.jpg",
        others=[f"testB/{n}.jpg" for n in range(3)],
        says="not used: 3 images in testB",
    ),
    Layout(
        "unlabeled-folder",
        COVER,
        "train/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        others=[f"unlabeled/u{n}.jpg" for n in range(3)],
        says="unlabeled",
    ),
    Layout(
        "unlabeled-in-train",
        COVER,
        "train/{label}/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        others=[f"train/unlabeled/u{n}.jpg" for n in range(3)],
    ),
    Layout(
        "thumbs-and-sample-images",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        others=["sample_images/a.jpg", "sample_images/b.jpg", "docs/logo.png"],
    ),
    Layout(
        "index-zero-based-both",
        COVER,
        "train/{k}.jpg",
        "test/{k}.jpg",
        {"train.csv": ("Unnamed: 0,label", "{k},{label}"), S: ("Id,Expected", "{k},cat")},
        "Id,Expected",
        "{k}",
    ),
    Layout(
        "excel-bom-semicolon-cp1252",
        ["weiß", "größer", "rot"],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("Datei;Klasse", "{h}.jpg;{label}"),
            "abgabe_vorlage.csv@test": ("Datei;Klasse", "{h}.jpg;rot"),
        },
        "Datei,Klasse",
        "{h}.jpg",
        encoding="cp1252",
    ),
    Layout(
        "dotted-ids",
        COVER,
        "train/a.{i}.b.png",
        "test/a.{i}.b.png",
        {"train.csv": ("uid,label", "a.{i}.b,{label}"), S: ("uid,label", "a.{i}.b,cat")},
        "uid,label",
        "a.{i}.b",
    ),
    Layout(
        "train-and-valid-lists",
        COVER,
        "images/{h}.jpg",
        "images/{h}.jpg",
        {"train_list.csv": ("img,label", "{h}.jpg,{label}"), "test_list.csv@test": ("img", "{h}.jpg")},
        "img,label",
        "{h}.jpg",
        also=put("valid_list.csv", "img,label\nv0.jpg,cat\nv1.jpg,dog\n"),
        others=["images/v0.jpg", "images/v1.jpg"],
        says="valid_list.csv",
    ),
    Layout(
        "test-list-with-a-constant-and-no-sample",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,width,label", "{h},2{k},{label}"), "test.csv@test": ("id,width", "{h},256")},
        "id,label",
        "{h}",
    ),
    Layout(
        "columns-in-other-case",
        ["Cat", "DOG", "owl"],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,kind", "{h},{label}"), S: ("id,Cat,DOG,owl", "{h},0.3,0.3,0.3")},
        "id,Cat,DOG,owl",
        "{h}",
        answer="probabilities",
        asks=True,
        also=lambda root: (root / "train.csv").write_text((root / "train.csv").read_text().lower()),
    ),
    # -- where a wrong reading would run on
    Layout(
        "same-names-in-a-and-b",
        COVER,
        "a/{k}.jpg",
        "b/{k}.jpg",
        {"train.csv": ("id,label", "{k},{label}"), S: ("id,label", "{k},cat")},
        "id,label",
        "{k}",
    ),
    Layout(
        "same-names-in-a-and-b-swapped",
        COVER,
        "b/{k}.jpg",
        "a/{k}.jpg",
        {"train.csv": ("id,label", "{k},{label}"), S: ("id,label", "{k},cat")},
        "id,label",
        "{k}",
    ),
    Layout(
        "same-names-equal-size",
        COVER,
        "a/{k}.jpg",
        "b/{k}.jpg",
        {"train.csv": ("id,label", "{k},{label}"), S: ("id,label", "{k},cat")},
        "id,label",
        "{k}",
        n=12,
        m=12,
        asks=True,
    ),
    Layout(
        "twins-jpg-png",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,label", "{h},{label}"), S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        others=[f"train/{i * 7919 + 104729:06x}.png" for i in range(12)]
        + [f"test/{i * 7919 + 104729:06x}.png" for i in range(500, 504)],
        asks=True,
    ),
    Layout(
        "halves",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {S: ("id,label", "{h},cat")},
        "id,label",
        "{h}",
        asks=True,
    ),
    Layout(
        "site-of-two-values",
        ["ant", "bee", "fly", "moth"],
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("id,site,kind", "{h},{s},{label}"), S: ("id,ant,bee,fly,moth", "{h},0,0,0,0")},
        "id,ant,bee,fly,moth",
        "{h}",
        answer="probabilities",
    ),
    Layout(
        "numeric-id-and-file",
        COVER,
        "train/{j}.png",
        "test/{j}.png",
        {
            "train.csv": ("id,image,label", "{k},{j}.png,{label}"),
            "test.csv@test": ("id,image", "{i},{j}.png"),
            S: ("id,label", "{i},cat"),
        },
        "id,label",
        "{i}",
    ),
    Layout(
        "predictions-of-a-baseline-beside",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            S: ("id,label", "{h},cat"),
            "baseline_oof.csv": ("id,label", "{h},dog"),
        },
        "id,label",
        "{h}",
    ),
    Layout(
        "test-labels-leaked",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {
            "train.csv": ("id,label", "{h},{label}"),
            "test_labels.csv@test": ("id,label", "{h},{label}"),
            S: ("id,label", "{h},cat"),
        },
        "id,label",
        "{h}",
    ),
    Layout(
        "no-sample-but-test-csv",
        COVER,
        "train/{h}.jpg",
        "test/{h}.jpg",
        {"train.csv": ("image_id,breed,age", "{h},{label},{k}"), "test.csv@test": ("image_id,age", "{h},3")},
        "image_id,breed",
        "{h}",
    ),
]


def CELEBA() -> Layout:
    return next(layout for layout in LAYOUTS if layout.name == "celeba-attributes")


BY_NAME = {layout.name: layout for layout in LAYOUTS}
extended(
    BY_NAME["herbarium-2020"],
    coco("nybg2020/train/metadata.json", "train", "images/{k}/{i}.jpg"),
    coco("nybg2020/test/metadata.json", "test", "images/{k}/{i}.jpg", with_labels=False),
)
extended(
    BY_NAME["inaturalist-2019"],
    coco("train2019.json", "train", "train_val2019/Plants/{code}/{h}.jpg"),
    coco("test2019.json", "test", "test2019/{h}.jpg", with_labels=False),
)
extended(
    BY_NAME["iwildcam-2020"],
    coco("iwildcam2020_train_annotations.json", "train", "{h}.jpg"),
    coco("iwildcam2020_test_information.json", "test", "{h}.jpg", with_labels=False),
)
extended(
    BY_NAME["hf-imagefolder-jsonl"],
    records("data/train/metadata.jsonl", "train", {"file_name": "{h}.png", "label": "{label}"}, "lines"),
    records("data/test/metadata.jsonl", "test", {"file_name": "{h}.png"}, "lines"),
)
extended(
    BY_NAME["huawei-garbage"],
    records("train_data/labels.json", "train", {"name": "img_{i}.jpg", "label": "{label}"}, "map"),
)
extended(
    BY_NAME["csv-labels-as-json-map"],
    records("labels.json", "train", {"name": "{h}.jpg", "label": "{label}"}, "map"),
)
extended(
    BY_NAME["csv-labels-as-json-list"],
    records("annotations.json", "train", {"image": "{h}.jpg", "category": "{label}"}),
)
extended(
    BY_NAME["parquet-table"],
    records("train.parquet", "train", {"image": "{h}.jpg", "category": "{label}"}, "parquet"),
)
extended(BY_NAME["food-101-subset"], records("meta/train.json", "train", {"id": "{label}/{i}"}))
extended(BY_NAME["split-column"], split_column)
extended(
    BY_NAME["hateful"],
    records(
        "train.jsonl",
        "train",
        {"id": "{h}", "img": "img/{h}.png", "text": "look at it", "label": "{label}"},
        "lines",
    ),
    records("test.jsonl", "test", {"id": "{h}", "img": "img/{h}.png", "text": "look at it"}, "lines"),
)
extended(BY_NAME["halves"], halves)
