"""``weft schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from compiler.editor import editor_schema
from compiler.kinds import KINDS, Kind
from compiler.schemas import schema_for
from compiler.wording import nearest
from weft.help_text import ending

SCHEMA_FILE = Path(".vscode/weft.schema.json")
SETTINGS_FILE = Path(".vscode/settings.json")
_FILES = ["*.yaml", "*.yml"]


ENDING = ending("weft schema", "weft schema VirtualService", "weft schema --vscode", exits={2: "there is no such kind"})


@click.command(epilog=ENDING)
@click.argument("kind", required=False)
@click.option(
    "--vscode",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    is_flag=False,
    flag_value=".",
    help="Write the schemas for VS Code's YAML extension into DIR/.vscode (the current folder where DIR is left out).",
)
def command(kind: str | None, vscode: Path | None) -> None:
    """Print the JSON Schema of a kind, or list the kinds that weft reads.

    KIND is a name such as VirtualService; where two API groups have the same, add the group: Gateway.networking.istio.io.
    """
    if vscode is not None and kind is not None:
        raise click.UsageError("--vscode writes the schemas of all kinds; leave KIND out.")
    if vscode is not None:
        _write_for_vscode(vscode)
    elif kind is not None:
        found = _kind(kind)
        click.echo(json.dumps(schema_for(found.api_versions[0], found.name), indent=2, ensure_ascii=False))
    else:
        for row in KINDS:
            click.echo(f"{row.name:<32}{', '.join(row.api_versions)}")


def _kind(written: str) -> Kind:
    """The kind that was meant; a usage error that names the choices where it is none or several."""
    name, _, group = written.partition(".")
    same = [kind for kind in KINDS if kind.name.casefold() == name.casefold() and (not group or kind.group == group)]
    if len(same) == 1:
        return same[0]
    if same:
        choices = " or ".join(f"{kind.name}.{kind.group}" for kind in same)
        raise click.UsageError(f"{name} is a kind of several API groups; say {choices}.")
    meant = nearest(name, [kind.name for kind in KINDS])
    advice = f"did you mean {meant}?" if meant else "`weft schema` lists the kinds."
    raise click.UsageError(f"weft reads no kind {written}; {advice}")


def _write_for_vscode(folder: Path) -> None:
    (folder / SCHEMA_FILE).parent.mkdir(exist_ok=True)
    (folder / SCHEMA_FILE).write_text(json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    click.echo(f"wrote {folder / SCHEMA_FILE}")
    setting = {f"./{SCHEMA_FILE}": _FILES}
    settings = _settings(folder / SETTINGS_FILE)
    if settings is None:
        click.echo(f"{folder / SETTINGS_FILE} has comments or other content that weft leaves alone; add this to it:")
        click.echo(f'  "yaml.schemas": {json.dumps(setting)}')
        return
    settings["yaml.schemas"] = {**settings.get("yaml.schemas", {}), **setting}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")
    click.echo(f"wrote {folder / SETTINGS_FILE}; the extension is redhat.vscode-yaml")


def _settings(path: Path) -> dict[str, Any] | None:
    """The editor's settings, empty where there are none; None where rewriting them would lose something or they are not understood."""
    if not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    if not isinstance(settings, dict) or not isinstance(settings.get("yaml.schemas", {}), dict):
        return None
    return settings
