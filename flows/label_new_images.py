"""Label new photographs: append those of the source, run the line without retraining, summarise the new masks.

The nightly run on a schedule; without new photographs it ends within seconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from flows.label_factory import run_line
from flows.line.summary import quality_falls
from flows.line.unfinished import finishing_withdrawals
from flows.run.checks import check_run
from flows.run.git_tree import check_tree
from flows.run.heartbeat import heartbeat
from flows.run.notify import announce
from flows.run.run_record import tell_mlflow
from flows.run.stage_task import UP_TO_DATE, USER_ERROR
from flows.server.credentials import mask_logs
from flows.server.run_name import run_name
from labelfactory.errors import UserError
from labelfactory.lock import project_lock
from labelfactory.masking import masked
from labelfactory.rows.shards import RowState, ShardFolder
from labelfactory.stage.runner import read_sections
from sources._import_plan import ImportOptions
from sources.intake import append_from

MASKS = Path("data/masks")
SHOWN = 100
"""Images that the summary lists."""


def name_of_run() -> str:
    """`new images, 20 Nov 03:00`, with the source if one is given."""
    return run_name("label-new-images", this_run.parameters, this_run.name or "")


@flow(
    name="label-new-images",
    flow_run_name=name_of_run,
    on_completion=[announce, tell_mlflow],
    on_failure=[announce, tell_mlflow],
    on_crashed=[announce],
    on_cancellation=[announce],
)
def label_new_images(source: str = "", strict: bool = False) -> State[Any]:
    """Label new photographs.

    Args:
        source: a folder in VOC layout, `demo:60`, or empty for the source of the import.
        strict: refuse a git tree that is not clean, instead of recording it; fail if the quality of masks fell.
    """
    mask_logs()
    with heartbeat():
        try:
            tree = check_tree(strict=strict)
            before = mask_rows()
            with finishing_withdrawals("the flow label-new-images"):
                added = import_new(source)
                check_run(retrain=False)
                state = run_line((), retrain=False, tree=tree, strict=strict)
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))
        if not state.is_completed():
            return state
        new = {image: row for image, row in mask_rows().items() if changed(before.get(image), row)}
        create_markdown_artifact(masked(summary(added, new)), key="new-images", description="What this run added")
        name = UP_TO_DATE if state.name == UP_TO_DATE and not added else None
        fell = quality_falls() if new else []
        made = f"{added} photographs imported, {len(new)} masks made."
        return Completed(name=name, message=" ".join([made, *fell]))


@task(name="import", task_run_name="import", cache_policy=NO_CACHE, persist_result=False)
def import_new(source: str) -> int:
    """Append the source's new photographs. Returns their number."""
    limits: Any = read_sections()["prepare"]
    options = ImportOptions(
        max_bad_fraction=limits.max_bad_fraction, train_list=limits.train_list, val_list=limits.val_list
    )
    with project_lock("the flow label-new-images"):
        imported = append_from(source, options=options)
    get_run_logger().info("%d new photographs, %d in all", imported.added, len(imported.manifest.entries))
    return imported.added


def mask_rows() -> dict[str, RowState]:
    """Image id → state of its mask's row; empty before the first run."""
    folder = ShardFolder(MASKS)
    if not folder.shards():
        return {}
    return {row.image_id: row for row in folder.all_states()}


def changed(before: RowState | None, after: RowState) -> bool:
    """Whether a mask is new or differs."""
    return before is None or (before.digest, before.status) != (after.digest, after.status)


def summary(added: int, new: Mapping[str, RowState]) -> str:
    """Summary in Markdown: the counts, and one row per image."""
    if not added and not new:
        return "Nothing is new."
    rows = [f"| {image} | {'a mask' if row.status == 'ok' else row.reason} |" for image, row in sorted(new.items())]
    more = [f"\nand {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    head = f"{added} photographs imported, {len(new)} masks made.\n"
    return "\n".join([head, "| image | made |", "| --- | --- |", *rows[:SHOWN], *more])
