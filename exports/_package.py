"""The segmenter as one self-contained ONNX file: photograph in, class ids out.

    image       uint8 [height, width, 3], RGB, upright, of any size; normalisation and resizing are inside
    mask        uint8 [height, width], class ids
    confidence  float32 [height, width], probability of that class
Its metadata: classes (JSON, names by class id), passport (JSON), mean and std (JSON, applied inside the graph),
weights_digest, level (JSON, estimated IoU from audited images), seal (labelfactory.destinations).
It uses one scale and no mirror image, like `labelfactory predict --scales 1 --no-flip`.
Source: ONNX, https://onnx.ai/onnx/repo-docs/IR.html; exported by torch.onnx, checked by onnxruntime.
"""

import importlib
import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.level_record import UNKNOWN, read_level
from labelfactory.dataset.tensors import to_tensor
from labelfactory.destinations import blank_seal, refuse_others, refuse_own, write_sealed
from labelfactory.errors import DataError, LabelfactoryError, MissingError
from labelfactory.files import make_folder, remove_leftovers
from labelfactory.learning.checkpoints import Passport, load_checkpoint
from labelfactory.stage.level_now import told
from models.grids import resample
from models.segmenters import Segmenter, predict, segmenter_from

OPSET = 20  # the first with GridSample of any rank
SMALLEST, LARGEST = 4, 16_384  # sides of a photograph, pixels
PRODUCER = "labelfactory"
COMMAND = "labelfactory package"
REMEDY = "Name another file with --out."
CLOSE = 1e-3
"""Probabilities of torch and onnxruntime may differ by this much; of two classes that are closer, either may win."""
SAME = 0.999
"""Share of pixels that must have the same class."""


class PhotographToMask(nn.Module):
    """A segmenter with normalisation and resizing: `predict` at scale 1, for any size of photograph in the graph."""

    def __init__(self, net: Segmenter) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[H, W, 3] uint8 to [H, W] uint8 class ids and [H, W] float32 probabilities."""
        height, width = image.shape[0], image.shape[1]
        stride = self.net.backbone.output_stride
        size = (aligned_side(height, stride), aligned_side(width, stride))
        batch = F.interpolate(image.permute(2, 0, 1)[None].float(), size=size, mode="bilinear", align_corners=False)
        logits = resample(self.net(batch), stride=self.net.stride, image_size=size, size=(height, width))
        best, mask = logits.softmax(dim=1)[0].max(dim=0)
        return mask.to(torch.uint8), best


def aligned_side(side: int, stride: int) -> int:
    """`models.grids.aligned_size` of one side at scale 1, in integer arithmetic: halves are rounded to even."""
    cells = (side - 1 + stride // 2 - 1 + (side - 1) // stride % 2) // stride
    at_least_one: int = torch.sym_max(1, cells)  # type: ignore[no-untyped-call]
    return at_least_one * stride + 1


@dataclass(frozen=True)
class Checked:
    """The result of comparing the file with torch."""

    images: int
    same_pixels: float  # share of pixels with the same class
    worst_confidence: float  # largest difference of a probability


def write_package(checkpoint: Path, out: Path, photographs: Iterable[Photograph]) -> Checked:
    """Write the ONNX file of a segmenter after checking that its predictions are torch's.

    Args:
        checkpoint: of a segmenter.
        out: the file, written atomically.
        photographs: [H, W, 3] uint8 RGB each; at least one.

    Raises:
        MissingError: no such checkpoint, or onnx is not installed.
        DataError: the checkpoint is not of a segmenter, there is no photograph, or something other than an ONNX file of this
            project, as it was written, would be replaced.
        LabelfactoryError: the predictions differ from torch's.
    """
    refuse_own(out)
    state, passport = load_checkpoint(checkpoint)
    if "net" not in passport.architecture:
        raise DataError(f"{checkpoint}: the weights of {passport.stage}, not of a segmenter", "Name a segmenter's.")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _need(name)
    refuse_others(out, COMMAND, REMEDY)
    net = segmenter_from(passport.architecture, state)
    make_folder(out.parent)
    remove_leftovers(out.parent, [out.name], alone=False)
    with write_sealed(out, COMMAND, REMEDY) as temporary:
        _export(net, temporary)
        _write_metadata(temporary, net, passport)
        checked = check_package(temporary, net, photographs)
        if checked.same_pixels < SAME or checked.worst_confidence > CLOSE:
            raise LabelfactoryError(
                f"{out}: onnxruntime and torch differ: {100 * checked.same_pixels:.3f} % of the pixels have the same class, "
                f"probabilities are up to {checked.worst_confidence:.2g} apart; nothing was written"
            )
    return checked


def check_package(path: Path, net: Segmenter, photographs: Iterable[Photograph]) -> Checked:
    """Compare a file with the network that it was exported from, pixel by pixel.

    Raises:
        DataError: there is no photograph.
    """
    session = _need("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images, same, pixels, worst = 0, 0, 0, 0.0
    for photograph in photographs:
        mask, confidence = session.run(["mask", "confidence"], {"image": photograph})
        ours = predict(net, to_tensor(photograph)[None], scales=(1.0,), flip=False)[0].max(dim=0)
        images, pixels = images + 1, pixels + mask.size
        same += int((mask == ours.indices.numpy()).sum())
        worst = max(worst, float(np.abs(confidence - ours.values.numpy()).max()))
    if not images:
        raise DataError("there is no photograph to check the file with", "Name some with --check.")
    return Checked(images, same / pixels, worst)


def _need(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(
            f"{error.name or name} is not installed", "Type `pip install 'labelfactory[onnx]'`."
        ) from None


def _export(net: Segmenter, path: Path) -> None:
    sides = {0: torch.export.Dim("height", min=SMALLEST, max=LARGEST)}
    sides[1] = torch.export.Dim("width", min=SMALLEST, max=LARGEST)
    example = torch.zeros(97, 131, 3, dtype=torch.uint8)  # the graph does not depend on this size
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of torchvision's operators, which are not used here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # from torch's own code
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                PhotographToMask(net).eval(),
                (example,),
                str(path),
                input_names=["image"],
                output_names=["mask", "confidence"],
                dynamic_shapes={"image": sides},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def _level(passport: Passport) -> dict[str, Any] | None:
    """The estimate of these weights from audited images."""
    record = read_level()
    if record is None:
        return None
    levels = {k: v for k, v in record.estimates.items() if record.digest_of(v.output) == passport.weights_digest}
    return told(record, levels) if levels else None


def _write_metadata(path: Path, net: Segmenter, passport: Passport) -> None:
    """Write classes, passport and normalisation into the file's metadata."""
    onnx = _need("onnx")
    model = onnx.load(str(path))
    backbone = net.backbone
    metadata = {
        "classes": json.dumps(["background", *passport.classes], ensure_ascii=False),
        "weights_digest": passport.weights_digest,
        "mean": json.dumps([round(float(x), 6) for x in backbone.mean.flatten()]),
        "std": json.dumps([round(float(x), 6) for x in backbone.std.flatten()]),
        "passport": passport.model_dump_json(),
        "level": json.dumps(_level(passport) or UNKNOWN, ensure_ascii=False),
        "seal": blank_seal(COMMAND),
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.producer_name = PRODUCER
    model.doc_string = "image: uint8 [height, width, 3] RGB. mask: uint8 class ids. confidence: float32 probabilities."
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
