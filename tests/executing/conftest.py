"""The workspace whose models train in a second, and the run of the first release."""

from ..scoring.conftest import released, spec, workspace

__all__ = ["released", "spec", "workspace"]
