"""Delete withdrawn images at DVC's remotes.

Old outputs lie in a remote by their MD5 whether `labelfactory push` or `dvc push` sent them; photographs, true masks and the
manifest lie in labelfactory's folder there.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress

from dvc.repo import Repo
from dvc_objects.fs.base import ObjectFileSystem

from flows.line.abandoned_uploads import abort_abandoned
from flows.line.dvc_repo import open_repo
from flows.line.known_remotes import KNOWN, is_gone, is_shared, known_places, lost_places
from flows.line.object_versions import Versions
from flows.line.pulled_files import MD5
from flows.line.refused_at_remote import REFUSED, refuse_at
from flows.line.remote_deletion import Deletion, bucket_and_key
from flows.line.remote_places import place_of, shown
from flows.line.remote_store import AT_ONCE, Store
from flows.line.replaced_images import forget_replaced, replaced_pictures
from flows.line.rows_at_remote import clean_manifest, forget_rows
from flows.line.transfer_leftovers import delete_abandoned
from labelfactory.dataset.withdrawn import Withdrawn, withdrawn
from labelfactory.dvc_cache import cached
from labelfactory.errors import DataError, UserError, in_short
from labelfactory.masking import masked
from labelfactory.settings.wiring import WIRING_FILE
from lineage.artifacts import files_in
from lineage.ledger import Ledger
from lineage.withdrawal_report import Remote, last_report
from lineage.withdrawals import Withdrawal, read_withdrawals

FINISH = "`labelfactory push` finishes it when the remote answers"
RESTORE = f"`dvc remote add` it again, or, if nothing is there any more, take it out of {KNOWN}; then type `labelfactory push`"


def remove_at_remotes(withdrawals: Collection[Withdrawal], objects: Collection[str]) -> Remote:
    """Delete photographs, true masks, rows of the manifest and old outputs at every remote in DVC's settings.

    Args:
        withdrawals: whose images go.
        objects: MD5 of outputs that contain them; others of their kind, pushed by other machines, are not known here.

    Returns:
        What could not be deleted where something of this project lies, with the reason, and what was not looked at.
    """
    left, others = [], []
    with open_repo() as repo:
        default, known, lost = repo.config["core"].get("remote"), dict[str, str](), list[str]()
        try:
            known, lost = known_places(repo), lost_places(repo)
        except DataError as error:  # the withdrawal is not complete, since other remotes may have something
            left.append(f"{error.problem}. {error.remedy}")
        for name in dict.fromkeys([default, *repo.config["remote"]] if default else repo.config["remote"]):
            where, may_have = address_of(repo, name), name == default or place_of(repo, name).key in known
            try:
                unseen = _remove(repo, Store(repo, name), withdrawals, objects, may_have=may_have)
            except Exception as error:  # whatever ails a remote must not stop a withdrawal
                problem = in_short(error, 300)
                if may_have:
                    left.append(f"{where}: not reached, or not all deleted: {problem}; {FINISH}")
                else:
                    others.append(f"{where}: whatever was pushed there; not reached: {problem}")
                continue
            others += [f"{where}: {line}" for line in unseen]
        left += [
            f"{masked(place)}: sent to or taken from before, and no remote of DVC now: {RESTORE}" for place in lost
        ]
    return Remote(tuple(left), tuple(others))


def clean_remote() -> None:
    """Delete everything withdrawn that is at the remote again: another machine sent it before it knew, or withdrew it while this
    one was sending; or the remote was away."""
    ledger = Ledger()
    known = read_withdrawals(ledger)
    with open_repo() as repo:
        store = Store(repo)
        store.refuse_links()
        is_own = is_shared(repo, store)
        gone = _refused(store, known, is_own=is_own)
        if not gone.photographs:
            return
        named = _named(known, by_id=is_own)
        pictures = _pictures(store, *named) | gone.photographs
        kept = clean_manifest(store, gone, pictures, is_own=is_own)
        removal = Deletion(store)
        removal.delete(store.picture(digest) for digest in (pictures & store.pictures()) - kept)
        forget_replaced(store, *named)
        forget_rows(store, removal, gone, kept, is_own=is_own)
        objects = {md5 for each in known for md5 in objects_of(ledger, each)} - _needed(repo)
        # otherwise the report of each withdrawal says that it cannot
        if removal.versions or not store.has_own_versions:
            _remove_outputs(store, removal, objects, is_own=is_own)


def objects_of(ledger: Ledger, withdrawal: Withdrawal) -> set[str]:
    """MD5 of all outputs that were ever found to hold a withdrawal's images."""
    return {*withdrawal.cache, *withdrawal.objects, *last_report(ledger, withdrawal).get("deleted_from_cache", ())}


