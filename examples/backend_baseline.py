"""No LLM at all: enriched tokens and motifs. Needs nothing; what every LLM should beat."""

import sys

from study import study

study(sys.argv[1] if len(sys.argv) > 1 else "baseline", out="study_baseline")
