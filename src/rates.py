"""The learning rates that "auto" means, by the family of the backbone. Imports nothing."""

# (lr, body_lr, layer_decay) for AdamP, by family and by what learns. The rows of convnext and vit are usual
# values, not measured by us.
RATES = {
    ("cnn", "head"): (1e-2, 5e-4, 0.9),
    ("cnn", "tail"): (2e-3, 5e-4, 0.9),
    ("cnn", "all"): (1e-3, 3e-4, 0.9),
    ("convnext", "head"): (5e-3, 1e-4, 0.85),
    ("convnext", "tail"): (1e-3, 1e-4, 0.85),
    ("convnext", "all"): (1e-3, 1e-4, 0.85),
    ("vit", "head"): (5e-3, 3e-5, 0.7),
    ("vit", "tail"): (5e-4, 3e-5, 0.7),
    ("vit", "all"): (5e-4, 3e-5, 0.7),
}
# beginnings of timm's names: transformers, and what is trained like them
VITS = tuple(
    "vit deit beit eva swin aimv2 caformer cait coat convformer convit crossvit davit deepseek_vit"
    " edgenext efficientformer efficientvim efficientvit fastvit flexivit focalnet gcvit gemma4 gmixer"
    " gmlp hiera iformer levit lowformer mambaout maxvit maxxvit mixer mobilevit mvit naflexvit nest"
    " nextvit pit poolformer pvt qwen3 resmlp samvit sam2 sequencer shvit swiftformer tiny_vit tnt twins"
    " visformer vitamin volo xcit".split()
)
CONVNEXTS = ("convnext", "inception_next", "rdnet")


def family(backbone: str) -> str:
    """cnn, convnext or vit, by the name; of an own one, by the timm model that it names behind the colon:
    gem:convnext_tiny.
    """
    name = backbone.split(":")[-1].split("/")[-1].removeprefix("test_")
    if name.startswith(CONVNEXTS):
        return "convnext"
    return "vit" if name.startswith(VITS) else "cnn"
