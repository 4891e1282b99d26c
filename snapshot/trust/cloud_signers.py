"""Keeps securesystemslib from importing boto3 with every verifier.

The library offers a signer for AWS' key service and imports boto3 for it, where that is installed (as it is for s3:// stores), before
anybody asks for that signer: a quarter of a second at the start of every proxy. weft's keys are files (``keys``), so the module of that
signer is replaced, before the library is imported, by one that says that it is not here.
"""

from __future__ import annotations

import sys
from types import ModuleType

_MODULE = "securesystemslib.signer._aws_signer"


class AWSSigner:
    """What stands for the signer: its scheme, and a refusal."""

    SCHEME = "awskms"

    @classmethod
    def from_priv_key_uri(cls, uri: str, *_: object) -> AWSSigner:
        """Raises ValueError: keys of AWS' key service are not read here."""
        raise ValueError(f"{uri}: keys of a cloud's key service cannot be used here")


def leave_out() -> None:
    """Puts the stand-in in place, unless the real module was imported already."""
    stand_in = ModuleType(_MODULE, __doc__)
    stand_in.AWSSigner = AWSSigner  # type: ignore[attr-defined]
    sys.modules.setdefault(_MODULE, stand_in)
