"""Which files of the ground floor decide values, and which share `closure.ENGINE_FORMAT`. One entry per file."""

VALUE_ROOMS = {
    "dataset/corrections.py": "a person's mask in the classes of the data set",
    "dataset/images.py": "pixels of photographs and masks",
    "dataset/tensors.py": "the input of a network",
    "dataset/truth.py": "the training masks of the upper bound",
    "learning/augment.py": "the crops that a network is trained on",
    "learning/batches.py": "which examples share a step, and the seed of each crop",
    "learning/examples.py": "the content of one example",
    "learning/learner.py": "the loss of a step, and which examples share a batch",
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
    "dataset/left_out.py": "messages",
    "dataset/manifest.py": "a table; its rows are in keys by their digests",
    "dataset/prepared.py": "likewise",
    "dataset/tables.py": "a file format with a number of its own",
    "devices.py": "the device",
    "digests.py": "the hash of keys",
    "errors.py": "messages",
    "files.py": "atomic writes",
    "forecast.py": "messages",
    "learning/__init__.py": "a docstring",
    "learning/checkpoints.py": "a file format; weights are in keys by their digest",
    "learning/resume.py": "an interrupted run ends in the same weights",
    "learning/supervision.py": "a check",
    "lock.py": "one run at a time",
    "metrics.py": "scores, on which no row or weight depends; a threshold that they choose is in keys by its number",
    "names.py": "file names",
    "pool/": "processes",
    "progress.py": "messages",
    "rows/__init__.py": "a docstring",
    "rows/engine.py": "computes what changed, copies the rest",
    "rows/header.py": "a file format with a number of its own",
    "rows/keys.py": "the inputs of keys",
    "rows/own_shard.py": "a shard before it is written",
    "rows/plan.py": "which rows changed",
    "rows/reader.py": "rows by image",
    "rows/shards.py": "rows in files",
    "settings/": "params.yaml, which is in keys by its values",
    "stage/": "the frame around a stage's science",
    "versions.py": "for the record",
}
"""The other files and folders under labelfactory/, covered by `closure.ENGINE_FORMAT`, and what each does. Their imports are
followed: a stage may use a value room through them."""

NOT_FOLLOWED = frozenset({"labelfactory/stage/preflight.py"})
"""Checks before a run: their imports decide no value."""


def answers_by_number(path: str) -> bool:
    """Whether `ENGINE_FORMAT` covers a file; one under labelfactory/ in neither list counts as a value room."""
    name = path.removeprefix("labelfactory/")
    return name != path and (name in BY_NUMBER or f"{name.split('/')[0]}/" in BY_NUMBER)
