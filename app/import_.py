"""`labelfactory import SOURCE`: choose the photographs, tags and true masks of the line."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from app._import_account import import_and_show, show_import
from app._import_options import (
    DEMO_SOURCE,
    Append,
    DryRun,
    NamedClasses,
    Rename,
    Replace,
    ValFraction,
    import_options,
    refuse_other_data,
)
from labelfactory.errors import UserError
from labelfactory.typed_names import split_names
from lineage.shown_images import record_import
from sources._coco_objects import Crowds
from sources._download import fetch_voc2012
from sources._table_columns import ColumnNames
from sources._true_masks import Over
from sources.coco import find_coco
from sources.demo import find_demo, render_demo
from sources.folder import find_folder
from sources.hf import find_hf
from sources.intake import DEMO_FOLDER, import_drawn
from sources.table import TableForm, find_table
from sources.voc import find_voc

cli = typer.Typer(
    help="Import photographs, tags and true masks; `labelfactory run` does the rest.", no_args_is_help=True
)

CheckMasks = Annotated[bool, typer.Option("--check-masks", help="Check every pixel of the true masks too.")]
Masks = Annotated[
    Over,
    typer.Option(
        "--masks",
        help="The pixels that true masks are drawn over, where EXIF turns a photograph and the size does not say it.",
    ),
]
ListName = Annotated[str, typer.Option("--list", help="Put all of them on this list, such as train or val.")]


@cli.command()
def demo(
    count: Annotated[int, typer.Option(help="Images in all.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Another seed draws other images.", min=0)] = 0,
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    only_over_demo: Annotated[
        bool, typer.Option("--only-over-demo", help="Refuse to replace anything but a demo import.")
    ] = False,
) -> None:
    """Render the demo data set: five kinds of animals, with tags and true masks."""
    if only_over_demo:
        refuse_other_data(DEMO_SOURCE)
    replace = replace or (only_over_demo and not append)  # the pictures of a demo can be drawn again
    options = import_options(classes, rename, val_fraction, append=append, replace=replace, dry_run=dry_run)
    if dry_run:
        with TemporaryDirectory() as folder:
            import_and_show(find_demo(Path(folder), count=count, seed=seed), options)
    elif classes or rename or append or val_fraction is not None:
        import_and_show(find_demo(DEMO_FOLDER, count=count, seed=seed), options)
    else:  # rendered images need no inspection
        record_import()
        show_import(import_drawn(render_demo(DEMO_FOLDER, count=count, seed=seed), options), options)


@cli.command()
def folder(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Contains a folder of photographs for each class.")],
    keep_suffix: Annotated[
        bool, typer.Option("--keep-suffix", help="Image ids keep the suffix, so 0.jpg and 0.png are two.")
    ] = False,
    class_depth: Annotated[
        int | None,
        typer.Option(help="Depth of the folders of classes below DIR. Default: 1, or 2 below train/ and val/.", min=1),
    ] = None,
    list_name: ListName = "",
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Import folders that are named after their class; photographs are not copied."""
    options = import_options(classes, rename, val_fraction, append=append, replace=replace, dry_run=dry_run)
    old_names = {new: old for old, new in options.rename.items()}
    chosen = [old_names.get(name, name) for name in options.classes]
    how: dict[str, Any] = {"list_name": list_name, "keep_suffix": keep_suffix, "class_depth": class_depth or 0}
    import_and_show(find_folder(directory, classes=chosen, kept=[*options.rename], **how), options)


