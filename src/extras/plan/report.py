"""The plan as text: what was measured, what is computed from it, what limits, and what fits a budget."""

from collections.abc import Sequence
from typing import NamedTuple

from src.extras.costs import Rates, Work, about
from src.extras.plan.choices import Choice
from src.extras.plan.stages import Machines, Sizes, Stage, Training, left, stages, total, trainings


class Plan(NamedTuple):
    """One of the choices, with all that its plan is computed from."""

    choice: Choice
    work: Work
    rates: Rates
    sizes: Sizes
    machines: Machines
    done: dict[str, float]
    note: str = ""  # why the trunk's output is cached, or is not

    @property
    def step_size(self) -> int:
        return self.choice.config.batch_size * self.choice.config.accumulate

    def stages(self, work: Work | None = None) -> list[Stage]:
        """Of other work where that is given."""
        return stages(
            work or self.work,
            self.rates,
            self.sizes,
            self.machines,
            step_size=self.step_size,
            done=self.done,
        )

    def trainings(self) -> list[Training]:
        return trainings(self.work, self.rates, self.sizes, self.machines, self.step_size)


def gigabytes(size: float) -> str:
    """1.2 GB, 340 GB, 0.05 GB; nothing below 5 MB."""
    if size < 5e6:
        return "-"
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.{1 if size >= 1e9 else 2}f} GB"


def each(seconds: float) -> str:
    """Of one piece: 4.4 ms, 0.12 ms, 1.2 s."""
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.2g} ms"


def measured(plan: Plan) -> dict[str, str]:
    """What of each stage was measured."""
    r = plan.rates
    trunk = f"{each(r.trunk)} an image" + (f", {each(r.drawn)} an augmented one" if r.drawn else "")
    return {
        "start": about(r.start),
        "split": f"{about(r.split)}, {each(r.read + r.row)} an image",
        "quick checks": about(r.checks),
        "decode": f"{each(r.decode)} an image",
        "trunk": trunk if plan.work.views else "part of each step",
        "train": f"{each(r.step)} an image, {each(r.valid)} held out, {about(r.fold)} a fold",
        "evaluate": about(r.evaluate),
        "predict": f"{about(r.predict)}, {about(r.model)} a model, {each(r.test)} an image of it",
        "submit": about(r.submit),
    }


def counted(work: Work) -> dict[str, str]:
    """What of each stage is counted."""
    learned = work.learned / work.models
    return {
        "split": f"{work.images:,} images",
        "decode": f"{work.images:,} images" + ("" if work.is_decoded else ", again as they are read"),
        "trunk": f"{work.images:,} images x {work.views} views" if work.views else "",
        "train": f"{work.models} models x {work.epochs} epochs x {learned:,.0f} images",
        "predict": f"{work.predicting} models x {work.test:,} images x {work.test_views} views",
    }


def stage_lines(plan: Plan) -> list[str]:
    """The table of the stages."""
    its, lines = plan.stages(), []
    has_machines = plan.machines.all_devices > 1
    rates, amounts = measured(plan), counted(plan.work)
    header = f"  {'stage':12} {'time':>9} {'left':>9} {'memory':>8} {'disk':>8}  {'measured here':54} counted"
    rows = [
        (s.name, s.seconds, s.left, s.memory, s.room, rates[s.name], amounts.get(s.name, "")) for s in its
    ]
    highest = max(stage.memory for stage in its)
    rows.append(("total", total(its), left(its), highest, sum(stage.room for stage in its), "", ""))
    for name, seconds, to_do, memory, room, rate, amount in rows:
        time, rest = about(seconds), about(to_do) if to_do else "-"
        sizes = f"{gigabytes(memory):>8} {gigabytes(room):>8}"
        lines.append(f"  {name:12} {time:>9} {rest:>9} {sizes}  {rate:54} {amount}".rstrip())
    if has_machines:
        lines += machine_lines(plan)
    return [header, *lines]


