"""``weft init``."""

from __future__ import annotations

from pathlib import Path

import click

from weft.help_text import ending
from weft.starter import Origin, Starter, StarterError, installed_origin
from weft.starter.origin import release_tag
from weft.starter.repository import start_history

ENDING = ending(
    "weft init my-mesh",
    "weft init my-mesh --trust-domain mesh.example.org",
    exits={2: "something of that name is there already, or cannot be written"},
)


@click.command(epilog=ENDING)
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option(
    "--trust-domain",
    metavar="NAME",
    default="mesh.example",
    show_default=True,
    help="The name that every identity of the mesh starts with. Choose it now: it cannot change later.",
)
@click.option(
    "--weft-url",
    metavar="URL",
    help="Git URL that CI and pre-commit get weft from; without it, the one that this weft was installed from.",
)
@click.option("--weft-revision", metavar="REV", help="Tag or commit of weft that CI pins; without it, this weft's.")
def command(folder: Path, trust_domain: str, weft_url: str | None, weft_revision: str | None) -> None:
    """Make a mesh repository in DIR (the current folder where not given): a small mesh that compiles, its CI, and a place for keys.

    Nothing is ever overwritten: where one of the files exists, nothing is written. DIR becomes a Git repository if it is in none.
    Commits nothing.
    """
    origin = _origin(weft_url, weft_revision)
    try:
        starter = Starter(trust_domain=trust_domain, origin=origin)
        starter.write(folder)
    except StarterError as error:
        raise click.ClickException(str(error)) from None
    new_history = start_history(folder)
    for name in sorted(starter.files):
        click.echo(folder / name)
    click.echo(_next_steps(folder, origin, trust_domain, new_history=new_history), err=True)


def _origin(url: str | None, revision: str | None) -> Origin:
    installed = installed_origin()
    if url is None:
        return Origin(installed.url, revision or installed.revision, known=installed.known)
    if not url.startswith(("https://", "ssh://", "git@")):
        raise click.UsageError(f"--weft-url {url} is no Git URL, for example https://git.example.org/platform/weft")
    # A commit of one repository may mean nothing in another; a release's tag is the same in every copy.
    return Origin(url, revision or release_tag())


def _next_steps(folder: Path, origin: Origin, trust_domain: str, *, new_history: bool) -> str:
    steps = []
    if folder != Path():
        steps.append(f"cd {folder}")
    steps += [
        "weft check                     # the mesh as it is has no finding",
        f"weft dev                       # then: curl -H 'host: hello.{trust_domain}' 127.30.1.2:8080",
        "weft keys init keys            # then read keys/README.md: where each key belongs",
        'git add --all && git commit -m "A mesh"',
        "weft publish . --store local/store --keys keys",
    ]
    lines = ["Next:", *(f"  {step}" for step in steps)]
    if new_history:
        lines.insert(0, f"{folder} is a Git repository now, on branch main.")
    if not origin.known:
        lines.append(
            f"CI is not complete: replace {origin.url}\nin .github/, .gitlab-ci.yml and .pre-commit-config.yaml by the Git URL"
            " of your copy of weft\n(or begin again in another folder with --weft-url)."
        )
    return "\n".join(lines)
