# The public interface: the one place where its names are written. `__init__.py` reads this file.
from . import components as components
from . import rules as rules
from .analysis.results import Results as Results
from .api import check as check
from .api import check_attack as check_attack
from .api import check_rule as check_rule
from .api import compare as compare
from .api import craft as craft
from .api import load_adversarial as load_adversarial
from .api import load_dataset as load_dataset
from .api import load_model as load_model
from .api import open_results as open_results
from .api import publish as publish
from .api import report as report
from .api import score as score
from .api import sweep as sweep
from .api import train as train
from .benchmark import Benchmark as Benchmark
from .cards import BlockSpec as BlockSpec
from .cards import SweepSpec as SweepSpec
from .cards import Workspace as Workspace
from .learning import LearningRule as LearningRule
from .learning import Step as Step
from .learning.external import register_model as register_model
from .networks.wrappers import averaged as averaged
from .networks.wrappers import two_classes as two_classes
from .registry import register_component as register_component
from .registry import register_dataset as register_dataset
from .registry import register_factory as register_factory
from .registry import register_network as register_network
from .registry import register_rule as register_rule
from .rendering import plot_alignment as plot_alignment
from .rendering import plot_curves as plot_curves
from .rendering import plot_training as plot_training
from .rendering import plot_transfer_matrix as plot_transfer_matrix

__version__: str