def _remove(
    repo: Repo, store: Store, withdrawals: Collection[Withdrawal], objects: Collection[str], *, may_have: bool
) -> list[str]:
    """Delete what a remote has of the withdrawals; gives what was not looked at there.

    `may_have`: this project may have sent something. Only what was sent or taken whole is of this project; in another's folder
    equal ids may mean other images, and only these very bytes go.
    """
    if not store.fs.CAN_TRAVERSE:
        return _look(store, withdrawals, objects)
    store.refuse_links()
    _reach(repo, store)
    removal, is_own = Deletion(store), is_shared(repo, store)
    has_folder = bool(store.fs.exists(store.root))
    if has_folder and may_have:
        gone, named = _refused(store, withdrawals, is_own=is_own), _named(withdrawals, by_id=is_own)
        pictures = _pictures(store, *named)
        kept = clean_manifest(store, gone, pictures, is_own=is_own)
        removal.delete(store.picture(digest) for digest in pictures - kept)
        forget_replaced(store, *named)
        forget_rows(store, removal, gone, kept, is_own=is_own)
    if has_folder and not is_own:
        bytes_too = "photographs and masks" if not may_have else "photographs and masks of other bytes"
        removal.unseen.append(f"{bytes_too}, which `labelfactory push` of another project may have sent")
    if not has_folder and not store.fs.exists(store.odb.path):
        removal.unseen.append(
            "nothing at all is there: if `dvc push` sent something, its disk or the address is another"
        )
    if store.fs.protocol == "local":
        removal.unseen += delete_abandoned(store, is_own=is_own)
    removal.unseen += abort_abandoned(store, is_own=is_own)
    return [*removal.unseen, *_remove_outputs(store, removal, objects, is_own=is_own)]


def _reach(repo: Repo, store: Store) -> None:
    """Make sure that a remote answers. What is not there must not pass for what was never sent.

    Raises:
        OSError: it is away, or cannot be read.
        DataError: its bucket is not there, or what was sent to it is not.
    """
    if isinstance(store.fs, ObjectFileSystem):
        bucket = bucket_and_key(store.base)[0]
        if not store.fs.exists(bucket):
            raise DataError(f"the bucket {bucket} is not there, or does not answer")
    else:
        try:
            store.fs.ls(store.base)
        except FileNotFoundError:
            raise DataError(
                f"there is no {store.base}; connect its disk, or make that folder if nothing was ever pushed there"
            ) from None
    if is_gone(repo, store):
        raise DataError(
            f"{store.root}, which was pushed or pulled, is not there; connect its disk, or type `labelfactory push --give-up` "
            "if it was deleted"
        )


def _look(store: Store, withdrawals: Collection[Withdrawal], objects: Collection[str]) -> list[str]:
    """Look for what a remote over HTTP has of the withdrawals, which cannot be deleted there.

    Raises:
        DataError: it has some of it.
        Exception: it does not answer.
    """
    store.get(store.address(REFUSED))
    addresses = [*map(store.picture, _named(withdrawals)[1]), *map(store.odb.oid_to_path, objects)]
    there = [address for address, is_there in zip(addresses, store.exist(addresses), strict=True) if is_there]
    if there:
        raise DataError(f"{len(there)} objects hold the images, such as {there[0]}, and nothing is deleted over HTTP")
    return ["outputs that are not in this machine's cache, since HTTP gives no list of what is there"]


