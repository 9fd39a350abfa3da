"""Which views of an image a run trains on and predicts with."""

from src.competition.facts import Competition
from src.config import Config
from src.data.augment import VIEW_SETS, VIEWS, Transform, View, make_transform, unseen_views
from src.data.warp import resize
from src.run.choices import pick

TrainingViews = dict[str, Transform | None]  # by name; None is the plain image
TestViews = dict[str, View | None]


def flips_of(config: Config, competition: Competition) -> str:
    """Which mirrors keep the label: the setting, or the competition's own."""
    return {"auto": competition.flips, "none": ""}.get(config.flips, config.flips)


def training_views(config: Config, competition: Competition, *, has_trunk: bool) -> TrainingViews:
    """With a trunk: the plain image and views-1 fixed draws of the augmentation, the same for all folds and
    seeds. Without one, or with views=0: a single view named "", drawn afresh each epoch. Raises ValueError.
    """
    flips = flips_of(config, competition)
    transform = make_transform(config.augment, config.image_size, flips)
    if config.augment == "none":
        return {"plain": None}
    if not has_trunk or config.views == 0:
        return {"": transform}
    fixed: TrainingViews = {
        f"{config.augment}-{flips}-{number}": transform for number in range(1, config.views)
    }
    return {"plain": None} | fixed


def tta_views(config: Config) -> TestViews:
    """The plain image, and the views that `tta` names, one by one or by a word for several. Raises
    ValueError.
    """
    words: dict = {name: [name] for name in VIEWS} | VIEW_SETS
    names = [view for word in config.tta for view in pick(words, word, "tta view", "src/data/augment.py")]
    return {"plain": None} | {name: VIEWS[name] for name in names}


def without_draws(views: TestViews, size: int) -> TrainingViews:
    """Views at test time as augmentations that draw nothing, of images of size x size."""

    def transform_of(view: View) -> Transform:
        return lambda images, draws: view(resize(images, size))

    return {name: view and transform_of(view) for name, view in views.items()}


def unseen_tta_views(config: Config, competition: Competition) -> list[str]:
    """A line per reason why views of `tta` are not like what training saw."""
    reasons = unseen_views(tta_views(config), flips_of(config, competition), config.augment)
    views_by_reason: dict[str, list[str]] = {}
    for view, reason in reasons.items():
        views_by_reason.setdefault(reason, []).append(view)
    return [f"tta={','.join(views)} {reason}" for reason, views in views_by_reason.items()]
