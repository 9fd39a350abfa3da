# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your first competition
#
# From looking at the images to the csv that you upload, with the kit's own functions. Each cell is one idea; run them in order. The demo, real
# handwritten digits, takes about three minutes on two CPU cores.
#
# For a competition of your own, put its files into `inputs/my-competition` and start Jupyter with `COMP=my-competition EXP=baseline`.

# %%
import os
import subprocess
from pathlib import Path

while not Path("src/experiments.py").exists():  # from docs/ up to the kit's folder
    os.chdir("..")

COMP = os.environ.get("COMP", "demo")  # the folder in inputs/
EXP = os.environ.get("EXP", "demo")  # a function of src/experiments.py
SET = os.environ.get("SET", "")  # settings, as in make submit SET="epochs=9"
if COMP == "demo":
    subprocess.run(["make", "data"], check=True)  # 5,000 images from a Python package, once

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from torch import nn

from src import competitions, predict, split, submit, train
from src.competition import tables
from src.data.images import read_square, records_of
from src.data.run import Run
from src.experiments import EXPERIMENTS
from src.extras.contact_sheet import Cell, draw_sheet
from src.model.classifier import build
from src.run import configure, predictions
from src.run.files import read_json
from src.run.paths import RunPaths
from src.training.adamp import AdamP


def make_run(name: str, settings: str) -> Run:
    """A run is a folder in runs/ with all its settings in config.json. make does the same."""
    pairs = dict(pair.split("=", 1) for pair in f"{SET} {settings}".split())  # the later one counts
    text = " ".join(f"{name}={value}" for name, value in pairs.items())
    asked = {"COMP": COMP, "EXP": EXP, "SET": text, "MACHINE": "wandb=off workers=0"}
    paths = RunPaths(Path("runs") / name)
    configure.configure(paths, asked, EXPERIMENTS)
    saved = configure.load(paths.config)
    return Run(paths, saved, competitions.load(saved.comp, saved.inputs))


# %% [markdown]
# ## 1. Look at the data
#
# `split` reads the host's files and prints what it has understood: which column is the id, which is the label, where the images are. Read these lines. A
# wrong guess here costs more than any clever model can win back.

# %%
run = make_run("first-competition", "")
split.split(run)
table = tables.read_folds(run.paths.folds)  # a row per training image
label = run.competition.targets[0]
table.head()

# %% [markdown]
# How many images has each class? With few of one class, a score for that class is mostly luck.

# %%
table[label].value_counts()


# %% [markdown]
# Now the images themselves. Ask what *you* would look at to tell the classes apart, and what would fool you: a class that always has the same background,
# text in the picture, mirrored images.


# %%
def show(rows: pd.DataFrame, captions: list[list[str]], name: str) -> None:
    """These images side by side."""
    images = [
        read_square(record, 112, run.competition.read_image, run.competition.max_pixels)
        for record in records_of(rows, run.inputs)
    ]
    sheet = run.paths.root / f"{name}.png"
    draw_sheet(sheet, [Cell([image], text) for image, text in zip(images, captions)], columns=6, size=112)
    display(Image(filename=str(sheet)))


some = table.sample(12, random_state=0)
show(some, [[text] for text in some[label]], "some-images")

# %% [markdown]
# ## 2. Folds, and what a leak is
#
# A model must be scored on images that it has not learned from. So the training images are divided into **folds**. The model of fold 0 learns from all the
# others and predicts fold 0, and so on. Together these **out-of-fold** (OOF) predictions cover every image once, and their score estimates what the
# leaderboard will say.

# %%
pd.crosstab(table["fold"], table[label])

# %% [markdown]
# Each fold has about the same share of every class (the folds are *stratified*).
#
# A **leak** is knowledge that crosses from the held-out part into the training part: the same photograph twice, two photographs of one patient, a
# threshold fitted on the images that it is scored on. The score then looks wonderful, and the leaderboard does not. The kit keeps images of one group in
# one fold, and identical files too. This is how to check it:

# %%
folds_of_a_group = table.groupby("group")["fold"].nunique()
assert folds_of_a_group.max() == 1, "a group is in two folds: a leak"
print(f"{len(folds_of_a_group)} groups, each in one fold")

# %% [markdown]
# Which column *is* the group only you can know (patient, photographer, product). State it in `inputs/COMP/competition.py`, as `group="patient_id"`.
# `make audit` looks for copies that were resized or mirrored.
#
# ## 3. The model: what learns?
#
# A **pretrained backbone** has seen a million photographs. It turns an image into a list of numbers, the *features*. A new **head** turns these into one
# number per class, the *logits*. `requires_grad` is PyTorch's switch: only where it is `True`, a parameter gets a gradient and learns. The setting
# `trainable` sets it for you: `head` (the backbone stays as it is), a number of last layer groups (the **tail** learns too), or `all`.

# %%
model = build(run.config, len(run.competition.outputs), 0)
learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(
    f"trainable={run.config.trainable}: {learning:,} of {sum(p.numel() for p in model.parameters()):,} numbers learn"
)
for name, parameter in list(model.named_parameters())[-6:]:
    print(f"{name:32} {str(tuple(parameter.shape)):20} requires_grad={parameter.requires_grad}")

# %% [markdown]
# Everything before the first layer that learns always gives the same output for the same image. The kit calls it the **trunk** and runs it once per image,
# not once per epoch: that is why a head alone trains in seconds.
#
# **Head or tail?** Few images that look like photographs: head. More images, or images of another kind (microscopes, x-rays, drawings): let the tail
# learn, at a lower rate (`body_lr`), so that it does not forget what it knows. `make advise` tries both on your data.
#
# ## 4. Flatten: from a map to a list
#
# A convolution gives a *map*: for each of C features its strength at each place. A linear layer wants one list per image. Pooling averages over the
# places. `Flatten` writes all places one after another: it keeps where something was, but makes the list, and with it the head, much longer.

