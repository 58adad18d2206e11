"""`meta` of a stage in dvc.yaml: what ledger, pages, report and flows need to know of it. DVC does not look at it."""

from typing import Literal

from pydantic import Field

from labelfactory.settings.params import Section

Kind = Literal["prepare", "rows", "network", "thresholds", "report", ""]


class Score(Section):
    """What `evaluate` measures of a stage's output."""

    name: str = ""  # in metrics: miou/<split>/<name>
    gloss: str = ""  # what it is, for people
    column: str = ""  # of the rows: class scores [K, h, w], a mask, or partial labels; empty for a network
    thresholds: str = ""  # noun of the thresholds that turn class scores into a mask
    cut: str = ""  # word for class scores after the threshold, if the pages show them
    measure: Literal["mIoU", "mAP", "accuracy"] = "mIoU"
    reference: bool = False  # shown for comparison; not a step of the line


class Meta(Section):
    """`meta` of a stage in dvc.yaml. DVC does not look at it."""

    kind: Kind = ""
    optional: bool = False  # params.yaml can leave the stage out
    result: bool = False  # its output is what the line is for: the masks (rows), the model (network)
    replaces: str = ""  # noun of the rows in whose place its scores go on, where it was trained
    predicts: str = ""  # noun of the network whose predictions its rows are
    rates: str = ""  # noun of the rows whose quality its rows are
    pool: str = ""  # a flow runs the stage on a worker of this pool, if one has a worker
    word: str = ""  # for the output of one image, or the network; by default the noun
    gloss: str = ""  # one phrase on the output
    scores: Score = Field(default_factory=Score)
