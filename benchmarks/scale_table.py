"""Figures of the scale benchmark as a table and as a plot."""

from pathlib import Path
from typing import Any

Measured = dict[str, float]


def table(results: dict[int, dict[str, Measured]]) -> str:
    """Processor seconds and MiB above an idle process as Markdown, one row per step and two columns per size."""
    steps = list(
        dict.fromkeys(n for figures_of in results.values() for n in figures_of if n not in ("idle", "on disk"))
    )
    lines = ["| step | " + " | ".join(f"{n:,} s | MiB" for n in results) + " |", "|---|" + "---:|---:|" * len(results)]
    for step in steps:
        cells = []
        for figures_of in results.values():
            figures = figures_of.get(step)
            cells += (
                [f"{figures['cpu']:.2f}", f"{figures['mib'] - figures_of['idle']['mib']:.0f}"] if figures else ["", ""]
            )
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: dict[int, dict[str, Measured]], path: Path) -> None:
    """Processor seconds and memory against the number of images, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5))
    names = dict.fromkeys(n for figures_of in results.values() for n in figures_of if n not in ("idle", "on disk"))
    drawn = {n: [(k, f[n], f["idle"]) for k, f in results.items() if n in f] for n in names}
    for number, (name, points) in enumerate((n, p) for n, p in drawn.items() if len(p) > 1):
        look: dict[str, Any] = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--", "label": name}
        left.plot([n for n, _, _ in points], [f["cpu"] for _, f, _ in points], marker="o", **look)
        right.plot([n for n, _, _ in points], [f["mib"] - i["mib"] for _, f, i in points], marker="o", **look)
    left.set(xscale="log", yscale="log", xlabel="images", title="processor seconds")
    right.set(xscale="log", ylim=(0, None), xlabel="images", title="memory above an idle process, MiB")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
