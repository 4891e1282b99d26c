"""The page of what is not carried yet, made from the compiler's own tables: ``python -m weft.not_carried_page > docs/reference/not-carried.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from compiler.carried_leaves import CARRIED_KEYS, KINDS_NOT_CARRIED, REFUSED, REFUSED_VALUES

_HEAD = """\
# What is not carried yet

Made by `python -m weft.not_carried_page` from the tables by which the compiler refuses (`compiler/carried_leaves.py`). A document that says
any of this is valid, and `weft check` answers with WFT0200 at its line; `weft publish` refuses it unless told `--allow-partial`. Everything
else of the schemas is carried, or concerns others than proxies and is left to them. In the annotation `proxy.istio.io/config` the same
holds as below `spec.defaultConfig` of MeshConfig. `[]` is any item of a list, `{}` any key of a map; a path stands for all below it.
"""


def not_carried_page() -> str:
    """The page, kind by kind."""
    return "\n".join((_HEAD, *_kinds(), ""))


def _kinds() -> Iterator[str]:
    yield f"Kinds of which nothing is carried: {', '.join(f'`{kind}`' for kind in sorted(KINDS_NOT_CARRIED))}."
    for kind in sorted({*REFUSED, *REFUSED_VALUES, *CARRIED_KEYS} - {*KINDS_NOT_CARRIED}):
        yield f"\n## {kind}\n"
        yield from (f"- `{path}`" for path in sorted(REFUSED.get(kind, ())))
        for path, values in sorted(REFUSED_VALUES.get(kind, {}).items()):
            yield f"- `{path}`: {', '.join(f'`{value}`' for value in sorted(values))}"
        for path, keys in sorted(CARRIED_KEYS.get(kind, {}).items()):
            yield f"- `{path}`: all keys but {', '.join(f'`{key}`' for key in sorted(keys))}"


if __name__ == "__main__":
    sys.stdout.write(not_carried_page())
