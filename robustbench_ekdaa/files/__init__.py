"""The only place that writes files (whole or not at all), reads safetensors, and makes digests and stamps of files."""

from .reading import Stamp, read_bytes, shown_path, stamp
from .tensors import FACTS, TensorFile, read_tensors, storable, write_tensors
from .unfinished import tidy
from .writing import (
    STANDARD_OUTPUT,
    clear_errors,
    is_run_folder,
    output_file,
    refuse_run_folder,
    whole_file,
    whole_folder,
)

__all__ = [
    "FACTS",
    "STANDARD_OUTPUT",
    "Stamp",
    "TensorFile",
    "clear_errors",
    "is_run_folder",
    "output_file",
    "read_bytes",
    "read_tensors",
    "refuse_run_folder",
    "shown_path",
    "stamp",
    "storable",
    "tidy",
    "whole_file",
    "whole_folder",
    "write_tensors",
]
