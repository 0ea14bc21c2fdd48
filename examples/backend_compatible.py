"""A server of your own that speaks the OpenAI format: vLLM, llama.cpp, SGLang, Ollama.

No extra and no key are needed (OPENAI_COMPAT_API_KEY if the server wants one).
"""

import sys

from study import study

MODEL = "openai/Qwen/Qwen2.5-7B-Instruct@http://localhost:8000/v1"

study(sys.argv[1] if len(sys.argv) > 1 else MODEL, out="study_compatible")
