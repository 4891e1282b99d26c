"""From an error deep inside a command's tasks to the one sentence that its user reads.

Written without ``except*``: what a handler of that kind raises reaches the caller inside a group on Python 3.11.2 (Debian 12) and bare on later ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def one_sentence(*kinds: type[Exception], after: str = "") -> Iterator[None]:
    """Ends the command with exit code 2 and the error's own message (and ``after``) where its body raises one of ``kinds``, bare or in groups.

    Raises ClickException; Abort for a KeyboardInterrupt in a group. What is not of these kinds is a bug of ours and passes as it is.
    """
    problem: BaseException
    try:
        yield
    except kinds as error:
        problem = error
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise click.Abort from None
        _, others = group.split(kinds)
        if others is not None:
            raise
        problem = _first(group)
    else:
        return
    raise click.ClickException(f"{problem}{after}") from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
