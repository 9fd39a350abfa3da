"""One model of a run as a Hugging Face folder, which timm loads, with its model card.
runs/<name>/fold<k>/ -> runs/<name>/card/{README.md,config.json,model.safetensors}

Run: python -m src card runs/<name> [--fold 1]        make card RUN=name
     timm.create_model("local-dir:runs/<name>/card", pretrained=True)
"""

import copy
import os
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import EvalResult, ModelCardData
from torch import nn

from src.config import Config
from src.data.run import Run, at_test_size
from src.model.backbone import normalisation, timm_arguments
from src.model.classifier import Classifier, build
from src.model.frozen import frozen
from src.run.errors import CheckFailed
from src.run.files import read_json
from src.run.paths import fold_name

FILES = ("README.md", "config.json", "model.safetensors")
CROP_MODES = {"squash": "squash", "crop": "center", "pad": "border"}  # ours -> timm's
TEXT = """---
{data}
---

# {title}

{backbone} of [timm](https://github.com/huggingface/pytorch-image-models), trained on the competition
{comp}: {fold} of {num_folds}, cross-validated. Made by Podium, commit {commit}.

| {metric} | |
|---|---|
| on the images that this model was not trained on | {score:.4f} |
| out-of-fold, all {num_folds} models | {oof:.4f}, spread of folds {spread:.4f} |

Outputs, in this order: {outputs}.

```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()   # or "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

What you may do with it also depends on the rules of the competition and on the licence of its images.
"""


def to_timm(model: Classifier, config: Config, num_outputs: int) -> nn.Module:
    """The classifier as a timm model with its own last layer. Raises ValueError where it is none."""
    if ":" in config.backbone or not timm.is_model(config.backbone) or config.head != "linear":
        raise ValueError(
            f"backbone={config.backbone} with head={config.head} is no model of timm's: make card takes a"
            " timm backbone with head=linear"
        )
    arguments = timm_arguments(config, config.backbone) | {"num_classes": num_outputs}
    whole: Any = timm.create_model(config.backbone, **arguments)
    state = {name: value for name, value in model.learned().items() if not name.startswith("head.")}
    last = model.head.layers[-1]
    if (
        not isinstance(whole.get_classifier(), nn.Linear)
        or whole.get_classifier().weight.shape != last.weight.shape
    ):
        raise ValueError(
            f"the last layer of {config.backbone} is not one linear layer: make card can't fill it"
        )
    unknown = whole.load_state_dict(state | frozen(model), strict=False)
    classifier = {name for name, _ in whole.named_parameters() if name not in state | frozen(model)}
    if unknown.unexpected_keys or {*unknown.missing_keys} - classifier:
        raise ValueError(f"timm's {config.backbone} has other layers than this run: {unknown}")
    with torch.no_grad():
        whole.get_classifier().weight.copy_(last.weight)
        whole.get_classifier().bias.copy_(last.bias)
    return whole.eval()


def check(whole: nn.Module, model: Classifier, size: int) -> None:
    """Raises CheckFailed unless both say the same of four random pictures."""
    image = torch.randint(
        0, 256, (4, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        expected = model(image, torch.zeros(4, 0))
        output = whole(model.normalise(image))
    if not torch.allclose(output, expected, rtol=1e-4, atol=1e-4):
        raise CheckFailed(f"card: timm's model differs by {float((output - expected).abs().max()):.1e}")


def card_data(run: Run, score: float, metric: str) -> ModelCardData:
    """The yaml above a model card: task, metric, licence and what it was made from."""
    facts = timm.get_pretrained_cfg(run.config.backbone)
    base = facts.hf_hub_id if run.config.pretrained else None
    result = EvalResult(
        task_type="image-classification",
        dataset_type=run.settings.comp,
        dataset_name=run.settings.comp,
        metric_type=metric,
        metric_value=round(score, 4),
    )
    return ModelCardData(
        license=facts.license or "other",
        library_name="timm",
        tags=["image-classification", "timm"],
        base_model=base,
        model_name=run.paths.name,
        eval_results=[result],
    )


def card(run: Run, k: int) -> Path:
    """Write the folder, whole or not at all. Raises ValueError for a run that timm can't hold."""
    run = at_test_size(run)
    paths, config, competition = run.paths, run.config, run.competition
    fold, folder = paths.fold(k), paths.root / "card"
    if config.resize not in CROP_MODES:
        raise ValueError(
            f"resize={config.resize} is none that timm has: make card takes {', '.join(CROP_MODES)}"
        )
    if competition.features or not paths.score.exists() or not fold.done.exists():
        raise ValueError(
            f"{paths.root} has no {fold_name(k)} of images alone with a score: make card takes a finished run"
        )
    score = read_json(paths.score)
    model = build(config, len(competition.outputs), is_proven=True)
    model.load(fold.model)
    whole = to_timm(copy.deepcopy(model), config, len(competition.outputs))
    check(whole, model, config.image_size)
    mean, std = normalisation(whole)
    seen: dict[str, Any] = {"input_size": (3, config.image_size, config.image_size), "mean": mean, "std": std}
    seen |= {"crop_pct": 1.0, "crop_mode": CROP_MODES[config.resize], "interpolation": "bicubic"}
    part = folder.with_name(".card.part")
    shutil.rmtree(part, ignore_errors=True)
    names = {"label_names": list(competition.outputs)}
    timm.models.save_for_hf(whole, part, names, safe_serialization=True, data_config=seen)
    data = card_data(run, score["folds"][str(k)], score["metric"])
    text = TEXT.format(
        data=data.to_yaml(),
        title=paths.name,
        backbone=config.backbone,
        comp=run.settings.comp,
        fold=fold_name(k),
        num_folds=len(score["folds"]),
        commit=score["commit"],
        metric=score["metric"],
        score=score["folds"][str(k)],
        oof=score["oof"],
        spread=score["spread"],
        outputs=", ".join(competition.outputs),
    )
    (part / "README.md").write_text(text, encoding="utf-8")
    os.chmod(part / "model.safetensors", 0o644)  # safetensors writes for the owner alone
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def command(run: Run, options: Namespace) -> None:
    k = (options.fold or [0])[0]
    folder = card(run, k)
    print(f"{folder}: {', '.join(FILES)}, of {fold_name(k)}; to load it:")
    print(f"  timm.create_model('local-dir:{folder}', pretrained=True)")
