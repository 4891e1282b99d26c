"""Becomes the program that its arguments name, which then ends with the process that started it (Linux, PR_SET_PDEATHSIG).

Run as a script of its own, with the standard library alone: an Envoy must not go on serving, unsupervised, a slice that nobody renews.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns; raises OSError where the program cannot be run."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.execv(arguments[0], arguments)  # noqa: S606  there is no shell here


if __name__ == "__main__":
    main(sys.argv[1:])
