"""Whether a stage that DVC calls stale has anything to do, by its keys: asked before a run waits for a GPU.

DVC compares files, keys compare what bears values. Code may have other bytes and the same normal form, a cluster may have made
all rows already, a photograph of another list leaves a training as it was, and `train_upper_bound` may be off.
"""

from flows.run.fan_out import is_per_image, pending_shards
from labelfactory.stage.runner import read_sections, stage_class
from labelfactory.stage.training import TrainingStage


def has_work(name: str) -> bool:
    """Whether a stage would compute anything. Of stages that make neither rows nor a network it is not known: yes."""
    if is_per_image(name):
        return bool(pending_shards(name))
    kind = stage_class(name)
    if issubclass(kind, TrainingStage):
        sections = read_sections()
        stage = kind(sections[name], {other: sections[other] for other in kind.borrows})
        return getattr(stage, "enabled", True) and not stage.is_current()
    return True
