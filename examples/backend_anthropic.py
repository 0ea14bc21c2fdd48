"""Claude through the official SDK. Needs `pip install "autointerp[anthropic]"` and ANTHROPIC_API_KEY."""

import sys

from study import study

study(sys.argv[1] if len(sys.argv) > 1 else "anthropic/claude-haiku-4-5", out="study_anthropic")
