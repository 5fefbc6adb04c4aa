"""Fill the tables of docs/attacks/cards.md from the attack cards, the components' docstrings and a count of passes.

    python benchmarks/attack_cards.py --page docs/attacks/cards.md

A test holds the page to what this writes. Passes are counted on four digits, at one epsilon and at two.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_ekdaa.cards import AttackCard, Component, Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.listing import list_components

SURROGATES = 3


class Counted(nn.Module):
    """A linear network that counts the batches differentiated through it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.layers(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += 1


def gradients(card: AttackCard, images: Tensor, labels: Tensor) -> tuple[int, int]:
    """How many gradients of one surrogate an attack takes per image: at its first epsilon, and at each further one.

    Of several surrogates the mean counts, rounded, as the variance-reduced ensemble asks them at random.
    """
    counts = []
    for epsilons in ([0.1], [0.1, 0.2]):
        torch.manual_seed(0)
        surrogates = [Counted() for _ in range(SURROGATES if card.uses_ensemble else 1)]
        for _ in craft(card, surrogates if card.uses_surrogate else [], images, labels, epsilons):
            pass
        counts.append(round(sum(each.gradients for each in surrogates) / len(surrogates)))
    return counts[0], counts[1] - counts[0]


def part(component: Component) -> str:
    """Write a component with its options: scale (copies 5)."""
    options = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                        for name, value in component.options.items())  # fmt: skip
    return component.component + (f" ({options})" if options else "")


def composition(card: AttackCard) -> str:
    """Name what a card is composed of, where it is not the plain thing."""
    parts = [f"target {card.target}"] if card.target else []
    parts += [f"loss {card.loss}"] if card.loss != "cross_entropy" else []
    optional = [card.start] if card.start else []
    optional += [card.source] if card.source.component != "single" else []
    optional += [*card.input, *card.gradient]
    optional += [each for each in (card.update, card.step) if each.component not in ("plain", "steepest")]
    return "; ".join([*parts, *map(part, optional)]) or "–"


def cards_table(workspace: Workspace) -> str:
    """Return a row per card that is composed here."""
    test = load_dataset("digits").test
    images, labels = test.images[:4], test.labels[:4]
    lines = [
        "| card | attack | paper | norm | steps of | composed of | gradients | each further ε |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for card in (workspace.attacks[name] for name in workspace.attacks.names()):
        if card.adapter is None:
            first, further = gradients(card, images, labels)
            steps = f"{card.steps} × {str(card.step_size).replace('epsilon', 'ε').replace(' * ', ' ')}"
            cells = [f"`{card.name}`", card.label, card.paper or "–", card.norm, steps if card.steps else "none"]
            lines.append(f"| {' | '.join(cells)} | {composition(card)} | {first} | {further} |")
    return "\n".join(lines)


def adapters_table(workspace: Workspace) -> str:
    """Return a row per card of another library's attack."""
    lines = ["| card | attack | paper | norm | library and class | options |", "| --- | --- | --- | --- | --- | --- |"]
    for card in (workspace.attacks[name] for name in workspace.attacks.names()):
        if card.adapter is not None:
            given = dict(card.adapter.options)
            options = ", ".join(f"{name} {value}" for name, value in given.get("options", {}).items())
            library = {"foolbox": "Foolbox", "art": "ART"}[card.adapter.component]
            cells = [f"`{card.name}`", card.label, card.paper, card.norm, f"{library} {given['attack']}", options]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def components_table(workspace: Workspace) -> str:
    """Return a row per component, in the words of its docstring."""
    rows = [f"| {row['role']} | `{row['name']}` | {row['description']} |" for row in list_components(workspace)]
    return "\n".join(["| role | component | what it does |", "| --- | --- | --- |", *rows])


def suites_table(workspace: Workspace) -> str:
    """Return a row per suite."""
    lines = ["| suite | what it is | attacks |", "| --- | --- | --- |"]
    for suite in (workspace.suites[name] for name in workspace.suites.names()):
        members = ", ".join(f"`{name}`" for name in suite.attacks)
        lines.append(f"| `{suite.name}` | {suite.label}. {suite.notes or ''} | {members} |")
    return "\n".join(lines)


TABLES = {
    "cards": cards_table,
    "adapters": adapters_table,
    "components": components_table,
    "suites": suites_table,
}


def filled(page: str) -> str:
    """Return the page with its tables as they are now."""
    workspace = Workspace()
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if not (begin in page and end in page):
            raise SystemExit(f"the page must hold the marks {begin} and {end}")
        text = f"{begin}\n{table(workspace)}\n{end}"
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda match, text=text: text, page, flags=re.DOTALL)
    return page


def main() -> None:
    """Fill the tables of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True)
    page = parser.parse_args().page
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