@cli.command()
def table(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON lines or Parquet.")],
    path_column: Annotated[str, typer.Option(help="Column of paths or URLs. Default: path, file, image, url, …")] = "",
    tags_column: Annotated[str, typer.Option(help="Column of tags: a list, or separated by | ; or ,")] = "",
    tag_columns: Annotated[str, typer.Option(help="Columns of 0 and 1, one for each class, with commas.")] = "",
    id_column: Annotated[str, typer.Option(help="Column of image ids. Default: image_id, id; else the path.")] = "",
    list_column: Annotated[str, typer.Option(help="Column of lists. Default: split, list, …, if there is one.")] = "",
    separator: Annotated[str, typer.Option(help="Between tags in one cell, such as ' '. Default: | ; and ,")] = "",
    root: Annotated[Path | None, typer.Option(help="Folder that paths start from. Default: the table's.")] = None,
    encoding: Annotated[str, typer.Option(help="Of a text, such as cp1252. Default: UTF-8, or as its mark says.")] = "",
    list_name: ListName = "",
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Import the photographs of a table: files are not copied, URLs (http, s3, gs, …) are fetched once.

    A photograph has one row, or one for each object.
    """
    options = import_options(classes, rename, val_fraction, append=append, replace=replace, dry_run=dry_run)
    if tags_column and tag_columns:
        raise UserError("--tags-column and --tag-columns exclude each other", "Type one of them.")
    columns = ColumnNames(path_column, tags_column, id_column, list_column, tuple(split_names(tag_columns)))
    form = TableForm(columns, separator, encoding, (options.train_list, options.val_list))
    import_and_show(find_table(file, root=root, form=form, list_name=list_name, keep=not dry_run), options)


@cli.command()
def coco(
    file: Annotated[Path, typer.Argument(metavar="INSTANCES.json", help="COCO instances.")],
    images: Annotated[Path, typer.Option(help="Folder of the photographs.")],
    crowds: Annotated[
        Crowds, typer.Option(help="What iscrowd 1 means: objects (a brush in CVAT) or void. Default: the file decides.")
    ] = "auto",
    true_masks: Annotated[
        bool, typer.Option("--true-masks/--no-true-masks", help="Whether segmentations become true masks.")
    ] = True,
    list_name: ListName = "",
    masks: Masks = "upright",
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Import COCO instances: tags from categories, true masks from polygons and RLE; boxes give tags alone."""
    options = import_options(
        classes, rename, val_fraction, append=append, replace=replace, dry_run=dry_run, masks=masks
    )
    more: dict[str, Any] = {"crowds": crowds, "true_masks": true_masks, "renamed": options.rename}
    import_and_show(find_coco(file, images, list_name=list_name, **more), options)


@cli.command()
def hf(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A Hugging Face dataset: from save_to_disk, Parquet files, or pictures."),
    ],
    tag_columns: Annotated[str, typer.Option(help="Tag columns, with commas. Default: tags, labels, label, …")] = "",
    tags_from_masks: Annotated[
        bool,
        typer.Option("--tags-from-masks", help="Take the tags from the true masks; id2label.json names their values."),
    ] = False,
    config: Annotated[str, typer.Option("--config", help="Configuration, of a dataset that has several.")] = "",
    list_name: ListName = "",
    check_masks: CheckMasks = False,
    masks: Masks = "upright",
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Import a Hugging Face dataset with an image column and tag columns; its photographs are unpacked."""
    options = import_options(
        classes,
        rename,
        val_fraction,
        append=append,
        replace=replace,
        dry_run=dry_run,
        check_masks=check_masks,
        masks=masks,
    )
    more: dict[str, Any] = {"list_name": list_name, "config": config, "tags_from_masks": tags_from_masks}
    import_and_show(find_hf(directory, tag_columns=split_names(tag_columns), **more), options)


@cli.command()
def voc(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder in VOC layout: JPEGImages, ImageSets, tags.csv or Annotations."),
    ],
    download: Annotated[
        bool, typer.Option("--download", help="Download VOC 2012 (2 GB) into DIR first; resumes a broken download.")
    ] = False,
    tags: Annotated[
        Path | None, typer.Option(help="Tag file, or psa's cls_labels.npy; default: tags.csv, else Annotations/*.xml.")
    ] = None,
    tags_from_masks: Annotated[
        bool,
        typer.Option("--tags-from-masks", help="Take the tags from the true masks; otherwise those are not opened."),
    ] = False,
    lists: Annotated[str, typer.Option(help="Lists to import, with commas. Default: all.")] = "",
    check_masks: CheckMasks = False,
    masks: Masks = "upright",
    classes: NamedClasses = "",
    rename: Rename = None,
    val_fraction: ValFraction = None,
    append: Append = False,
    replace: Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Import a folder in VOC layout; classes that are not named become void. Nothing is copied.

    Name other classes than VOC's own 20 in the folder's classes.txt: background, then one class per row.
    """
    more: dict[str, Any] = {"dry_run": dry_run, "check_masks": check_masks, "masks": masks}
    options = import_options(classes, rename, val_fraction, append=append, replace=replace, **more)
    folder = fetch_voc2012(directory) if download else directory
    batch = find_voc(folder, tags_file=tags, lists=split_names(lists) or None, tags_from_masks=tags_from_masks)
    import_and_show(batch, options)
