"""The last sections: what views and members bring, what was spent, and how to get the same again."""

from collections.abc import Iterator

import numpy as np

from src.extras.page.blocks import Block, Cell, Facts, Note, Own, Section, Table, duration, number, signed
from src.extras.report.material import Material
from src.run import predictions
from src.run.paths import RunPaths

MOST_MEMBERS = 20


def views(material: Material) -> Section | None:
    """The views at test time; None of a run without."""
    score = material.score
    if "views" not in score:
        return None
    rows = []
    for name, view in score["views"].items():
        gains = [
            material.result.sign * (view["folds"][k] - score["views"]["plain"]["folds"][k])
            for k in view["folds"]
        ]
        rows.append([Cell(name), number(view["oof"]), signed(float(np.mean(gains))), *map(signed, gains)])
    gains = list(score["fold_gains"].values())
    rows.append([Cell("mean of all"), number(score["oof"]), signed(score["gain"]), *map(signed, gains)])
    columns = ["view", score["metric"], "gain", *(f"fold {k}" for k in score["fold_gains"])]
    helped = sum(gain > 0 for gain in gains)
    sentence = (
        f"The mean over {len(score['views'])} views of each image gains {score['gain']:+.4f} over the plain"
        f" image, in {helped} of {len(gains)} folds."
    )
    table = Table(
        "Each view alone, and their mean.",
        columns,
        rows,
        frozenset(range(1, len(columns))),
        is_sortable=False,
    )
    return Section("views", "Views at test time", sentence, [table])


def members(material: Material) -> Section | None:
    """The members of an ensemble; None of a run that is none."""
    names = material.result.members[:MOST_MEMBERS]
    if not names:
        return None
    blend = material.result.saved["ensemble"]
    frames = [predictions.read(RunPaths(material.paths.root.parent / name).scored()[0]) for name in names]
    flat = [
        frame.loc[material.oof.index, material.oof.columns].to_numpy(dtype=float).ravel() for frame in frames
    ]
    correlation = np.corrcoef(flat)
    weights = blend["weights"] or [1 / len(names)] * len(names)
    score, sign = material.score, material.result.sign
    rows = []
    for place, name in enumerate(names):
        alone = score["members"][name]
        rows.append(
            [
                Cell(name, link=f"../{name}/report.html"),
                number(alone),
                signed(sign * (score["oof"] - alone)),
                Cell(f"{weights[place]:.3f}", weights[place], share=max(min(weights[place], 1.0), 0.0)),
                *(
                    Cell(f"{value:.3f}", float(value), share=float(np.clip(value, 0, 1)))
                    for value in correlation[place]
                ),
            ]
        )
    columns = [
        "member",
        score["metric"],
        "the blend gains",
        "weight",
        *(f"corr. {k + 1}" for k in range(len(names))),
    ]
    best = max(sign * value for value in score["members"].values())
    sentence = (
        f"The {blend['how']} of {len(names)} runs is {sign * score['oof'] - best:+.4f} better than the best"
        " of them; the less their predictions correlate (here"
        f" {correlation[np.triu_indices(len(names), 1)].mean():.3f} on average), the more there is to gain."
    )
    caption = (
        "The members, their weights, and the correlation of their out-of-fold predictions in the order of the"
        " lines."
    )
    return Section(
        "members", "Members", sentence, [Table(caption, columns, rows, frozenset(range(1, len(columns))))]
    )


def spent(material: Material) -> Section:
    score, seconds = material.score, material.result.seconds
    if material.result.members:
        sentence = "A blend costs seconds; what its members cost is in their reports."
        return Section("spent", "What was spent", sentence, [])
    sentence = (
        f"The folds were trained in {duration(seconds['train'])}, the test images predicted in"
        f" {duration(seconds['predict'])}; decoding and the trunk's pass are shared by runs and not counted."
    )
    rows = [[Cell("split"), number(seconds["split"], 1), Cell(""), Cell(""), Cell("")]]
    for k, value in score["seconds"].items():
        memory = score["memory"][k]
        rows.append(
            [
                Cell(f"fold {k}"),
                number(value, 1),
                Cell(f"{memory.get('rss_mib', 0):,.0f}", memory.get("rss_mib", 0)),
                Cell(f"{memory.get('peak_mib', 0):,.0f}", memory.get("peak_mib", 0)),
                Cell(str(score["batch_size"][k])),
            ]
        )
    rows.append([Cell("predict"), number(seconds["predict"], 1), Cell(""), Cell(""), Cell("")])
    columns = ["stage", "seconds", "memory of the process, MiB", "of the GPU, MiB", "batch"]
    table = Table(
        "Time and memory by stage.", columns, rows, frozenset({1, 2, 3, 4}), is_sortable=False, first=40
    )
    return Section("spent", "What was spent", sentence, [table])


def reproduce(material: Material) -> Section:
    """The commands, and the hashes that say whether the result is the same."""
    saved, score = material.result.saved, material.score
    has_edits = material.paths.diff.exists() and material.paths.diff.stat().st_size > 0
    sentence = (
        "These commands make the same run again; on the same machine and versions the files are equal to the"
        " last bit."
    )
    blocks: list[Block] = []
    if has_edits:
        blocks.append(
            Note(f"src was edited when it was scored: {material.paths.diff} holds the changes.", "bad")
        )
    blocks.append(Own("commands.html.j2", {"lines": list(commands(material))}))
    hashes = [("recipe", score["recipe"]), ("folds", score["fold_hash"]), ("commit", score["commit"])]
    hashes += [("weights", score.get("weights_hash") or "none"), ("predictions", score.get("sha256", ""))]
    blocks.append(Facts([*hashes, *((name, version) for name, version in score.get("versions", {}).items())]))
    changed = [(name, value) for name, value in material.result.settings.items()]
    rows = [[Cell(name), Cell(value)] for name, value in changed if name in saved["config"]]
    blocks.append(Table("Every setting.", ["setting", "value"], rows, first=8, can_filter=True))
    return Section("reproduce", "Reproduce", sentence, blocks)


def commands(material: Material) -> Iterator[str]:
    saved, name = material.result.saved, material.paths.name
    commit = material.score["commit"].removesuffix("-dirty")
    if commit and commit != "no git":
        yield f"git checkout {commit}"
    if material.result.members:
        yield f'make ensemble RUNS="{" ".join(material.result.members)}" NAME={name}'
    else:
        settings = f' SET="{saved["set"]}"' if saved["set"] else ""
        yield f"make submit COMP={saved['comp']} EXP={saved['exp']}{settings} RUN={name}"
    yield f"make verify RUN={name}"
