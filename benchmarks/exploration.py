"""Exploring in a catalogue with new items: fans found, against what it costs at first, over seeds.

Short-term loss is by how much the mean reward of the first three rounds is below the greedy one, in the same world.
An exploring policy is compared with epsilon-greedy at the same loss in every world, by interpolation between epsilons.
"""

import argparse
from typing import Any

import numpy as np
from common import RESULTS, write
from matplotlib import pyplot as plt

from rfm_recsys import LinRFM
from rfm_recsys.evaluation import paired_difference
from rfm_recsys.evaluation.simulation import (
    Policy,
    epsilon_greedy,
    exploring,
    feedback_world,
    greedy,
    popularity,
    simulate,
)

EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
SCALES = (0.25, 0.5, 0.75, 1.0)
SHORT = 3  # rounds

POLICIES: dict[str, Policy] = {
    "greedy": greedy,
    "popularity": popularity,
    **{f"epsilon {epsilon:g}": epsilon_greedy(epsilon) for epsilon in EPSILONS},
    **{f"Thompson {scale:g}": exploring("thompson", scale) for scale in SCALES},
    **{f"UCB {scale:g}": exploring("ucb", scale) for scale in SCALES},
}


def at_equal_loss(loss: float, losses: list[float], fans: list[float]) -> float:
    """Return the fans that the epsilon of that loss finds; those of no epsilon where it gains at first."""
    order = np.argsort(losses)
    return float(np.interp(loss, np.array(losses)[order], np.array(fans)[order]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    rounds: dict[str, list[Any]] = {name: [] for name in POLICIES}
    for seed in seeds:
        world = feedback_world(random_state=seed)
        model = LinRFM(32, **LinRFM(32).fit(world.history, show_progress=False).chosen_)
        for name, policy in POLICIES.items():
            rounds[name].append(simulate(world, policy, model=model, random_state=seed))
        print(seed, {name: int(each[-1]["new_taken"].sum()) for name, each in rounds.items()}, flush=True)
    means = {
        name: {column: np.mean([run[column] for run in each], axis=0) for column in each[0].columns}
        for name, each in rounds.items()
    }
    early = {name: np.array([run["reward"][:SHORT].mean() for run in each]) for name, each in rounds.items()}
    loss = {name: early["greedy"] - each for name, each in early.items()}
    fans = {name: np.array([run["new_taken"].sum() for run in each], dtype=float) for name, each in rounds.items()}
    steps = ["greedy", *(name for name in POLICIES if name.startswith("epsilon"))]
    rows = {}
    for name in POLICIES:
        row = {
            "fans": fans[name].mean(), "short-term loss": loss[name].mean(),
            "reward of all rounds": means[name]["reward"].mean(), "reward of the last": means[name]["reward"][-1],
            "regret, summed": means[name]["regret"].sum(),
        }  # fmt: skip
        if name.split()[0] in ("Thompson", "UCB"):
            level = np.array(
                [at_equal_loss(loss[name][k], [loss[s][k] for s in steps], [fans[s][k] for s in steps]) for k in seeds]
            )
            found = paired_difference(fans[name], level)
            row |= {"epsilon-greedy's fans at this loss": level.mean(), "more": [found.mean, found.low, found.high]}
            row["p"] = found.p_value
        rows[name] = row
        print(name, {key: np.round(value, 4).tolist() for key, value in row.items()})
    write("exploration", {"seeds": len(seeds), "policies": rows})
    figure, axes = plt.subplots(1, 3, figsize=(14, 4))
    for kind, colour in (("epsilon", "#777777"), ("Thompson", "#0b6e4f"), ("UCB", "#3d5a80")):
        names = [name for name in POLICIES if name.startswith(kind)]
        names = ["greedy", *names] if kind == "epsilon" else names
        axes[0].plot([100 * loss[n].mean() for n in names], [fans[n].mean() for n in names], "o-", color=colour,
                     label={"epsilon": "epsilon-greedy"}.get(kind, kind))  # fmt: skip
    axes[0].set(xlabel="short-term loss, points of reward", ylabel="fans of new items found", xlim=(-3, 20))
    shown = ("greedy", "epsilon 0.1", "popularity", "Thompson 0.5", "Thompson 1", "UCB 0.5")
    for name, colour in zip(shown, ("#000000", "#777777", "#c8553d", "#0b6e4f", "#7fb069", "#3d5a80"), strict=True):
        axes[1].plot(means[name]["round"], np.cumsum(means[name]["new_taken"]), color=colour, label=name)
        axes[2].plot(means[name]["round"], np.cumsum(means[name]["regret"]), color=colour, label=name)
    axes[1].set(xlabel="round", ylabel="fans of new items found")
    axes[2].set(xlabel="round", ylabel="regret, summed")
    for each in axes:
        each.legend(fontsize=8)
        each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RESULTS / "exploration.png", dpi=110)


if __name__ == "__main__":
    main()
