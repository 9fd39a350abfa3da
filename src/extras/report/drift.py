"""The section of test beside train: do the test images look like those that the score is of?"""

import numpy as np

from src.extras.page.blocks import Block, Figure, Note, Own, Row, Section
from src.extras.page.charts import histograms
from src.extras.report import thumbnails
from src.extras.report.material import Material
from src.run import predictions

MOST = 4000  # images of each side that are measured
SHOWN = 12
BUDGET = 260_000  # characters of the pictures
FAR = 0.5  # standard deviations


def drift(material: Material) -> Section:
    if not len(material.test):
        return Section("test", "Test beside train", "There are no test images.", [])
    sides = {"train": material.pixels, "test": material.test_pixels}
    measured = {side: measure(pixels) for side, pixels in sides.items()}
    shifts = {name: shift(measured["train"][name], measured["test"][name]) for name in measured["train"]}
    far = {name: value for name, value in shifts.items() if abs(value) > FAR}
    sentence = "Test images look like training images in brightness, contrast and colour"
    if far:
        parts = [f"{name} by {value:+.1f} standard deviations" for name, value in far.items()]
        sentence = f"Test images differ from training images in {', '.join(parts)}"
    blocks: list[Block] = [Row([histogram(measured, name, value) for name, value in shifts.items()])]
    blocks += [answers(material), *side_by_side(sides)]
    return Section("test", "Test beside train", f"{sentence}.", blocks)


def measure(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of at most MOST images."""
    rows = np.sort(np.random.default_rng(0).permutation(len(pixels))[:MOST])
    small = np.stack([pixels[row][::4, ::4].astype(np.float32) for row in rows])  # (n, h, w, 3)
    return {
        "brightness": small.mean(axis=(1, 2, 3)),
        "contrast": small.mean(axis=3).std(axis=(1, 2)),
        "colour": np.ptp(small, axis=3).mean(axis=(1, 2)),
    }


def shift(train: np.ndarray, test: np.ndarray) -> float:
    """The difference of the means in standard deviations."""
    deviation = np.sqrt((train.var() + test.var()) / 2)
    return float((test.mean() - train.mean()) / max(deviation, 1e-9))


def histogram(measured: dict[str, dict[str, np.ndarray]], name: str, value: float) -> Figure:
    parts = [
        ("training images", measured["train"][name], "c0"),
        ("test images", measured["test"][name], "c1"),
    ]
    drawing = histograms(parts, title=f"{name} of training and test images", x_label=name)
    legend = [(colour, title) for title, _, colour in parts]
    return Figure(
        drawing,
        f"{name.capitalize()}: the means differ by {round(value, 2) + 0.0:+.2f} standard deviations.",
        legend,
    )


def answers(material: Material) -> Block:
    """How often each class is answered for test images, beside the training images' classes."""
    if not material.paths.test.exists():
        return Note("The test images are not predicted yet.")
    test = predictions.read(material.paths.test)[list(material.competition.outputs)].to_numpy(dtype=float)
    if material.has_values:
        return values_figure(material.predicted[:, 0], test[:, 0], material.classes[0])
    size = len(material.classes)
    if material.competition.task == "multilabel":
        trained, answered = material.target.mean(axis=0), (test >= 0.5).mean(axis=0)
    else:
        places = (
            test[:, 0].round().clip(0, size - 1).astype(int) if material.is_ordinal else test.argmax(axis=1)
        )
        trained = np.bincount(material.label, minlength=size) / len(material.label)
        answered = np.bincount(places, minlength=size) / len(places)
    gap = answered - trained
    error = np.sqrt((trained * (1 - trained)).clip(1e-6) * (1 / len(test) + 1 / len(material.table)))
    most = int(np.abs(gap / error).argmax())
    text = (
        f"{material.classes[most]} is {trained[most]:.1%} of the training images and {answered[most]:.1%} of"
        " the answers for test images"
    )
    if abs(gap[most]) > 4 * error[most]:
        return Note(f"{text}: more than chance, so the test has another mix of classes, or is harder.", "bad")
    return Note(f"Of all classes {text}: the largest difference, and within chance.", "good")


def values_figure(train: np.ndarray, test: np.ndarray, name: str) -> Figure:
    """The numbers that are predicted for both sides."""
    parts = [("training images, out of fold", train, "c0"), ("test images", test, "c1")]
    drawing = histograms(parts, title=f"Predicted {name} of training and test images", x_label=name)
    caption = f"Predicted {name}: the means differ by {shift(train, test):+.2f} standard deviations."
    return Figure(drawing, caption, [(colour, title) for title, _, colour in parts])


def side_by_side(sides: dict[str, np.ndarray]) -> list[Block]:
    """Some images of each side, drawn at random."""
    blocks: list[Block] = []
    for side, pixels in sides.items():
        rows = np.sort(np.random.default_rng(1).permutation(len(pixels))[:SHOWN])
        name = {"train": "training", "test": "test"}[side]
        pictures = thumbnails.within([np.array(pixels[row]) for row in rows], BUDGET // 2)
        blocks.append(Own("strip.html.j2", {"name": name, "pictures": pictures}))
    return blocks
