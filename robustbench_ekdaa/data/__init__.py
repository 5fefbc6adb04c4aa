"""Data sets: digits (embedded), three published ones, and any NPZ archive or image folder of the user's."""

from .arrays import dataset_from_arrays
from .dataset import Dataset, Split
from .inventory import DatasetStatus, dataset_status, status
from .loading import dataset_names, load_dataset, load_split, shared_dataset
from .location import data_folder
from .store import fetch_dataset, import_dataset

__all__ = [
    "Dataset",
    "DatasetStatus",
    "Split",
    "data_folder",
    "dataset_from_arrays",
    "dataset_names",
    "dataset_status",
    "fetch_dataset",
    "import_dataset",
    "load_dataset",
    "load_split",
    "shared_dataset",
    "status",
]
