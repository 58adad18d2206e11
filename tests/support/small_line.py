"""A line of seconds: the settings that make every stage small."""

from pathlib import Path

from labelfactory.settings.wiring import read_wiring

SMALL = {
    "train_classifier": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 97,
        "long_side_min": 96,
        "long_side_max": 128,
        "backbone": "tiny",
        "weights": "random",
    },
    "extract_cams": {"scales": "[1.0]", "flip": "false"},
    "calibrate_seeds": {"images": 4},
    "label_affinity": {"method.crf.steps": 1},
    "train_affinity": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 97,
        "long_side_min": 96,
        "long_side_max": 128,
    },
    "random_walk": {"method.steps": 16},
    "refine_crf": {"method.crf.steps": 2, "method.crf.bilateral_compat": 10},
    "train_segmenter": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 65,
        "long_side_min": 64,
        "long_side_max": 96,
        "backbone": "tiny",
        "weights": "random",
        "freeze_stages": 0,
        "net.width": 16,
    },
    "train_teacher": {"enabled": "false", "epochs": 1, "least_steps": 0},
    "train_upper_bound": {"enabled": "false"},
    "evaluate": {"scales": "[1.0]", "flip": "false", "gallery": 1},
}


def ran(output: str, folder: Path) -> list[str]:
    return [name for name in read_wiring(folder / "dvc.yaml") if f"Running stage '{name}'" in output]
