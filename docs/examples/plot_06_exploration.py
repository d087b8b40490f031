"""
Exploring
=========

A catalogue with new items that nobody has met, and users who take some of what they are shown. Who only ever shows what
scores best never finds out who likes the new ones. Thompson sampling draws from the posterior instead, and does.
"""

import matplotlib.pyplot as plt

from rfm_recsys.evaluation.simulation import epsilon_greedy, exploring, feedback_world, greedy, simulate

world = feedback_world(n_users=250, n_items=200, n_new=30, random_state=100)
policies = {
    "greedy": (greedy, "#63666b"),
    "epsilon-greedy, 10%": (epsilon_greedy(0.1), "#b84a00"),
    "Thompson": (exploring("thompson", 0.5), "#0b5cad"),
}
found = {name: simulate(world, policy, rounds=10) for name, (policy, _) in policies.items()}
{name: int(rounds["new_taken"].sum()) for name, rounds in found.items()}

# %%
# Exploring costs a little at first: what is shown is taken less often. It pays in fans of new items that are found.

figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
for name, (_, colour) in policies.items():
    left.plot(found[name]["round"], found[name]["new_taken"].cumsum(), color=colour, label=name)
    right.plot(found[name]["round"], found[name]["reward"], color=colour, label=name)
left.set(xlabel="round", ylabel="fans of new items found")
right.set(xlabel="round", ylabel="share of what is shown that is taken", ylim=(0, None))
left.legend(frameon=False)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
