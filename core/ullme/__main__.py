"""`python -m ullme` is the `ullme` command."""

import sys

from ullme.cli import main

sys.exit(main())
