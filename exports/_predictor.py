"""Predictions of a trained segmenter: of any photograph from its checkpoint alone, of the data set's from rows where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import Precision, pick_device
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import CHECKPOINT, load_checkpoint, read_text
from labelfactory.learning.learnt_classes import refuse_other_classes
from labelfactory.rows.predicted import PredictedRows
from labelfactory.schema import Mask
from labelfactory.settings.params import PARAMS_FILE, Scales, Section, check_sections, read_yaml
from labelfactory.settings.wiring import DATA, read_wiring
from models.distance import TEXT, Distance, features_of
from models.segmenters import segmenter_from
from models.segmenters._whole_photograph import Inference, best_of, probabilities_of

SCALES = (0.75, 1.0, 1.25)


class Predictor:
    """A segmenter that is loaded on this machine's device.

    Args:
        path: its checkpoint.
        scales: of the photograph, averaged.
        flip: also use the mirror image.
        precision: of the network.

    Raises:
        MissingError: no such checkpoint.
        DataError: damaged, or not of a segmenter.
    """

    def __init__(
        self,
        path: Path,
        *,
        scales: Sequence[float] = SCALES,
        flip: bool = True,
        precision: Precision = "32-true",
    ) -> None:
        state, self.passport = load_checkpoint(path)
        if "net" not in self.passport.architecture:
            raise DataError(
                f"{path}: the weights of {self.passport.stage}, not of a segmenter", "Name a segmenter's checkpoint."
            )
        self.classes = ("background", *self.passport.classes)
        self._path = path
        self.inference = Inference(tuple(scales), flip, precision)
        self.device = pick_device()
        self.net = segmenter_from(self.passport.architecture, state).to(self.device)
        text = read_text(path, TEXT)
        try:
            self._distance = None if text is None else Distance.from_text(text)
        except ValueError as error:
            raise DataError(f"{path}: damaged: {error}", f"Delete {path} and type `dvc repro`.") from None

    def refuse_other_classes(self, classes: Sequence[str]) -> None:
        """Refuse to predict for a data set with other classes.

        Args:
            classes: of the data set by class id, the background first.

        Raises:
            DataError: they are not those of the segmenter, in the same order.
        """
        refuse_other_classes(self._path, self.classes[1:], classes[1:])

    def predict(self, photograph: Photograph) -> tuple[Mask, float]:
        """Segment one photograph.

        Args:
            photograph: [H, W, 3] uint8 RGB.

        Returns:
            [H, W] uint8 of class ids, never void, and the mean probability of the best class.
        """
        labels, best = best_of(probabilities_of(self.net, to_tensor(photograph), self.inference))
        return labels.cpu().numpy(), float(best.mean())

    def distance(self, photograph: Photograph) -> float | None:
        """How far a photograph, [H, W, 3] uint8 RGB, is from those that the segmenter learnt from.

        Returns:
            Above 1 it is farther than 99 % of them. None if the checkpoint does not know: an older one, or of few photographs.
        """
        if self._distance is None:
            return None
        return float(self._distance.of(features_of(self.net.backbone, [photograph], self.device))[0])


class LineModel(Predictor):
    """The model of the line, run as `evaluate` runs it.

    Raises:
        MissingError: there is no model.
        DataError: its checkpoint is damaged.
        ParamsError: params.yaml has other than settings there.
    """

    def __init__(self) -> None:
        self._noun, cfg = read_wiring().model.noun, _settings_of_line()
        super().__init__(DATA / self._noun / CHECKPOINT, scales=cfg.scales, flip=cfg.flip, precision=cfg.precision)

    def predictions(self, classes: Sequence[str]) -> "Predictions":
        """Its predictions for a data set; argument and error as for `refuse_other_classes`."""
        self.refuse_other_classes(classes)
        weights, inference = self.passport.weights_digest, self.inference.digest
        rows = PredictedRows(self._noun, weights=weights, inference=inference, classes=classes[1:])
        return Predictions(self, rows)


@dataclass(frozen=True)
class Predictions:
    """The model's masks of the photographs of a data set: the line's rows, and what has none is predicted in the same way."""

    model: LineModel
    rows: PredictedRows

    def of(self, record: ImageRecord) -> tuple[Mask, float]:
        """The prediction of a photograph, as `Predictor.predict` gives it.

        Raises:
            DataError: the photograph cannot be read, or the shard with its row is damaged.
        """
        row = self.rows.row(record)
        return self.model.predict(record.photograph()) if row is None else (row["mask"], float(row["mean_confidence"]))


class _Settings(Section):
    """What of the section `evaluate` says how networks are run."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scales: Scales = SCALES
    flip: bool = True
    precision: Precision = "32-true"


def _settings_of_line() -> _Settings:
    report = "".join(stage.name for stage in read_wiring().of_kind("report"))
    values = read_yaml(Path(PARAMS_FILE)) if Path(PARAMS_FILE).exists() else {}
    checked = check_sections({report: values.get(report, {})}, {report: _Settings}, PARAMS_FILE)[report]
    return checked if isinstance(checked, _Settings) else _Settings()
