"""The command ``weft``. Commands are loaded when called, so that ``weft check`` does not import a proxy and a proxy no compiler."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

import click

COMMANDS: dict[str, str] = {
    "init": "Make a new mesh repository: a starter mesh, its CI, and a place for keys.",
    "check": "Check a mesh repository and say what is wrong, at file, line and column.",
    "explain-code": "Say what the code of a finding means, and what to do.",
    "schema": "Print the schema of a kind, or write the schemas for an editor.",
    "compile": "Compile a commit (or the work tree) into a snapshot.",
    "publish": "Compile, sign and publish a snapshot to a store.",
    "export": "Print a proxy's slice as another proxy's configuration (Envoy).",
    "verify": "Verify a store against its root of trust.",
    "rollback": "Publish an earlier snapshot again, as a new version.",
    "log": "Show what was published when, by which commit and key, and where it runs.",
    "keys": "Make and change signing keys and the root of trust.",
    "status": "Show which snapshot each proxy runs; --wait until all run the newest.",
    "control": "Run the control plane: store, certificate authority, discovery, status.",
    "ca": "Join tokens and certificates of the certificate authority.",
    "dev": "Run the mesh of a work tree on this machine; every save is live at once.",
    "run": "Run one process with a sidecar around it.",
    "proxy": "Run a sidecar, an ingress or an egress gateway.",
    "proxy-config": "Show what a running proxy is configured with.",
    "demo": "Run the bookshop demonstration on this machine.",
    "version": "Print weft's version and the slice format it reads.",
}
"""Name -> the one line that --help shows. The command itself is ``weft.commands.<name>.command``, with ``_`` for ``-``."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order of the table: the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Imports and returns one command, or None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"weft.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; where there is no such command, the usage error names the one that was meant, if one is near."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f"did you mean `weft {near[0]}`?" if near else "`weft --help` names those there are"
            raise click.UsageError(f"there is no command `{name}`; {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Writes the table without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\n`weft COMMAND --help` has examples and exit codes.\nTo begin: weft init my-mesh",
)
@click.version_option(package_name="weft", message="%(prog)s %(version)s")
def weft() -> None:
    """A service mesh that you git commit."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs weft and exits: 0 fine, 1 findings or a failed expectation, 2 could not run."""
    try:
        code = weft.main(args=arguments, prog_name="weft", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
