"""``python -m condensery`` is the command."""

import os
import sys

# Before anything else is imported: Python has put the current folder first.
if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]

from condensery.cli.main import main

sys.exit(main())
