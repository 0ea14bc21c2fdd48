"""LLM backends behind one protocol: model strings, limits, retries, budget, journal and cache around thin backends."""

from autointerp.clients.backend import Limits, client
from autointerp.clients.budget import Budget
from autointerp.clients.connect import ConnectedClient, Statistics, connect
from autointerp.clients.journal import Journal, MemoryJournal
from autointerp.clients.prices import Price, estimate_tokens, price_of
from autointerp.clients.scripted import Scripted
from autointerp.clients.spec import ModelSpec
from autointerp.records import maybe_billed

__all__ = [
    "Budget",
    "ConnectedClient",
    "Journal",
    "Limits",
    "MemoryJournal",
    "ModelSpec",
    "Price",
    "Scripted",
    "Statistics",
    "client",
    "connect",
    "estimate_tokens",
    "maybe_billed",
    "price_of",
]
