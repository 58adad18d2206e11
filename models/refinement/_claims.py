"""Labels from classes that are cut out one by one: `otsu` and `grab_cut`."""

import numpy as np
from numpy.typing import NDArray


def labels_of_claims(claims: NDArray[np.bool_], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Channel numbers [H, W]: 0 background, k + 1 where class k has the highest score among those that claim the pixel.

    Args:
        claims: [K, H, W], where each class is; K may be 0.
        scores: [K, H, W], at least 0.
    """
    if len(claims) == 0:
        return np.zeros(claims.shape[1:], dtype=np.int64)
    claimed = np.where(claims, scores, -1)
    labels: NDArray[np.int64] = np.where(claims.any(axis=0), claimed.argmax(axis=0) + 1, 0)
    return labels
