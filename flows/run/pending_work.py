"""Whether a stage that is stale for DVC has anything to compute, by its keys, asked before it waits for a GPU.

DVC compares files, keys compare what bears values. Code may have other bytes and the same normal form, a cluster may have made
all rows already, a photograph of another list does not change a training, and `train_upper_bound` may be off.
"""

from flows.run.fan_out import is_per_image, pending_shards
from labelfactory.stage.calibration import CalibrationStage
from labelfactory.stage.runner import build_stage, read_sections, stage_class
from labelfactory.stage.training import TrainingStage


def has_work(name: str) -> bool:
    """Whether a stage would compute anything; True for stages that make neither rows, a network nor thresholds."""
    if is_per_image(name):
        return bool(pending_shards(name))
    kind = stage_class(name)
    if issubclass(kind, CalibrationStage):
        return bool(build_stage(name, read_sections()).made_before() is None)
    if issubclass(kind, TrainingStage):
        stage = build_stage(name, read_sections())
        return stage.enabled and not stage.is_current() and stage.made_before() is None
    return True
