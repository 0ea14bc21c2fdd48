"""OpenAI's own API. Needs OPENAI_API_KEY."""

import sys

from study import study

study(sys.argv[1] if len(sys.argv) > 1 else "openai/gpt-5-mini", out="study_openai")
