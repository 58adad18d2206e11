"""How many pixels an import decodes at one time, on however many cores."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from PIL import Image

from sources import _inspect
from sources._batch import Candidate
from sources._inspect import inspect_all


@pytest.mark.parametrize(("limit", "most"), [(250, 2), (100, 1), (99, 1), (10, 1), (800, 8)])
def test_photographs_are_decoded_together_up_to_a_limit_of_pixels(monkeypatch, limit, most):
    """Eight of a hundred pixels on eight threads. One that is larger than the limit is decoded alone; all are inspected."""
    stream = io.BytesIO()
    Image.new("RGB", (10, 10)).save(stream, "PNG")
    lock, meet = threading.Lock(), threading.Barrier(most)
    now, highest = 0, 0

    def decode(data: bytes) -> np.ndarray:
        nonlocal now, highest
        with lock:
            now += 1
            highest = max(highest, now)
        meet.wait(60)  # as many as the limit allows do meet here
        sleep(0.02)  # others would come
        with lock:
            now -= 1
        return np.zeros((10, 10, 3), np.uint8)

    monkeypatch.setattr(_inspect, "decode_photograph", decode)
    monkeypatch.setattr(_inspect, "PIXELS_AT_ONCE", limit)
    monkeypatch.setattr(_inspect, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(8))
    candidates = [Candidate(str(k), Path(f"{k}.png"), (), photograph_bytes=stream.getvalue) for k in range(8)]
    inspections = inspect_all(candidates, None)
    assert [inspection.reason for inspection in inspections] == [""] * 8
    assert highest == most
