"""``weft publish``."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.commit_tree import CommitTree
from compiler.lineage import NotDescended
from compiler.nothing import nothing_to_run
from compiler.pipeline import Compilation, compile_tree
from compiler.publish import Publication, blocking, publish_commit
from compiler.render import Sources, render_text, summarize
from compiler.tree import TreeError
from compiler.worktree import WorkTree
from snapshot.index import Snapshot
from snapshot.store import Conflict, StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Untrusted
from snapshot.trust.keys import KeyProblem, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from weft.help_text import ending
from weft.store_options import print_release, publishing

ENDING = ending(
    "weft publish . --store local/store --keys keys",
    "weft publish . --store s3://mesh-releases/production --keys keys",
    "weft publish . --store https://control:15012/store \\",
    "    --store-ca ca.pem --token-file token --keys keys",
    exits={
        0: "published",
        1: "refused: findings, history, or another publisher came first",
    },
)


@click.command(epilog=ENDING)
@click.argument("repository", metavar="[REPO]", type=click.Path(path_type=Path, exists=True), default=".")
@publishing
@click.option("--rev", metavar="REV", default="HEAD", show_default=True, help="The commit to publish.")
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Publish although something is invalid (it is refused at run time) or not carried yet.",
)
@click.option("--allow-empty", is_flag=True, help="Publish although no proxy would find anything to run.")
@click.option(
    "--force", is_flag=True, help="Publish a commit that does not descend from the published one; the release says so."
)
@click.option(
    "--break-glass",
    default="",
    metavar="REASON",
    help="Sign with break-glass.pem in place of targets.pem: for when CI is gone. The reason is shown wherever the release is.",
)
def command(
    repository: Path,
    store: str,
    keys: Path,
    store_ca: str,
    token: str,
    channel: str,
    note: str,
    output: str,
    rev: str,
    allow_partial: bool,
    allow_empty: bool,
    force: bool,
    break_glass: str,
) -> int:
    """Compile a commit of REPO, sign the snapshot and publish it to a store.

    Prints the release's version and snapshot digest. Whatever fails, readers of the store see what they saw before. The same commit may
    be published again: that renews the signatures and changes nothing that runs.
    """
    try:
        signing = load_keys(keys, PUBLISHER_ROLES, break_glass=bool(break_glass))
        tree = CommitTree(repository, rev)
        snapshot = _publishable(compile_tree(tree, allow_partial=allow_partial), tree, allow_partial=allow_partial)
        if snapshot is None:
            return 1
        if (why := nothing_to_run(snapshot, repository)) and not allow_empty:
            raise click.ClickException(why)
        asked = Publication(
            repository=repository, commit=tree.commit, channel=channel, force=force, note=note, break_glass=break_glass
        )
        # Closing gives back what a failed publication holds in a store, so that the next one need not wait.
        with closing(open_store(store, ca=store_ca, token=token)) as opened:
            release = publish_commit(asked, snapshot, opened, signing, now=datetime.now(UTC))
    except Conflict as error:
        click.echo(f"refused: another publisher came first; run again. ({error})", err=True)
        return 1
    except NotDescended as error:
        click.echo(f"refused: {error}", err=True)
        return 1
    except (KeyProblem, TreeError, StoreError, Untrusted) as error:
        raise click.ClickException(str(error)) from None
    print_release(release, output)
    if rev == "HEAD":
        _tell_uncommitted(repository, tree)
    return 0


def _tell_uncommitted(repository: Path, tree: CommitTree) -> None:
    """A note on the standard error stream where files differ from the commit: who edits and publishes may have forgotten to commit."""
    try:
        now, committed = dict(WorkTree(repository).files()), dict(tree.files())
    except TreeError:
        # What cannot be read here was not what is published.
        return
    changed = sorted(path for path in now.keys() | committed.keys() if now.get(path) != committed.get(path))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        click.echo(
            f"note: {changed[0]}{more} is not as in the commit that was published; commit to publish it", err=True
        )


def _publishable(compilation: Compilation, tree: CommitTree, *, allow_partial: bool) -> Snapshot | None:
    """Says on the standard error stream what was found; returns what may be published, or None."""
    sources = Sources(tree)
    click.echo(render_text(compilation.diagnostics, sources, color=False), nl=False, err=True)
    refused = blocking(compilation.diagnostics, allow_partial=allow_partial)
    if not refused and compilation.snapshot is not None:
        return compilation.snapshot
    click.echo(summarize(compilation.diagnostics, len(sources)), err=True)
    click.echo(
        "refused: nothing was published. Mend the errors and what is not carried yet, or give --allow-partial", err=True
    )
    return None
