from __future__ import annotations

import random
from pathlib import Path

import pytest

from autointerp.clients import ModelSpec, Price, estimate_tokens, price_of
from autointerp.errors import FormatError, UsageError
from autointerp.records import Message, Request, Usage


def of(text: str) -> Price | None:
    return price_of(ModelSpec.parse(text))


def test_the_table() -> None:
    assert of("anthropic/claude-haiku-4-5") == Price(1.0, 5.0, 0.1, 1.25)
    assert of("anthropic/claude-haiku-4-5-20251001") == Price(1.0, 5.0, 0.1, 1.25)
    assert of("anthropic/claude-sonnet-4-6") == Price(3.0, 15.0, 0.1, 1.25)
    assert of("openai/gpt-4o-mini-2024-07-18") == Price(0.15, 0.6, 0.5)
    assert of("anthropic/claude-haiku-9") is None
    assert of("openrouter/anthropic/claude-haiku-4-5") is None
    assert of("scripted?answer=x") is None
    assert of("anthropic/claude-haiku-4-5@http://127.0.0.1:1") is None, "another host has other prices"


def test_the_string_comes_before_the_file_before_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[anthropic]\n"claude-haiku-4-5" = { input = 7, output = 8 }\n[openrouter]\n"a/b" = { input = 1, output = 2 }\n'
    )
    monkeypatch.setenv("AUTOINTERP_PRICES", str(path))
    assert of("anthropic/claude-haiku-4-5") == Price(7.0, 8.0, 1.0)
    assert of("openrouter/a/b") == Price(1.0, 2.0, 1.0)
    assert of("anthropic/claude-sonnet-4-6") == Price(3.0, 15.0, 0.1, 1.25)
    assert of("anthropic/claude-haiku-4-5?price=0.5,2") == Price(0.5, 2.0, 1.0, 1.25)


def test_a_bad_file_of_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.toml"
    monkeypatch.setenv("AUTOINTERP_PRICES", str(path))
    with pytest.raises(UsageError, match="AUTOINTERP_PRICES"):
        of("anthropic/claude-haiku-4-5")
    path.write_text("not toml [")
    with pytest.raises(FormatError, match="TOML"):
        of("anthropic/claude-haiku-4-5")
    path.write_text('[anthropic]\n"claude-haiku-4-5" = { inputs = 7 }\n')
    with pytest.raises(FormatError, match=r"input = 1\.0"):
        of("anthropic/claude-haiku-4-5")


def test_cost_by_hand() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, cached_tokens=400_000)
    assert Price(2.0, 10.0, 0.1).cost(usage) == pytest.approx(0.6 * 2 + 0.4 * 2 * 0.1 + 0.1 * 10)


def test_the_estimate_is_above_the_usual_count_of_tokens() -> None:
    prose = "The feature responds to phosphate-binding loops in nucleotide kinases and related proteins. " * 20
    assert len(prose) / 4.5 < estimate_tokens(prose) < len(prose) / 2
    residues = "".join(random.Random(0).choices("ACDEFGHIKLMNPQRSTVWY", k=500))
    assert estimate_tokens(residues) == 500, "a token may be a single residue"
    assert estimate_tokens("日本") == len("日本".encode())
    assert estimate_tokens("") == 0
    assert estimate_tokens("\ud800") > 0


def test_worst_case_bounds_the_cost() -> None:
    request = Request((Message("user", "word " * 100),), max_tokens=50, schema={"type": "object"})
    price = Price(3.0, 15.0)
    assert price.worst(request) >= price.cost(Usage(100 + 20, 50))