# %%
feature_map = torch.randn(8, 320, 7, 7)  # 8 images, 320 features at 7 x 7 places
pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())(feature_map)
flat = nn.Flatten()(feature_map)
print(f"map {tuple(feature_map.shape)}, pooled {tuple(pooled.shape)}, flattened {tuple(flat.shape)}")
print(
    f"a linear head for 10 classes: {320 * 10:,} weights after pooling, {flat.shape[1] * 10:,} after Flatten alone"
)

# %% [markdown]
# ## 5. The optimizer: what AdamP does
#
# A gradient says in which direction the loss falls. **Adam** gives every weight a step size of its own. But most weights stand before a normalisation
# layer (BatchNorm), which divides their *length* out again: only their direction counts. Adam's momentum makes such weights longer in each step, and the
# longer they are, the less a step turns them. **AdamP** (Heo et al. 2021) removes the part of the step that only makes them longer:


# %%
def length_after(optimizer_class: type, steps: int = 300) -> float:
    """The length of a weight whose direction alone matters; it begins with length 1."""
    torch.manual_seed(0)
    weight = nn.Parameter(nn.functional.normalize(torch.randn(1, 64)))
    optimizer = optimizer_class([weight], lr=0.01, weight_decay=0.0)
    for _ in range(steps):
        wanted = torch.randn(1, 64)  # a new one in each step, as batches differ
        loss = 1 - nn.functional.cosine_similarity(weight, wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.norm().item()


print(f"length after 300 steps: Adam {length_after(torch.optim.Adam):.2f}, AdamP {length_after(AdamP):.2f}")

# %% [markdown]
# ## 6. Epochs
#
# An **epoch** is one pass over the training part. After each, the kit predicts the held-out fold. While both losses fall, the model learns. When the
# training loss falls and the held-out loss rises, it begins to learn its images by heart (*overfitting*): fewer epochs, more augmentation, or a
# smaller part that learns. When both are still falling at the end, more epochs would help.

# %%
train.train(run)

# %%
curves = pd.concat(
    pd.read_json(run.paths.fold(k).log, lines=True).assign(fold=k) for k in run.paths.finished()
)
curves.groupby("epoch")[["loss", "valid_loss", run.competition.metric_name]].mean().round(4)

# %% [markdown]
# The learning rate is not constant. It rises for half an epoch (*warm-up*), then falls along half a cosine to zero. So the last epoch is the calmest, and
# stopping in the middle is not the same as a shorter training.

# %%
curves[curves["fold"] == 0][["epoch", "lr"]]

# %% [markdown]
# ## 7. The score, and how sure it is

# %%
score = read_json(run.paths.score)
print(f"OOF {score['metric']}: {score['oof']:.4f}")
print(
    f"folds: {', '.join(f'{value:.4f}' for value in score['folds'].values())}, spread {score['spread']:.4f}"
)

# %% [markdown]
# The **spread** of the folds tells how large a difference must be before you believe it. A change that brings a tenth of the spread is probably luck:
# `make compare A=... B=...` decides.
#
# ## 8. Look at the mistakes
#
# The images that the model is most wrong about. Is the label wrong? Is it a mixture of two classes? Would you have known? This is where ideas come from.

# %%
oof = predictions.read(run.paths.oof)
held_out = table[table["fold"] >= 0].set_index("id").loc[oof.index].reset_index()
truth = held_out[label].to_numpy()
wrong = oof.idxmax(axis=1).to_numpy() != truth
probability = np.array([row[name] for name, row in zip(truth, oof.to_dict("records"))])
worst = np.argsort(probability)[:12]
captions = [[f"is {truth[i]}", f"said {oof.iloc[i].idxmax()}"] for i in worst]
print(f"{wrong.sum()} of {len(wrong)} images are wrong; these are the worst")
show(held_out.iloc[worst], captions, "worst-mistakes")

# %% [markdown]
# ## 9. Change one thing
#
# Only the head, everything else equal: the same folds, so the two scores can be compared.

# %%
head = make_run("first-competition-head", "trainable=head")
split.split(head)
train.train(head)
print(f"what the experiment says: {score['oof']:.4f}; head alone: {read_json(head.paths.score)['oof']:.4f}")

# %% [markdown]
# ## 10. The csv
#
# The test images are predicted by the model of each fold, and the mean of their predictions is the answer. Then it is written in the form of the host's
# sample, and checked: every id, every column, no gap.

# %%
predict.predict(run)
submit.submit(run)
csv = Path("submissions") / f"{run.paths.name}.csv"
pd.read_csv(csv).head()

# %% [markdown]
# Upload it, and write the leaderboard's score into `submissions/ledger.csv`. From here on the terminal is quicker:
#
# | to | type |
# |---|---|
# | do all of the above | `make submit COMP=my-competition` |
# | let more layers learn | `make submit COMP=my-competition SET="trainable=3"` |
# | train longer | `make submit COMP=my-competition SET="epochs=12"` |
# | ask whether that was better, or luck | `make compare A=my-competition-baseline B=my-competition-baseline-epochs=12` |
# | search for settings | `make sweep COMP=my-competition EXP=head TRIALS=20` |
# | average several runs | `make ensemble RUNS="a b" NAME=ab` |
#
# The [guide](guide.md) has a recipe for everything else, [how it works](how-it-works.md) the reasons.
