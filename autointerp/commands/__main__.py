"""``python -m autointerp.commands``."""

import sys

from autointerp.commands import main

sys.exit(main())
