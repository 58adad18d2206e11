"""A folder in VOC layout, and the two parts of an error message."""

from pathlib import Path

from PIL import Image


def two_parts(output: str) -> tuple[str, str]:
    """Problem and remedy of an error message; nothing of a traceback."""
    assert "Traceback" not in output
    lines = output[output.index("error: ") :].strip().splitlines()
    assert len(lines) >= 2, output
    return "\n".join(lines[:-1]), lines[-1]


def voc_folder(root: Path, tags: str = "a,cat\nb,dog\nc,cat|dog\n") -> Path:
    """Three photographs in VOC layout: two train, one is scored."""
    for name in ("JPEGImages", "ImageSets"):
        (root / name).mkdir(parents=True)
    for k, image_id in enumerate("abc"):
        Image.new("RGB", (40, 30), (80 * k, 90, 30)).save(root / f"JPEGImages/{image_id}.jpg")
    (root / "ImageSets/train.txt").write_text("a\nb\n")
    (root / "ImageSets/val.txt").write_text("c\n")
    (root / "tags.csv").write_text(tags)
    return root
