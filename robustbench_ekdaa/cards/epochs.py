"""Models as they were on the way: `ekdaa#3` is the card ekdaa, whose training stopped after epoch 3."""

from __future__ import annotations

from ..arguments import integer
from ..errors import UsageError, shown
from .crossing import EPOCH
from .models import AnyModelCard, ModelCard

ALL = "all"
MOST_EPOCHS = 1_000_000


def after_epoch(card: AnyModelCard, epoch: object) -> ModelCard:
    """Return the card of a model whose training stops after an epoch; the recipe stays that of the whole training.

    Args:
        card: a model card, of a whole training.
        epoch: counts from 1; a number, or the text of one, as in ``ekdaa#3``.

    Raises:
        UsageError: for what is no such number, a model that was trained elsewhere, and a card that stops already. That
            the recipe has so many epochs is asked when it is known for which data set.

    """
    called = shown(f"{card.name}{EPOCH}{epoch if isinstance(epoch, str) else shown(epoch)}")
    if not isinstance(card, ModelCard):
        raise UsageError(f"{called}: {card.name} was trained elsewhere, and its epochs are not known. Name it alone.")
    if card.whole is not card:
        raise UsageError(f"{called}: {card.name} says already after which epoch")
    number = _number(epoch)
    if number is None:
        raise UsageError(
            f"{called}: behind {EPOCH} stands an epoch, a whole number from 1, and after it nothing "
            f"(ekdaa{EPOCH}3, ekdaa@sgd{EPOCH}3)"
        )
    stopped = card.model_copy(
        update={"name": f"{card.name}{EPOCH}{number}", "title": f"{card.label}, after epoch {number}"}
    )
    stopped.stop_after(number, card)
    return stopped


def read_kept(value: object) -> int:
    """Return every how many epochs' weights are kept.

    Args:
        value: ``"all"``, or a whole number K from 1 for every K-th epoch.

    Raises:
        UsageError: for anything else.

    """
    number = 1 if value == ALL else _number(value) if not isinstance(value, str) else None
    if number is None:
        raise UsageError(f"must be {ALL!r} or a whole number from 1, for every K-th epoch (got {shown(value)})")
    return number


def kept_cards(card: ModelCard, dataset: str, every: int) -> list[ModelCard]:
    """Return the cards of a training's kept epochs on a data set, without its last, which is the model itself."""
    return [after_epoch(card.whole, epoch) for epoch in range(every, card.epochs(dataset), every)]


def _number(value: object) -> int | None:
    if isinstance(value, str):
        return _number(int(value)) if value.isascii() and value.isdecimal() and len(value) < 10 else None
    number = integer(value)
    return number if number is not None and 0 < number <= MOST_EPOCHS else None