def _remove_outputs(store: Store, removal: Deletion, objects: Collection[str], *, is_own: bool = True) -> list[str]:
    """Delete outputs by their MD5; gives what was not searched there.

    Raises:
        DataError: the remote keeps them by their paths, in versions that cannot be listed.
    """
    if store.has_own_versions:
        return _remove_versions(store, removal.versions, objects)
    addresses = [store.odb.oid_to_path(md5) for md5 in objects]
    # dvc.lock first, since it names them: who is killed among them finds some the next time
    if is_own and any(store.exist(addresses)):
        removal.delete([store.address("dvc.lock")])
    removal.delete(addresses)
    return _unsearched(store)


def _remove_versions(store: Store, versions: Versions | None, objects: Collection[str]) -> list[str]:
    """`_remove_outputs` in a remote that has outputs by path, in versions of its own.

    What was sent in parts, or is encrypted with a key of the bucket's owner, has no MD5 there.
    """
    if versions is None:
        raise DataError("it keeps outputs by their paths in versions that cannot be listed here")
    base, own, unknown = bucket_and_key(store.base)[1], bucket_and_key(store.root)[1], 0
    for version in versions.below(f"{base}/" if base else ""):
        if version.etag in objects:
            versions.delete(version)
        elif version.etag and not version.key.startswith(f"{own}/"):
            unknown += not (MD5.fullmatch(version.etag) and cached(version.etag).exists())
    what = f"{unknown} versions whose MD5 the bucket does not know, or that are not in this machine's cache, were not searched"
    return [what] if unknown else []


def _unsearched(store: Store) -> list[str]:
    """Outputs at a remote of which this machine cannot know what they hold."""
    if not store.fs.exists(store.odb.path):
        return []
    unknown = sum(not cached(md5).exists() for md5 in store.odb.all(jobs=AT_ONCE))
    what = (
        f"{unknown} objects that are not in this machine's cache were not searched: outputs that other machines pushed"
    )
    return [f"{what}, or that left the cache since"] if unknown else []


def _needed(repo: Repo) -> set[str]:
    """MD5 of the line's outputs now: one may have the bytes of an old one again."""
    needed = set()
    for out in (out for stage in repo.index.stages if stage.path_in_repo == WIRING_FILE.name for out in stage.outs):
        md5 = str(out.hash_info.value or "")
        needed.add(md5)
        if out.hash_info and out.hash_info.isdir and cached(md5).exists():
            with suppress(UserError):  # a damaged list, which `audit verify` names
                needed |= {file.md5 for file in files_in(cached(md5))}
    return needed


def _refused(store: Store, withdrawals: Collection[Withdrawal], *, is_own: bool) -> Withdrawn:
    """What no row there may be of, after the other machines that push there were told.

    `is_own`: what they withdrew goes too, and ids count. Otherwise only those are told that have a photograph of these bytes.
    """
    if is_own:
        here = withdrawn()
        return Withdrawn(refuse_at(store, here.photographs), here.image_ids)
    photographs = frozenset(digest for each in withdrawals for digest in each.digests)
    there = photographs & store.pictures()
    if there:
        refuse_at(store, there)
    return Withdrawn(photographs)


def _pictures(store: Store, images: Collection[str], pixels: set[str]) -> set[str]:
    """Digests of their photographs and masks, those included that the manifest there named once."""
    return pixels | replaced_pictures(store, images, pixels)


def _named(withdrawals: Iterable[Withdrawal], *, by_id: bool = True) -> tuple[set[str], set[str]]:
    """Ids, if they count, and digests of photographs and masks."""
    ids = {i for each in withdrawals for i in each.images if by_id}
    return ids, {d for each in withdrawals for d in each.pixels}


def address_of(repo: Repo, name: str = "") -> str:
    """A remote, by default the one that `labelfactory push` writes to, for messages."""
    name = name or repo.config["core"].get("remote")
    return f"DVC's remote {name} ({shown(str(repo.config['remote'].get(name, {}).get('url', '')))})"
