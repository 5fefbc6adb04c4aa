"""Learning rules, one file each, and the trainer that runs any of them."""

from .rule import LearningRule, Step
from .training import TrainingJob, load_network, train

__all__ = ["LearningRule", "Step", "TrainingJob", "load_network", "train"]
