import pytest
from hypothesis import settings

from ..made_outcomes import digits_outcomes

# Times tell nothing on a shared machine.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def real():
    """Real outcomes: FGSM, five steps of it, and noise, on and against three networks trained on the digits."""
    return digits_outcomes()
