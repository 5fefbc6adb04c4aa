"""Cards: TOML files that describe models, attacks, suites and sweeps, read into checked objects.

A card is data: reading one runs no code. Its identity is its content (`content_hash`): with another number in it, it
is a new model or attack, for which no result of the old one is used. Titles, papers and notes do not belong to it.
"""

from ..files import shown_path
from .attacks import STEP_SIZE, AttackCard, Component, SuiteCard, length_at
from .base import NAME, Card, FileCard, content_hash
from .crossing import crossed_names, split_name, without_repeats
from .epochs import after_epoch, kept_cards, read_kept
from .epsilons import read_epsilon, read_epsilons
from .external import REGISTERED, ExternalCard, ReadyCard, RegisteredCard
from .models import AdversarialTraining, AnyModelCard, BlockSpec, ModelCard, NetworkSpec, Recipe, RecipeCard
from .reading import check, read_toml
from .sweeps import MOST_SEEDS, SweepSpec, read_sweep
from .workspace import Shelf, Workspace, builtin_workspace, read_card

__all__ = [
    "MOST_SEEDS",
    "NAME",
    "REGISTERED",
    "STEP_SIZE",
    "AdversarialTraining",
    "AnyModelCard",
    "AttackCard",
    "BlockSpec",
    "Card",
    "Component",
    "ExternalCard",
    "FileCard",
    "ModelCard",
    "NetworkSpec",
    "ReadyCard",
    "Recipe",
    "RecipeCard",
    "RegisteredCard",
    "Shelf",
    "SuiteCard",
    "SweepSpec",
    "Workspace",
    "after_epoch",
    "builtin_workspace",
    "check",
    "content_hash",
    "crossed_names",
    "kept_cards",
    "length_at",
    "read_card",
    "read_epsilon",
    "read_epsilons",
    "read_kept",
    "read_sweep",
    "read_toml",
    "shown_path",
    "split_name",
    "without_repeats",
]
