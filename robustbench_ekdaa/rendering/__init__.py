"""What readers see: figures, tables, the HTML report, and the table on the terminal."""

from .alignment_curves import plot_alignment
from .console import summary_table
from .curves import plot_curves
from .examples import plot_examples
from .findings import findings_table
from .fooled_tables import fooled_tables
from .optimality_tables import optimality_tables
from .report import write_report
from .training_curves import plot_training
from .transfer_matrix import plot_attack_matrices, plot_transfer_matrix
from .who_is_fooled import plot_who_is_fooled

__all__ = [
    "findings_table",
    "fooled_tables",
    "optimality_tables",
    "plot_alignment",
    "plot_attack_matrices",
    "plot_curves",
    "plot_examples",
    "plot_training",
    "plot_transfer_matrix",
    "plot_who_is_fooled",
    "summary_table",
    "write_report",
]
