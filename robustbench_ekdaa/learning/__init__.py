"""Learning rules, one file each, and the trainer that runs any of them."""

from .external import LoadingJob
from .job import TrainingJob
from .models import ModelJob, by_training, check_model, kept_jobs, load_model, make_model, model_job
from .rule import LearningRule, Step
from .training import load_network, train

__all__ = [
    "LearningRule",
    "LoadingJob",
    "ModelJob",
    "Step",
    "TrainingJob",
    "by_training",
    "check_model",
    "kept_jobs",
    "load_model",
    "load_network",
    "make_model",
    "model_job",
    "train",
]
