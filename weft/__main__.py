"""``python -m weft``."""

import sys

# Installers refuse an older Python; whoever runs a checkout is told here, before any import of what such a Python does not know.
if sys.version_info < (3, 11):  # noqa: UP036  this line is for the Pythons that are not supported
    sys.exit("weft needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": start it with python3.11")

from weft.cli import main

main()