def machine_lines(plan: Plan) -> list[str]:
    """How the training is shared out, and what disk and network take."""
    m = plan.machines
    ways = {way.spread: way for way in plan.trainings()}
    rounds = -(-plan.work.models // m.all_devices)
    lines = [
        f"  {m.machines} machines x {m.devices} devices, each as the one measured: whole folds side by side, "
        f"{rounds} after another, {about(ways['folds'].seconds)}; each fold over all devices "
        f"{about(ways['fold'].seconds)}, {about(ways['fold'].network)} of it for gradients"
    ]
    its = plan.stages()
    disk, network = sum(stage.disk for stage in its), sum(stage.network for stage in its)
    lines.append(
        f"  disk ({m.disk / 1e6:,.0f} MB/s, beside the computing): {about(disk)}; network"
        f" ({8 * m.network / 1e9:g} Gbit/s): {about(network)}"
    )
    return lines


def limit(plan: Plan) -> str:
    """What takes most of the time that is left."""
    its = [stage for stage in plan.stages() if stage.left]
    if not its:
        return "nothing: all of it is there"
    longest = max(its, key=lambda stage: stage.left)
    share = longest.left / left(its)
    if longest.disk > longest.compute:
        why = ", and the disk more than the computing"
    elif longest.network > longest.compute:
        why = ", and the network more than the computing"
    else:
        why = ""
    return f"{longest.name} takes {share:.0%} of what is left{why}"


ADVICE = {
    "start": "nothing: this part does not grow with the images",
    "split": "nothing: it is done once",
    "quick checks": "CHECKS=0 leaves them out, once they have passed",
    "decode": 'more cores decode more images at once (MACHINE="workers=16"); it is done once',
    "trunk": "fewer views, or a smaller image_size; it is done once for all runs that share the trunk",
    "train": "fewer epochs, a smaller image_size, or fewer layers that learn: EXP=head",
    "evaluate": "fewer epochs",
    "predict": "fewer views in tta",
    "submit": "nothing: this part is short",
}


def advice(plan: Plan, free: float, memory: float) -> list[str]:
    """What to do about it, and what would not work at all. free, memory: bytes that the disk has left, and
    that the machine has.
    """
    its = plan.stages()
    longest = max(its, key=lambda stage: stage.left)
    lines = [ADVICE[longest.name]] if longest.left else []
    room = sum(stage.room * (1 - stage.done) for stage in its)
    if room > free:
        lines.append(
            f"the disk has {gigabytes(free)} free and {gigabytes(room)} are needed: CACHE=folder on another"
            " disk, a smaller image_size, or fewer views"
        )
    largest = max(its, key=lambda stage: stage.memory)
    if largest.memory > memory:
        smaller = "fewer epochs" if largest.name == "evaluate" else "a smaller batch_size or image_size"
        lines.append(
            f"{largest.name} needs up to {gigabytes(largest.memory)} of memory, and there are"
            f" {gigabytes(memory)}: {smaller}"
        )
    return lines


def choice_lines(plans: Sequence[Plan], budget: float, text: str) -> list[str]:
    """head, tail and full, and which of them fit into the budget (seconds; 0: none was given)."""
    title = "fits" if budget else ""
    lines = [f"  {'what learns':18} {'time':>9} {'left':>9}  {title:5}  command"]
    for plan in plans:
        its, name = plan.stages(), plan.choice.kind + (" (this plan)" if plan.choice.is_own else "")
        fits = ""
        if budget:
            fits = "yes" if left(its) <= budget else "no"
        lines.append(
            f"  {name:18} {about(total(its)):>9} {about(left(its)):>9}  {fits:5}  {plan.choice.command}"
        )
    return lines + ([verdict(plans, budget, text)] if budget else [])


def verdict(plans: Sequence[Plan], budget: float, text: str) -> str:
    """Which of them fit, the largest first; where none does, what would."""
    fitting = [plan.choice.kind for plan in plans if left(plan.stages()) <= budget]
    if fitting:
        return f"BUDGET={text}: {' and '.join(fitting)} {'fits' if len(fitting) == 1 else 'fit'}"
    cheapest = min(plans, key=lambda plan: left(plan.stages()))
    smaller = smaller_work(cheapest, budget)
    needed = f"BUDGET={text}: nothing fits; {cheapest.choice.kind} needs {about(left(cheapest.stages()))}"
    if smaller is None:
        return f"{needed}, and with one epoch of 100 images more than that is left"
    changes = f"epochs={smaller.epochs}"
    if smaller.images < cheapest.work.images:
        changes += f" limit={smaller.images}"
    return f'{needed}. It would fit with SET="{changes}": {about(left(cheapest.stages(smaller)))}'


def smaller_work(plan: Plan, budget: float) -> Work | None:
    """The most epochs that fit; where one does not, the most images, halved again and again."""
    for epochs in range(plan.work.epochs, 0, -1):
        work = plan.work._replace(epochs=epochs)
        if left(plan.stages(work)) <= budget:
            return work
    work = plan.work._replace(epochs=1)
    while work.images > 100:
        work = work._replace(images=work.images // 2, held_out=work.held_out // 2)
        if left(plan.stages(work)) <= budget:
            return work
    return None
