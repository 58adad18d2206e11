"""What an import prints after its problems and decisions: warnings, the account as tables, and what to type next."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labelfactory.console import one_line, say
from labelfactory.dataset.account import Account
from labelfactory.masking import masked
from labelfactory.settings.wiring import WIRING_FILE, read_wiring
from lineage.shown_images import record_import
from reporting.imports import facts, shown_classes
from sources._batch import Batch
from sources._import_plan import ImportOptions
from sources.intake import ImportResult, import_batch

WIDTH = 80
"""Columns of the tables at most."""


def import_and_show(batch: Batch, options: ImportOptions) -> None:
    """Import a batch and print its account. Raises as `import_batch`."""
    if not options.dry_run:
        record_import()
    show_import(import_batch(batch, options), options)


def show_import(result: ImportResult, options: ImportOptions) -> None:
    """Print the account of an import, its warnings and what to type next; nothing where it brought nothing new."""
    if options.append and not result.added and not options.dry_run and not result.added_classes:
        return
    console = Console(stderr=True, width=min(WIDTH, Console(stderr=True).width), highlight=False)
    console.print(*account_tables(result.account, options.train_list), sep="\n")
    for warning in result.account.warnings:
        say(f"warning: {warning}")
    for line in _next(result, options):
        say(line)


def account_tables(account: Account, train_list: str) -> tuple[Table, ...]:
    """The account as two tables: the images, and the classes."""
    images = Table(title="The import", title_justify="left", title_style="bold", show_header=False)
    images.add_column(no_wrap=True)
    images.add_column(overflow="fold")
    for name, text in facts(account).items():
        images.add_row(name, _plain(text))
    return images, _classes(account, train_list)


def _classes(account: Account, train_list: str) -> Table:
    masks = bool(account.looked_at)
    table = Table(title="Photographs by class", title_justify="left", title_style="bold")
    table.add_column("class", overflow="fold")
    for head in ("tagged", f"on {one_line(train_list)[:12]}"):
        table.add_column(escape(head), justify="right")
    for head in ("shown by\ntrue mask", "shown,\ntagged", "tagged,\nnot shown", "shown,\nnot tagged") if masks else ():
        table.add_column(head, justify="right")
    classes = shown_classes(account)
    for each in classes:
        wrong = [f"[yellow]{n}[/]" if n else "" for n in (each.not_shown.count, each.not_tagged.count)]
        looks = [f"{each.shown}", f"{each.shown_and_tagged}", *wrong] if masks else []
        table.add_row(_plain(each.name), f"{each.tagged}", f"{each.training}", *looks)
    more = len(account.classes) - len(classes)
    if more:
        table.add_row(f"and {more} more", "", "", *[""] * (4 if masks else 0))
    return table


def _next(result: ImportResult, options: ImportOptions) -> list[str]:
    """What an appended class costs, and what to type."""
    lines = _price(result, options.train_list) if result.added_classes else []
    if not options.dry_run:
        return [*lines, "next: `labelfactory run`; `labelfactory status` says what it takes"]
    if result.lost:
        lines.append(f"{result.lost}: add --append to keep all of them, or --replace to let these go")
    masks = result.account.true_masks
    return [
        *lines,
        f"import: would have {result.account.photographs} images, {masks} with a true mask; nothing was written",
        "next: the same without --dry-run",
    ]


def _price(result: ImportResult, train_list: str) -> list[str]:
    """Which stages learn again for new classes, and how many rows are made anew; optional stages and predictions may add to it."""
    if not WIRING_FILE.exists():
        return []
    wiring, images = read_wiring(), result.account.lists.get(train_list, 0)
    learning = [stage.name for stage in wiring.of_kind("network", "thresholds") if not stage.meta.optional]
    rows = [stage.name for stage in wiring.of_kind("rows") if not (stage.meta.optional or stage.meta.predicts)]
    return [
        f"price of {', '.join(result.added_classes)}: {', '.join(learning)} learn again; {', '.join(rows)} make "
        f"{images * len(rows)} rows anew, one of each for {images} photographs; checked photographs, priors and corrections stay"
    ]


def _plain(text: str) -> str:
    return escape(one_line(masked(text)))
