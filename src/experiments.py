"""Your experiments: one function each, which returns a Config. This is the file to edit; src/config.py has
all settings.  Run: make submit EXP=<name>

Write into the docstring what an experiment costs and what it scored, so that nobody has to run it again.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from src.config import Config


def demo() -> Config:
    """Handwritten digits at 96 px, the last two stages learn, 3 folds of 3 epochs. 86 s on 2 cores; OOF
    macro F1 0.980 (spread 0.006), commit ca2340c.
    """
    return Config(folds=3, trainable=2, image_size=96, epochs=3, head_epochs=0, augment="none", views=1)


def baseline() -> Config:
    """EfficientNet-Lite0 at 224 px; the last two stages and the head learn, in the first epoch the head
    alone. Clothing: half an hour of one core; OOF macro F1 0.904 (spread 0.013), commit 7f7c61b.
    """
    return Config(trainable=2, epochs=8, head_epochs=1, augment="light", views=4)


def lite1_240() -> Config:
    """EfficientNet-Lite1 at its own size, in half the epochs; the weights of the last two are averaged.
    Clothing: 25 minutes of one core; OOF macro F1 0.905 (spread 0.007), commit 29ae7b5.
    """
    return replace(short_tail(), backbone="tf_efficientnet_lite1", image_size=240)


def lite2_260() -> Config:
    """The same of EfficientNet-Lite2. Clothing: 34 minutes of one core; OOF macro F1 0.906 (spread 0.018),
    commit 29ae7b5.
    """
    return replace(short_tail(), backbone="tf_efficientnet_lite2", image_size=260)


def lite0_288() -> Config:
    """EfficientNet-Lite0 on larger images, with crops and colour; otherwise the same. Clothing: 26
    minutes of one core; OOF macro F1 0.905 (spread 0.019), commit 29ae7b5.
    """
    return replace(short_tail(), image_size=288, augment="medium")


def short_tail() -> Config:
    return replace(baseline(), epochs=4, head_epochs=0, swa=2)


def head() -> Config:
    """Only a new head, for images like those of ImageNet. The backbone runs once per image; 30 epochs then
    take seconds. Clothing, 2 cores: 60 s; OOF macro F1 0.844 (spread 0.011), commit ca2340c.
    image_size=288: 44 s; 0.867 (0.014), commit d2d97d5.
    """
    return Config(trainable="head", epochs=30, batch_size=128)


def linear() -> Config:
    """Logistic regression on the features of the frozen backbone, solved exactly, without rates or epochs;
    each fold chooses its C by the other folds. Clothing, one busy core of two: 76 s; OOF macro F1 0.848
    (spread 0.018), log loss 0.396 where `head` has 0.441.
    """
    return Config(trainable="head", solver="exact", batch_size=128)


def linear_three() -> Config:
    """The same on the features of three backbones, one behind the other, at 288 px. Clothing: 10 minutes of
    one core; OOF macro F1 0.894 (spread 0.011), log loss 0.279, commit 29ae7b5.
    """
    lites = "+".join(f"tf_efficientnet_lite{number}" for number in range(3))
    return replace(linear(), backbone=f"joined:{lites}", image_size=288)


def full() -> Config:
    """Everything learns, for many images that are unlike ImageNet. Without a trunk, each epoch is a whole
    forward and backward pass. Measured at 64 px alone: see `scratch`.
    """
    return Config(trainable="all", epochs=10, augment="medium", head_epochs=1)


def vgg19_tail() -> Config:
    """VGG19 from its last convolution block on: four convolutions (9 million parameters) and pre_logits,
    its former fully connected layers (119 of its 139 million parameters), which learn too.
    trainable=features.28,features.30,features.32,features.34 keeps them frozen. The weights are not in the
    package registry: `make weights` with a network, or pretrained=false. Not measured.
    """
    return Config(backbone="vgg19", trainable=5, epochs=9, augment="light", views=4)


def scratch() -> Config:
    """Without pretraining, to see what the pretrained weights are worth. Clothing at 64 px, 2 folds: 0.415
    after 15 epochs, where `full` has 0.605 after 5, commit 29ae7b5.
    """
    return replace(full(), pretrained=False, epochs=30, head_epochs=0, lr=2e-3)


def own_model() -> Config:
    """A small network written by hand (branch_cnn in src/model/backbone.py), from random weights. Not
    measured.
    """
    return Config(
        backbone="branch_cnn",
        pretrained=False,
        trainable="all",
        image_size=64,
        epochs=20,
        augment="light",
        lr=3e-3,
    )


# For a GPU. Not measured. The estimates are for a T4 and 10,000 images in 5 folds, 40,000 in each epoch:
# images * epochs * GMACs * 2 operations * 3 (forward and backward) / what a T4 sustains in fp16, taken as 10
# TFLOPS of transformers and 5 of networks with depthwise convolutions.


def gpu_dinov2_linear() -> Config:
    """Logistic regression on the features of a frozen DINOv2 (ViT-Base, patches of 14 px, 23 GMACs): one
    pass, about 1 minute by estimate, and the solver's on the processor.
    """
    return replace(linear(), backbone="vit_base_patch14_reg4_dinov2.lvd142m")


def gpu_siglip_linear() -> Config:
    """The same of a frozen SigLIP 2, trained on images and their captions (ViT-Base, patches of 16 px, 18
    GMACs): about 1 minute by estimate.
    """
    return replace(linear(), backbone="vit_base_patch16_siglip_224.v2_webli")


def gpu_effnetv2_b3() -> Config:
    """EfficientNetV2-B3 at 300 px (3 GMACs), what `make submit` takes where there is a GPU: about 20 minutes
    by estimate.
    """
    return Config(
        backbone="tf_efficientnetv2_b3.in21k_ft_in1k",
        trainable="all",
        image_size=300,
        drop_path_rate=0.2,
        augment="medium",
        epochs=8,
        head_epochs=1,
        ema=0.999,
    )


def gpu_convnext_tiny_384() -> Config:
    """ConvNeXt-Tiny, pretrained on ImageNet-12k, at 384 px (13 GMACs): about 1.5 hours by estimate."""
    return Config(
        backbone="convnext_tiny.in12k_ft_in1k_384",
        trainable="all",
        image_size=384,
        drop_path_rate=0.2,
        augment="medium",
        mixup=0.2,
        epochs=8,
        ema=0.999,
    )


def gpu_eva02_small() -> Config:
    """EVA-02-Small, patches of 14 px, at 336 px (15 GMACs): about 45 minutes by estimate."""
    return Config(
        backbone="eva02_small_patch14_336.mim_in22k_ft_in1k",
        trainable="all",
        image_size=336,
        drop_path_rate=0.1,
        augment="medium",
        mixup=0.2,
        epochs=7,
        ema=0.999,
    )


def gpu_convnextv2_base() -> Config:
    """ConvNeXt V2-Base at 384 px (45 GMACs), in batches of 16, two to a step: about 3 hours by estimate.
    Where memory runs out: SET="grad_checkpointing=true".
    """
    return Config(
        backbone="convnextv2_base.fcmae_ft_in22k_in1k_384",
        trainable="all",
        image_size=384,
        drop_path_rate=0.2,
        augment="medium",
        mixup=0.2,
        epochs=5,
        batch_size=16,
        accumulate=2,
        ema=0.999,
    )


# add yours: a function above, its name here
EXPERIMENTS = {
    experiment.__name__: experiment
    for experiment in (
        demo,
        baseline,
        lite1_240,
        lite2_260,
        lite0_288,
        head,
        linear,
        linear_three,
        full,
        vgg19_tail,
        scratch,
        own_model,
        gpu_dinov2_linear,
        gpu_siglip_linear,
        gpu_effnetv2_b3,
        gpu_convnext_tiny_384,
        gpu_eva02_small,
        gpu_convnextv2_base,
    )
}


# -- what `make sweep EXP=head` tries: a function per experiment, {setting: a Range or a list of choices}


class Range(NamedTuple):
    """The numbers that may be chosen: whole ones if both ends are. is_log: as often 0.001 to 0.01 as 0.01 to
    0.1, for rates.
    """

    low: float
    high: float
    is_log: bool = False


Space = dict[str, Range | list[Any]]


def head_space() -> Space:
    """For a head on a frozen backbone: a trial costs seconds, once the trunk's outputs are there."""
    return {
        "lr": Range(1e-3, 5e-2, is_log=True),
        "weight_decay": Range(1e-4, 0.3, is_log=True),
        "epochs": [15, 30, 60],
        "drop_rate": Range(0.0, 0.5),
        "batch_size": [32, 64, 128, 256],
    }


def tail_space() -> Space:
    """For experiments whose last layers learn."""
    return {
        "lr": Range(5e-4, 1e-2, is_log=True),
        "body_lr": Range(1e-4, 2e-3, is_log=True),
        "epochs": Range(6, 14),
        "drop_rate": Range(0.0, 0.5),
        "label_smoothing": [0.0, 0.05, 0.1],
    }


SWEEPS = {"head": head_space, "baseline": tail_space, "demo": tail_space}
