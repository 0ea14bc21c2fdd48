"""A server of your own that speaks the OpenAI format: vLLM, llama.cpp, SGLang, Ollama. No extra, no key (OPENAI_COMPAT_API_KEY if it wants one)."""

import sys

from study import study

study(
    sys.argv[1] if len(sys.argv) > 1 else "openai/Qwen/Qwen2.5-7B-Instruct@http://localhost:8000/v1",
    out="study_compatible",
)
