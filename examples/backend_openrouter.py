"""Any model on OpenRouter, no extra. Needs OPENROUTER_API_KEY; `?price=` lets a budget hold for a model without a known price."""

import sys

from study import study

study(
    sys.argv[1] if len(sys.argv) > 1 else "openrouter/meta-llama/llama-3.3-70b-instruct?price=0.13,0.40",
    out="study_openrouter",
)
