"""Write an export atomically, with its provenance in provenance.json: that of what was loaded, whatever a run makes meanwhile.

format, what, split, min_quality   the options
classes                            names by class id
quality                            definition of a mask's quality
commit, commit_has_changes         of this project's folder
params                             the values of params.yaml when the export began; params_sha256 of the file
params_digests                     of the sections that each stage behind the masks was run with, as the rows name them
dataset_sha256, masks_digest       of data/dataset/images.parquet; over image ids and digests of all masks
checkpoints                        weights, training rows and supervision of every network behind the masks, as of when the export
                                   began; made_them: whether the masks name these weights, null if the rows between were made
                                   again or are gone
level                              estimated IoU from audited images with its interval, sample and seed; "± unknown" where there is
                                   none, or where it is of other digests than those on disk
files                              path → SHA-256 of each file of the export but this one; only with these files is it replaced
seal                               of this file (labelfactory.destinations): one that was changed is not replaced either
images                             image id → SHA-256 of the photograph, digest, quality and source of the mask
facts                              of the format: pixel_error of polygons, specks_left_out below min_area, masks of the
                                   validation list that were predicted
"""

from pathlib import Path
from typing import Any

from exports._earlier import COMMAND, PROVENANCE, digests, refuse_others
from exports._networks import checkpoints, params_digests
from exports._selection import QUALITY, Selection
from labelfactory.dataset.level_record import UNKNOWN
from labelfactory.destinations import blank_seal, seal
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError
from labelfactory.files import (
    disk_errors,
    filled_folder,
    leftovers,
    make_folder,
    remove_leftover_folders,
    remove_made,
    temporary_path,
    write_json,
)
from labelfactory.lock import project_lock
from labelfactory.settings.registry import load_method, method_names
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.level_now import present_level

OLD = "old"
"""Kind of the temporary name of an export that another one replaces."""


def formats() -> list[str]:
    """Names of the formats."""
    return method_names("exports")


def has_objects(name: str) -> bool:
    """Whether a format has an annotation for each object, so that `--min-area` applies."""
    return bool(getattr(load_method("exports", name), "OBJECTS", False))


def export(name: str, selection: Selection, out: Path) -> dict[str, Any]:
    """Write an export.

    Args:
        name: the format.
        selection: its photographs and masks.
        out: a folder that does not exist, is empty, or contains an earlier export and nothing else; that is replaced.

    Returns:
        The provenance.

    Raises:
        DataError: `out` contains something else, is a link, or belongs to the project; or no mask reaches the quality.
        ChangedMeanwhileError: an image was withdrawn, or its mask replaced, while it was written.
        DiskError: nothing can be written there.
    """
    refuse_others(out, formats())
    make_folder(out.parent)
    _after_a_kill(out)
    temporary, old = temporary_path(out), temporary_path(out, OLD)
    made = moved = None
    with disk_errors(out):
        try:
            with filled_folder(temporary) as folder:
                made = folder.stat()
                facts = _written(name, selection, folder)
                provenance = {**_provenance(name, selection, facts), "files": digests(folder)}
                write_json(folder / PROVENANCE, provenance | {"seal": blank_seal(COMMAND)})
                seal(folder / PROVENANCE, COMMAND)
            refuse_others(out, formats())  # something may have been put there meanwhile
            with project_lock("labelfactory export"):  # another export to this folder, or a withdrawal, may be as far
                selection.refuse_withdrawn()
                if out.exists():
                    moved = out.lstat()
                    out.replace(old)
                temporary.replace(out)
        finally:
            if moved is not None and old.exists() and not out.exists():
                old.replace(out)
            remove_made(temporary, made)
            remove_made(old, moved)
    return provenance


def _written(name: str, selection: Selection, folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = load_method("exports", name).write(selection, folder)
    except DataError:
        selection.refuse_withdrawn()  # its photograph is gone
        raise
    return facts


def _after_a_kill(out: Path) -> None:
    """Remove what killed exports to this folder left; one that was killed between two renames had moved the old folder away."""
    with project_lock("labelfactory export"):
        for moved in leftovers(out.parent, [out.name], kind=OLD, alone=True):
            if not out.exists() and (moved / PROVENANCE).is_file():
                moved.replace(out)
        remove_leftover_folders(out.parent, [out.name])


def _level(what: str) -> dict[str, Any] | None:
    """The estimate of the masks, or of the model, that are on disk."""
    maker = read_wiring().masks if what == "masks" else read_wiring().model
    return present_level(maker.noun)


def _provenance(name: str, selection: Selection, facts: dict[str, Any]) -> dict[str, Any]:
    origin = selection.origin
    masks = {image_id: image["mask"] for image_id, image in selection.exported.items()}
    rows = {image_id: digest for image_id, digest in masks.items() if image_id not in selection.not_in_rows}
    return {
        "format": name,
        "what": selection.what,
        "split": selection.split,
        "min_quality": selection.min_quality,
        "classes": list(selection.classes),
        "quality": QUALITY[selection.what],
        "commit": origin.commit,
        "commit_has_changes": origin.commit_has_changes,
        "params_sha256": origin.params_sha256,
        "params": origin.params,
        "dataset_sha256": selection.dataset_sha256,
        "masks_digest": digest_rows(masks.items()),
        "params_digests": params_digests(selection.what, rows),
        "level": _level(selection.what) or UNKNOWN,
        "checkpoints": checkpoints(selection.what, origin.passports, rows),
        "facts": facts,
        "images": selection.exported,
    }
