"""A passport that is valid, with any field changed."""

from labelfactory.learning.checkpoints import Passport

ARCHITECTURE = {"backbone": "tiny", "output_stride": 16}


def passport(**changes: object) -> Passport:
    values: dict[str, object] = {
        "stage": "train_classifier",
        "key": "k" * 64,
        "architecture": ARCHITECTURE,
        "classes": ["cat", "dög"],
        "params": {"epochs": 3},
        "params_digest": "p",
        "code_digest": "c",
        "git_commit": "abc",
        "git_dirty": False,
        "seed": 0,
        "device": "cpu",
        "libraries": {"torch": "2"},
        "training_rows": 5,
        "training_rows_digest": "r",
        "parents": {"classifier": "d"},
        "supervision": ["imagenet-tags", "tags"],
        "metrics": {"loss": 0.5},
    }
    return Passport(**{**values, **changes})
