import pytest

from ..made_outcomes import digits_outcomes


@pytest.fixture(scope="session")
def real():
    """Real outcomes: FGSM, five steps of it, and noise, on and against three networks trained on the digits."""
    return digits_outcomes()
