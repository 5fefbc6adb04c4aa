"""Four images of class 0, and predictions for them."""

import numpy as np

LABELS = np.zeros(4, int)
RIGHT = np.zeros(4, int)


def wrong_on(*images):
    """Answers that are wrong on some of the four images."""
    return [1 if image in images else 0 for image in range(4)]
