"""`python -m promptopt.cli` is the command line."""

import sys

from .main import main

sys.exit(main())
