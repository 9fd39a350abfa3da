"""Tiny copies of real competitions' layouts: each function fills a folder as Kaggle's download does, with
pictures of 8 x 8 pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int = 0) -> None:
    """One small picture; the format follows the suffix, and differing seeds give differing pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def pictures(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        picture(folder / name, seed)


def write(path: Path, header: str, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")


def digits(root: Path) -> None:
    """Digit Recognizer, as images: train/ and test/ hold the same names."""
    write(root / "train.csv", "ImageId,label", [f"{n},{n % 10}" for n in range(1, 31)])
    write(root / "sample_submission.csv", "ImageId,Label", [f"{n},0" for n in range(1, 6)])
    pictures(root / "train", [f"{n}.png" for n in range(1, 31)])
    pictures(root / "test", [f"{n}.png" for n in range(1, 6)])


def cassava(root: Path) -> None:
    """Ids with their extension; a json and records that nobody needs beside them."""
    ids = [f"10000{n:02}.jpg" for n in range(15)]
    write(root / "train.csv", "image_id,label", [f"{name},{n % 5}" for n, name in enumerate(ids)])
    write(root / "sample_submission.csv", "image_id,label", ["2216849948.jpg,4"])
    (root / "label_num_to_disease_map.json").write_text('{"0": "Cassava Bacterial Blight (CBB)"}')
    pictures(root / "train_images", ids)
    pictures(root / "test_images", ["2216849948.jpg"])


def plant_pathology_2020(root: Path) -> None:
    """One-hot columns; all images in one folder; probabilities wanted."""
    classes = ["healthy", "multiple_diseases", "rust", "scab"]
    one_hot = ["1,0,0,0", "0,1,0,0", "0,0,1,0", "0,0,0,1"]
    write(
        root / "train.csv",
        "image_id," + ",".join(classes),
        [f"Train_{n},{one_hot[n % 4]}" for n in range(12)],
    )
    write(root / "test.csv", "image_id", [f"Test_{n}" for n in range(4)])
    write(
        root / "sample_submission.csv",
        "image_id," + ",".join(classes),
        [f"Test_{n},0.25,0.25,0.25,0.25" for n in range(4)],
    )
    pictures(root / "images", [f"Train_{n}.jpg" for n in range(12)] + [f"Test_{n}.jpg" for n in range(4)])


def plant_pathology_2021(root: Path) -> None:
    """Several labels per image, joined by spaces."""
    labels = ["healthy", "scab", "rust", "scab rust", "complex", "scab rust complex", "rust complex"]
    write(root / "train.csv", "image,labels", [f"8{n:03}.jpg,{labels[n % 7]}" for n in range(14)])
    write(root / "sample_submission.csv", "image,labels", ["85f8.jpg,healthy", "ad80.jpg,healthy"])
    pictures(root / "train_images", [f"8{n:03}.jpg" for n in range(14)])
    pictures(root / "test_images", ["85f8.jpg", "ad80.jpg"])


def aptos(root: Path) -> None:
    """Ids without extension; five grades as integers."""
    write(root / "train.csv", "id_code,diagnosis", [f"{n:03}a,{n % 5}" for n in range(15)])
    write(root / "test.csv", "id_code", [f"{n:03}b" for n in range(4)])
    write(root / "sample_submission.csv", "id_code,diagnosis", [f"{n:03}b,0" for n in range(4)])
    pictures(root / "train_images", [f"{n:03}a.png" for n in range(15)])
    pictures(root / "test_images", [f"{n:03}b.png" for n in range(4)])


def melanoma(root: Path, wanted: str = "0.5") -> None:
    """Patients with several images, columns about them, a class told three times, and the images in jpeg/."""
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge"
    about = [f"IP_{n // 4:03},{['male', 'female'][n % 2]},{45 + n % 3 * 5}.0,torso" for n in range(24)]
    told = ["melanoma,malignant,1", "nevus,benign,0", "unknown,benign,0"]
    write(
        root / "train.csv",
        header + ",diagnosis,benign_malignant,target",
        [f"ISIC_{n:03},{about[n]},{told[n % 3]}" for n in range(24)],
    )
    write(root / "test.csv", header, [f"ISIC_9{n},{about[n]}" for n in range(4)])
    write(root / "sample_submission.csv", "image_name,target", [f"ISIC_9{n},{wanted}" for n in range(4)])
    pictures(root / "jpeg/train", [f"ISIC_{n:03}.jpg" for n in range(24)])
    pictures(root / "jpeg/test", [f"ISIC_9{n}.jpg" for n in range(4)])


def rsna(root: Path) -> None:
    """Mammography: four images per patient, two per row; train.csv has no row id, test.csv has one."""
    header, views = (
        "site_id,patient_id,image_id,laterality,view",
        [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")],
    )
    train = [(10 + n // 4, 500 + n, *views[n % 4]) for n in range(24)]
    test = [(90 + n // 4, 900 + n, *views[n % 4]) for n in range(8)]
    ill = {(p, side): int(p % 2 == 0 and side == "L") for p, _, side, _ in train}
    write(
        root / "train.csv",
        header + ",cancer",
        [f"1,{p},{i},{side},{view},{ill[p, side]}" for p, i, side, view in train],
    )
    write(
        root / "test.csv",
        header + ",prediction_id",
        [f"1,{p},{i},{side},{view},{p}_{side}" for p, i, side, view in test],
    )
    write(
        root / "sample_submission.csv",
        "prediction_id,cancer",
        [f"{p}_{side},0.0211" for p in (90, 91) for side in "LR"],
    )
    for part, rows in {"train_images": train, "test_images": test}.items():
        pictures(root / part, [f"{p}/{i}.png" for p, i, _, _ in rows])


def pawpularity(root: Path) -> None:
    """A number per photograph, and columns about the photograph in both csv files."""
    write(
        root / "train.csv",
        "Id,Subject Focus,Eyes,Pawpularity",
        [f"{n:04x}f,{n % 2},{n // 2 % 2},{n * 7 % 100 + 1}" for n in range(20)],
    )
    write(root / "test.csv", "Id,Subject Focus,Eyes", [f"{n:04x}e,0,1" for n in range(3)])
    write(root / "sample_submission.csv", "Id,Pawpularity", [f"{n:04x}e,{50.25 + n}" for n in range(3)])
    pictures(root / "train", [f"{n:04x}f.jpg" for n in range(20)])
    pictures(root / "test", [f"{n:04x}e.jpg" for n in range(3)])


def ubc(root: Path) -> None:
    """The same names as large images and as thumbnails: nothing in the files says which to take."""
    classes = ["CC", "EC", "HGSC", "LGSC", "MC"]
    write(
        root / "train.csv",
        "image_id,label,image_width,image_height",
        [f"{n},{classes[n % 5]},{n}00,{n}10" for n in range(4, 19)],
    )
    write(root / "test.csv", "image_id,image_width,image_height", ["41,28469,16987"])
    write(root / "sample_submission.csv", "image_id,label", ["41,HGSC"])
    for kind in ("images", "thumbnails"):
        pictures(root / f"train_{kind}", [f"{n}.png" for n in range(4, 19)])
        pictures(root / f"test_{kind}", ["41.png"])


def dogs_vs_cats(root: Path) -> None:
    """No csv for training: the label is in the name."""
    write(root / "sample_submission.csv", "id,label", [f"{n},0.5" for n in range(1, 5)])
    pictures(root / "train", [f"{name}.{n}.jpg" for name in ("cat", "dog") for n in range(6)])
    pictures(root / "test", [f"{n}.jpg" for n in range(1, 5)])


def dog_breed(root: Path) -> None:
    """labels.csv instead of train.csv; the sample's columns are the values of its column breed."""
    breeds = ["afghan_hound", "beagle", "pug"]
    write(root / "labels.csv", "id,breed", [f"0{n:02}bec,{breeds[n % 3]}" for n in range(9)])
    write(
        root / "sample_submission.csv",
        "id," + ",".join(breeds),
        [f"0{n}a3,{1 / 3},{1 / 3},{1 / 3}" for n in range(3)],
    )
    pictures(root / "train", [f"0{n:02}bec.jpg" for n in range(9)])
    pictures(root / "test", [f"0{n}a3.jpg" for n in range(3)])


def folder_per_class(root: Path) -> None:
    """A folder per class, the same names in each; the sample names test files by their stem."""
    pictures(
        root / "train", [f"{name}/{n}.jpg" for name in ("Black-grass", "Charlock", "Maize") for n in range(5)]
    )
    pictures(root / "test", [f"t{n}.jpg" for n in range(4)])
    write(root / "sample_submission.csv", "file,species", [f"t{n},Charlock" for n in range(4)])


def folder_per_class_deeper(root: Path) -> None:
    """The archive's own folder within the folder, pictures of two formats, a class named like a number, and
    no csv at all.
    """
    pictures(
        root / root.name / "train",
        [f"{name}/{n}.{suffix}" for name in ("2", "10") for n in range(4) for suffix in ("jpg", "PNG")],
    )
    pictures(root / root.name / "test", ["b.jpg", "a.PNG"])


def mask(root: Path) -> None:
    """Seven photographs per person in folders whose names tell gender, race and age; the test part is called
    eval.
    """
    people = [
        "000001_male_Asian_29",
        "000002_female_Asian_30",
        "000003_male_Asian_59",
        "000004_female_Asian_60",
        "000005_male_Asian_60",
        "000006_female_Asian_18",
    ]
    kinds = [
        "mask1.jpg",
        "mask2.jpg",
        "mask3.jpg",
        "mask4.jpg",
        "mask5.png",
        "incorrect_mask.jpeg",
        "normal.jpg",
    ]
    pictures(root / "train/images", [f"{person}/{kind}" for person in people for kind in kinds])
    (root / "train/images" / people[0] / "._mask1.jpg").write_bytes(b"what macOS leaves behind")
    write(
        root / "train/train.csv",
        "id,gender,race,age,path",
        [f"{person.replace('_', ',')},{person}" for person in people],
    )
    write(root / "eval/info.csv", "ImageID,ans", ["cbc5.jpg,0", "0e72.jpg,0"])
    pictures(root / "eval/images", ["cbc5.jpg", "0e72.jpg"])


# -- no competition of its own: what goes wrong in the files of many


def plain(
    root: Path,
    csv: dict[str, tuple[str, str]],
    train: str = "train/{id}.jpg",
    test: str = "test/{id}.jpg",
    classes: str = "cat dog owl",
) -> None:
    """12 training and 3 test images in folders and csv files as described: a name for each image; a header
    and a line for each csv.
    """
    names = classes.split()
    parts = {
        part: [
            {"id": f"{letter}{n}", "n": n, "label": names[n % len(names)], "abc": "abc"[n % 3]}
            for n in range(count)
        ]
        for part, letter, count in (("train", "a", 12), ("test", "b", 3))
    }
    for file, (header, line) in csv.items():
        write(
            root / file,
            header,
            [
                line.format(**row)
                for row in parts["train" if file.startswith(("train", "comp/train", "labels")) else "test"]
            ],
        )
    for part, pattern in (("train", train), ("test", test)):
        pictures(root, [pattern.format(**row) for row in parts[part]])


TRAIN, SAMPLE = (
    {"train.csv": ("id,label", "{id},{label}")},
    {"sample_submission.csv": ("id,label", "{id},{label}")},
)

MESSY = {  # each tells cats, dogs and owls (or what `classes` says) of 12 images, in the sample's form
    "labels and features in two csv files": lambda root: plain(
        root,
        {
            "train_features.csv": ("id,filepath,site", "{id},train/{id}.jpg,{abc}"),
            "train_labels.csv": ("id,label", "{id},{label}"),
            "test_features.csv": ("id,filepath,site", "{id},test/{id}.jpg,{abc}"),
            "submission_format.csv": ("id,label", "{id},{label}"),
        },
    ),
    "an archive in an archive": lambda root: plain(
        root,
        {
            "comp/train.csv": ("id,label", "{id},{label}"),
            "comp/sample_submission.csv": ("id,label", "{id},{label}"),
        },
        "comp/train/train/{id}.jpg",
        "comp/test/test/{id}.jpg",
    ),
    "ids with folders": lambda root: plain(
        root,
        {
            "train.csv": ("id,label", "{abc}/{id}.png,{label}"),
            "sample_submission.csv": ("id,label", "{abc}/{id}.png,{label}"),
        },
        "train/{abc}/{id}.png",
        "test/{abc}/{id}.png",
    ),
    "suffixes in capitals": lambda root: plain(
        root,
        {
            "train.csv": ("id,label", "{id}.jpg,{label}"),
            "sample_submission.csv": ("id,label", "{id}.PNG,{label}"),
        },
        "train/{id}.JPG",
        "test/{id}.png",
    ),
    "semicolons and a byte order mark": lambda root: plain(
        root,
        {
            "train.csv": ("\ufeffid;label", "{id};{label}"),
            "sample_submission.csv": ("\ufeffid;label", "{id};{label}"),
        },
    ),
    "spaces in headers and cells": lambda root: plain(
        root,
        {
            "train.csv": ("id , label ,width", "{id},{label},{n}7"),
            "test.csv": (" id ,width", "{id},{n}7"),
            "sample_submission.csv": ("id, label", "{id}, {label}"),
        },
    ),
    "labels.csv, and a sample with names of its own": lambda root: plain(
        root,
        {
            "labels.csv": ("filename,breed", "{id}.jpg,{label}"),
            "SampleSubmission.csv": ("Id,Category", "{id},{label}"),
        },
        test="test1/{id}.jpg",
    ),
    "a test.csv with the sample's names": lambda root: plain(
        root,
        {
            "train.csv": ("image_id,label", "{id},{label}"),
            "test.csv": ("Id,url", "{id},http://host/{id}"),
            "sample_submission.csv": ("Id,label", "{id},{label}"),
        },
    ),
    "a test.csv with a name of its own": lambda root: plain(
        root, TRAIN | SAMPLE | {"test.csv": ("image,url", "{id},http://host/{id}")}
    ),
    "classes 0 to 10": lambda root: plain(
        root,
        {"sample_submission.csv": ("id,label", "{id},0")},
        "train/{label}/{id}.jpg",
        classes="0 1 2 3 4 5 6 7 8 9 10",
    ),
    "a class called train": lambda root: plain(
        root,
        {"sample_submission.csv": ("id,label", "{id},bus")},
        "train/{label}/{id}.jpg",
        classes="bus car train",
    ),
    "class folders beside the test's": lambda root: plain(
        root, SAMPLE, "{label}/{id}.jpg", "test_images/{id}.jpg"
    ),
    "a folder in each class folder": lambda root: plain(
        root, SAMPLE, "train/{label}/images/{id}.JPEG", "test/images/{id}.JPEG"
    ),
    "grades written as floats": lambda root: plain(
        root,
        {"train.csv": ("id,label", "{id},{label}.0"), "sample_submission.csv": ("id,label", "{id},1")},
        classes="1 2 3",
    ),
    "row numbers and a constant": lambda root: plain(
        root,
        {
            "train.csv": ("Unnamed: 0,id,kind,origin", "{n},{id},{label},web"),
            "test.csv": ("Unnamed: 0,id", "{n},{id}"),
            "sample_submission.csv": ("id,prediction", "{id},{label}"),
        },
    ),
    "ids in a column without a name": lambda root: plain(
        root, {"train.csv": (",label", "{id},{label}"), "sample_submission.csv": ("id,label", "{id},{label}")}
    ),
    "a target among other columns": lambda root: plain(
        root,
        {
            "train.csv": ("id,width,target,height", "{id},{n}7,{label},{n}8"),
            "sample_submission.csv": ("id,prediction", "{id},{label}"),
        },
    ),
    "the sample's name in other case": lambda root: plain(
        root,
        {
            "train.csv": ("id,width,Kind,height", "{id},{n}7,{label},{n}8"),
            "sample_submission.csv": ("id,kind", "{id},{label}"),
        },
    ),
    "what test.csv has is no label": lambda root: plain(
        root,
        {
            "train.csv": ("id,width,kind,height", "{id},{n}7,{label},{n}8"),
            "test.csv": ("id,width,height,note", "{id},7,8,"),
            "sample_submission.csv": ("id,prediction", "{id},{label}"),
        },
    ),
    "train.csv beside train_extra.csv": lambda root: plain(
        root, TRAIN | SAMPLE | {"train_extra.csv": ("id,label", "x{id},{label}")}
    ),
    "paths of the host's machine": lambda root: plain(
        root,
        {
            "train.csv": ("id,path,label", "7{n},../input/comp/train/{id}.jpg,{label}"),
            "test.csv": ("id,path", "9{n},/kaggle/input/comp/test/{id}.jpg"),
            "sample_submission.csv": ("id,label", "9{n},{label}"),
        },
    ),
    "images in numbered folders": lambda root: plain(
        root,
        {
            "train.csv": ("id,label", "{id}.jpg,{label}"),
            "sample_submission.csv": ("id,label", "{id}.jpg,{label}"),
        },
        "images_{abc}/images/{id}.jpg",
        "images_{abc}/images/{id}.jpg",
    ),
    "zeros lost in a spreadsheet": lambda root: plain(
        root,
        {"train.csv": ("id,label", "{n},{label}"), "sample_submission.csv": ("id,label", "{n},{label}")},
        "train/{n:04}.jpg",
        "test/{n:04}.jpg",
    ),
    "a line twice, and spaces beside labels": lambda root: (
        plain(root, TRAIN | SAMPLE),
        (root / "train.csv").write_text(
            (root / "train.csv")
            .read_text()
            .replace("a4,dog", "a4, dog ")
            .replace("a3,cat\n", "a3,cat\na3,cat\n")
        ),
    ),
    "the label in train_labels.csv, a hint in train.csv": lambda root: plain(
        root,
        SAMPLE
        | {
            "train.csv": ("id,sex", "{id},{abc}"),
            "test.csv": ("id,sex", "{id},{abc}"),
            "train_labels.csv": ("id,label", "{id},{label}"),
        },
    ),
    "two csv files beside, one with the label": lambda root: plain(
        root,
        SAMPLE
        | {"train_info.csv": ("id,camera", "{id},{abc}"), "train_truth.csv": ("id,label", "{id},{label}")},
    ),
    "a class with test in its name, and no sample": lambda root: plain(
        root, {}, "train/{label}/{id}.jpg", "test/{id}.jpg", classes="colon intestine stomach"
    ),
    "classes called valid and invalid": lambda root: plain(
        root, SAMPLE, "train/{label}/{id}.jpg", classes="invalid valid void"
    ),
    "a folder called contest": lambda root: plain(
        root, TRAIN | SAMPLE, "contest_images/{id}.jpg", "contest_images/{id}.jpg"
    ),
    "folders in camel case": lambda root: plain(
        root, TRAIN | SAMPLE, "PetsTrain/{id}.jpg", "PetsTest/{id}.jpg"
    ),
    "a test set that no csv lists": lambda root: plain(root, TRAIN),
    "accents as a Mac writes them": lambda root: plain(
        root,
        {
            "train.csv": ("id,label", "{id}\u00e9,{label}"),
            "sample_submission.csv": ("id,label", "{id}\u00e9,{label}"),
        },
        "train/{id}e\u0301.jpg",
        "test/{id}e\u0301.jpg",
    ),
    "spaces after file names": lambda root: plain(
        root, SAMPLE | {"train.csv": ("id,file,label", "{n},{id}.jpg ,{label}")}
    ),
    "a label called group": lambda root: plain(
        root,
        {"train.csv": ("id,group", "{id},{label}"), "sample_submission.csv": ("id,group", "{id},{label}")},
    ),
    "UTF-16": lambda root: (
        plain(root, TRAIN | SAMPLE),
        (root / "train.csv").write_text((root / "train.csv").read_text(), encoding="utf-16"),
    ),
    "other files beside": lambda root: (
        plain(root, TRAIN | SAMPLE),
        (root / "metadata.json").write_text("{}"),
        write(root / "classes.csv", "class,name", ["0,cat"]),
        pictures(root / "masks", [f"a{n}.png" for n in range(12)]),
        (root / "train/Thumbs.db").write_text(""),
    ),
    # -- these were questions until their contents were looked at
    "no header": lambda root: plain(root, SAMPLE | {"train.csv": ("a0.jpg,cat", "{id}.jpg,{label}")}),
    "a sample with row numbers": lambda root: plain(
        root, TRAIN | {"sample_submission.csv": (",id,label", "{n},{id},{label}")}
    ),
    "labels.csv names the classes": lambda root: plain(
        root, SAMPLE | {"labels.csv": ("number,name", "{n},{label}")}, "train/{label}/{id}.jpg"
    ),
    "two levels of folders": lambda root: plain(root, SAMPLE, "train/{abc}/{label}/{id}.jpg"),
    "ids with a letter less than the files": lambda root: plain(
        root,
        {"train.csv": ("id,label", "{n},{label}"), "sample_submission.csv": ("id,label", "{id},{label}")},
        "train/ax{n}.jpg",
    ),
    "a test.csv of other rows and no sample": lambda root: plain(
        root, TRAIN | {"test.csv": ("image,url", "{id},x")}
    ),
}

UNCLEAR = {  # the files do not tell: what the message must say
    "two halves of train.csv": (
        lambda root: plain(root, SAMPLE | {f"train_{k}.csv": ("id,label", "{id},{label}") for k in (1, 2)}),
        "which train_csv. There are train_1.csv, train_2.csv: state train_csv",
    ),
    "csv files by other names": (
        lambda root: plain(root, SAMPLE | {"ground_truth.csv": ("id,label", "{id},{label}")}),
        "state train_csv .*there are ground_truth.csv",
    ),
    "masks beside the images": (
        lambda root: (
            plain(root, TRAIN | SAMPLE, "train/images/{id}.jpg"),
            pictures(root / "train/masks", [f"a{n}.png" for n in range(12)]),
        ),
        r"train/images/\{id\}..*, train/masks/\{id\}.*state train_images",
    ),
    "labels with spaces joined by |": (
        lambda root: plain(
            root,
            {
                "train.csv": ("id,label", "{id},no {abc}|c"),
                "sample_submission.csv": ("id,no a,no b,no c,c", "{id},0,0,0,0"),
            },
        ),
        r"cells of 'label' join several labels by '\|', and labels have spaces in them: state a make_table that takes them apart",
    ),
    "decimal commas": (
        lambda root: plain(
            root,
            {"train.csv": ("id;score", "{id};0,{n}5"), "sample_submission.csv": ("id;score", "{id};0,5")},
        ),
        "numbers of 'score' have a decimal comma: state a make_table",
    ),
    "a column spelt otherwise": (
        lambda root: plain(root, TRAIN | {"sample_submission.csv": ("id,Cat,dog,owl", "{id},0,0,0")}),
        "the label 'cat' is the column 'Cat': state a make_table",
    ),
    "pixels in a csv": (
        lambda root: [
            write(root / f"{part}.csv", "label,p0,p1", ["1,2,3", "2,3,4"]) for part in ("train", "test")
        ],
        r"no image in .*/comp, there is 2 \.csv\. Still packed\? .* in a csv\? Then state a read_image",
    ),
}
