"""``python -m condensery`` is the command."""

import sys

from condensery.cli.main import main

sys.exit(main())
