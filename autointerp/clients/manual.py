"""``manual/FOLDER``: prompts as files, answers from the files beside them; for people who paste into a chat window."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

from autointerp.clients.backend import client
from autointerp.clients.spec import ModelSpec
from autointerp.files import write_text
from autointerp.records import Capabilities, NotSent, Outcome, Request, Response

log = logging.getLogger(__name__)
HEADINGS = {"user": "Question", "assistant": "Answer"}


@client("manual")
class Manual:
    """Writes ``NAME.prompt.txt``, reads ``NAME.answer.txt``; the name follows from the request's content.

    An answer that is not there is a failure of kind ``missing`` at once: a run writes every prompt it can, uses what is
    answered, and ends; the same command again continues with what was answered meanwhile. An empty file is no answer.
    """

    capabilities = Capabilities(schema=False, free=True)
    needs_model = True
    own_pace = True

    def __init__(self, spec: ModelSpec, **_: object) -> None:
        self.spec, self.folder = spec, Path(spec.model).expanduser()
        self._waiting: set[str] = set()
        self._found = 0

    async def generate(self, request: Request) -> Outcome:
        """The answer that someone wrote, or the failure ``missing`` and a prompt to be answered."""
        return await asyncio.to_thread(self._look, request)

    def _look(self, request: Request) -> Outcome:
        name = f"{re.sub(r'[^a-z0-9]+', '-', request.tag.lower()) or 'prompt'}-{request.key('manual')[:16]}"
        answer, prompt = self.folder / f"{name}.answer.txt", self.folder / f"{name}.prompt.txt"
        try:
            text = answer.read_text("utf-8-sig").strip()
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError:
            return NotSent("bad_answer", f"{answer} is not UTF-8 text; save it as such and run the same command again")
        if text:
            self._found += 1
            self._waiting.discard(name)
            return Response(text, cost_usd=0.0, model=self.spec.name)
        if not prompt.exists():
            write_text(prompt, page(request))
        self._waiting.add(name)
        return NotSent("missing", f"{prompt} waits for its answer in {answer.name}")

    async def aclose(self) -> None:
        """Say how many prompts wait."""
        if self._waiting:
            log.warning(
                "%d answers read, %d prompts wait in %s: write the answer to each NAME.prompt.txt into NAME.answer.txt "
                "beside it, and run the same command again",
                self._found,
                len(self._waiting),
                self.folder,
            )
            self._waiting.clear()


def page(request: Request) -> str:
    """A request as one text to paste: instructions, earlier turns as examples, the question last."""
    system = [message.content for message in request.messages if message.role == "system"]
    turns = [message for message in request.messages if message.role != "system"]
    examples = [f"## {HEADINGS[message.role]}\n\n{message.content}" for message in turns[:-1]]
    last = [f"## {HEADINGS['user']}\n\n{turns[-1].content}" if examples else turns[-1].content] if turns else []
    if request.choices:
        last.append("Answer with one of these and nothing else: " + ", ".join(request.choices))
    return "\n\n".join([*system, *examples, *last]) + "\n"
