"""The options that every command with a store shares, and how a release is printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from click.core import ParameterSource

from snapshot.trust.release import Release

F = TypeVar("F", bound=Callable[..., object])

SCHEMA_VERSION = 1


def store_options(command: F) -> F:
    """--store and --store-ca."""
    store = click.option(
        "--store",
        required=True,
        metavar="PATH|URL",
        help="The store: a directory, or an http(s)://, s3:// or oci:// location.",
    )
    ca = click.option(
        "--store-ca",
        default="",
        metavar="FILE",
        help="CA certificates (PEM) that the store's server's certificate must chain to.",
    )
    return store(ca(command))


def reading(command: F) -> F:
    """--store, --store-ca, --channel and -o."""
    channel = click.option(
        "--channel", metavar="NAME", default="stable", show_default=True, help="The channel of releases."
    )
    output = click.option(
        "-o",
        "output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the result is printed.",
    )
    return store_options(channel(output(command)))


def asking(command: F) -> F:
    """--control, --ca and --admin: who is asked what runs."""
    control = click.option(
        "--control",
        metavar="URL",
        envvar="WEFT_CONTROL",
        show_envvar=True,
        callback=_unless_admins,
        help="The control plane, which knows all.",
    )
    ca = click.option(
        "--ca",
        metavar="FILE",
        envvar="WEFT_CONTROL_CA",
        show_envvar=True,
        default="",
        callback=_require_certificates,
        help="What its certificate must chain to (PEM); `weft ca bundle` prints it.",
    )
    admin = click.option(
        "--admin",
        "admins",
        multiple=True,
        metavar="ADDR:PORT",
        help="Ask a proxy's admin port instead; may be repeated.",
    )
    return control(ca(admin(command)))


def token_option(command: F) -> F:
    """--token-file, whose content the command gets as ``token``."""
    return click.option(
        "--token-file",
        "token",
        default="",
        metavar="FILE",
        callback=_read_token,
        envvar="WEFT_PUBLISH_TOKEN_FILE",
        show_envvar=True,
        help="The publish token, for a store behind HTTP; user:password, for a registry.",
    )(command)


def publishing(command: F) -> F:
    """The options of ``reading``, and --keys, --token-file and --note."""
    keys = click.option(
        "--keys",
        required=True,
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="The directory that `weft keys init` made.",
    )
    note = click.option("--note", metavar="TEXT", default="", help="A sentence for the release record: why.")
    return reading(keys(token_option(note(command))))


def root_option(command: F) -> F:
    """--root, whose content the command gets as ``root``."""
    return click.option(
        "--root",
        required=True,
        metavar="FILE",
        callback=_read_root,
        help="The pinned root.json, which `weft keys init` made.",
    )(command)


def print_release(release: Release, output: str) -> None:
    """One line on the standard output: ``version N snapshot DIGEST``, or the whole record as JSON."""
    if output == "json":
        click.echo(msgspec.json.encode({"schemaVersion": SCHEMA_VERSION, **msgspec.structs.asdict(release)}).decode())
        return
    click.echo(f"version {release.version} snapshot {release.snapshot}")


def _unless_admins(context: click.Context, _: click.Parameter, url: str | None) -> str | None:
    """What the environment says is a default: who names proxies on the command line means those."""
    by_default = context.get_parameter_source("control") is ParameterSource.ENVIRONMENT
    return None if by_default and context.params.get("admins") else url


def _require_certificates(context: click.Context, _: click.Parameter, path: str) -> str:
    """Tells a wrong file here, where its name can be said; who asks proxies needs none."""
    if not path or context.params.get("admins"):
        return path
    advice = "`weft ca bundle` prints what belongs in it"
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}; {advice}") from None
    if "-BEGIN CERTIFICATE-" not in text:
        raise click.BadParameter(f"{path} holds no certificate in PEM; {advice}")
    return path


def _read_root(_: click.Context, __: click.Parameter, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        advice = "give the root.json that `weft keys init` made"
        raise click.BadParameter(f"cannot read {path}: {error.strerror}; {advice}") from None


def _read_token(_: click.Context, __: click.Parameter, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}") from None
