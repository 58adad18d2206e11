"""Which files of the ground floor bear values, and which answer together by `closure.ENGINE_FORMAT`. One entry a file."""

VALUE_ROOMS = {
    "dataset/corrections.py": "a person's mask in the classes of the data set",
    "dataset/images.py": "pixels of photographs and masks",
    "dataset/map_files.py": "grey values of maps that another program made",
    "dataset/tensors.py": "what a network is given",
    "dataset/truth.py": "what the upper bound learns from",
    "learning/augment.py": "the views that a network learns from",
    "learning/batches.py": "which examples meet in a step, and the seed of each view",
    "learning/examples.py": "what one example is made of",
    "learning/learner.py": "what a step minimises, and which examples share a batch",
    "learning/ranks.py": "the mean that losses divide by",
    "learning/training.py": "optimiser, schedule and loop",
    "rows/columns.py": "dtype and rounding of what a row holds",
    "schema.py": "class ids, void, and the class of each channel",
}
"""Files under labelfactory/ that are in the key of every stage that reaches them, and the value that each decides."""

BY_NUMBER = {
    "__init__.py": "sets up threads",
    "console.py": "messages",
    "dataset/__init__.py": "a docstring",
    "dataset/account.py": "what an import found, for a person",
    "dataset/audited_truth.py": "truth of a few images, which no stage reads",
    "dataset/audits.py": "likewise",
    "dataset/changed_corrections.py": "deletes masks that no table names",
    "dataset/left_out.py": "messages",
    "dataset/level_record.py": "how good the masks are, for a person",
    "dataset/picture_files.py": "which files are decoded; pixels are made of them in images.py and map_files.py",
    "dataset/manifest.py": "a table; its rows are in keys by their digests",
    "dataset/prepared.py": "likewise",
    "dataset/tables.py": "a file format with a number of its own",
    "dataset/withdrawn.py": "what is left out; rows of the rest do not depend on it",
    "dataset/sealed_masks.py": "masks for other programs",
    "destinations.py": "where results for other programs may lie, and what may be replaced there",
    "devices.py": "where to compute",
    "digests.py": "what keys are written in",
    "dvc_cache.py": "where files of outputs are too",
    "environment.py": "numbers from the environment, which no result depends on",
    "errors.py": "messages",
    "files.py": "whole files",
    "foreign_files.py": "which files are read; what is read is held to its digest",
    "forecast.py": "messages",
    "http_client.py": "downloads, held to their digests",
    "http_server.py": "how pages are served",
    "interrupt.py": "how a program ends that is told to",
    "json_files.py": "files that are read back",
    "learning/__init__.py": "a docstring",
    "learning/checkpoints.py": "a file format; weights are in keys by their digest",
    "learning/learnt_classes.py": "refuses, computes nothing",
    "learning/resume.py": "a run that was killed ends in the same weights",
    "learning/supervision.py": "refuses, computes nothing",
    "learning/training_precision.py": "how fast to compute, as devices.py",
    "learning/training_rows.py": "a list of what was learnt, for the record",
    "level/": "statistics of how good the masks are, which no row or weight depends on",
    "lock.py": "one run at a time",
    "masking.py": "messages",
    "measured_precision.py": "how fast to compute, as devices.py",
    "metrics.py": "scores, which no row or weight depends on; a threshold that they choose is in keys by its number",
    "names.py": "file names",
    "specks.py": "which regions of a mask count as objects in exports and corrections",
    "typed_names.py": "names in options",
    "pool/": "processes",
    "progress.py": "messages",
    "review/": "audits a sample and estimates from it; no stage reads either",
    "rows/__init__.py": "a docstring",
    "rows/batches.py": "in which process a row is made",
    "rows/engine.py": "computes what changed, copies the rest",
    "rows/header.py": "a file format with a number of its own",
    "rows/intact.py": "rows that are read back, held to their digests",
    "rows/kept.py": "rows in the store, found by their keys and held to their digests",
    "rows/keys.py": "what keys are made of",
    "rows/own_shard.py": "a shard before it is written",
    "rows/pairing.py": "which rows exports, corrections and pages show; stages read all rows",
    "rows/plan.py": "what changed",
    "rows/predicted.py": "which predictions scores, exports and pages take; a stage of rows reads none",
    "rows/reader.py": "rows by image",
    "rows/shards.py": "rows in files",
    "rows/unfinished.py": "rows before their shard is written",
    "settings/": "params.yaml, which is in keys by its values",
    "stage/": "what surrounds a stage's science",
    "store/": "outputs that were made before, found by their keys",
    "versions.py": "for the record",
    "work_note.py": "what a stage is doing now, for a person",
}
"""The other files and folders under labelfactory/, for which `closure.ENGINE_FORMAT` stands, and what they do instead. They are
followed, since a stage may use a value room through them."""

NOT_FOLLOWED = frozenset({"labelfactory/stage/preflight.py"})
"""Checks before a run: what they import makes no value."""


def answers_by_number(path: str) -> bool:
    """Whether `ENGINE_FORMAT` stands for a file; one under labelfactory/ that no list names counts as a value room."""
    name = path.removeprefix("labelfactory/")
    return name != path and (name in BY_NUMBER or f"{name.split('/')[0]}/" in BY_NUMBER)
