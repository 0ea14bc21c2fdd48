"""Any model on OpenRouter, without an extra. Needs OPENROUTER_API_KEY.

`?price=IN,OUT` (dollars per million tokens) lets a budget hold for a model whose price no table knows.
"""

import sys

from study import study

MODEL = "openrouter/meta-llama/llama-3.3-70b-instruct?price=0.13,0.40"

study(sys.argv[1] if len(sys.argv) > 1 else MODEL, out="study_openrouter")
