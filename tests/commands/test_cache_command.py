"""``autointerp cache`` with several hooks and coders."""

from __future__ import annotations

from pathlib import Path

import pytest

from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.commands.cache import pairs
from autointerp.errors import UsageError
from tests.doubles import make_corpus, random_proteins

OUT = Path("out")


def names(hooks: str, coders: str) -> list[tuple[str, str, str]]:
    return [(hook, coder, str(folder)) for hook, coder, folder in pairs(hooks, coders, OUT)]


def test_one_cache_is_its_folder_and_several_are_named_after_hook_and_coder() -> None:
    assert names("layer:3", "c/a") == [("layer:3", "c/a", "out")]
    assert names("layer:1,layer:2", "neurons?k=8") == [
        ("layer:1", "neurons?k=8", "out/layer-1-neurons-k=8"),
        ("layer:2", "neurons?k=8", "out/layer-2-neurons-k=8"),
    ]
    assert names("layer:1, layer:2", "x/a,y/b") == [
        ("layer:1", "x/a", "out/layer-1-a"),
        ("layer:2", "y/b", "out/layer-2-b"),
    ]
    folders = [folder for _, _, folder in names("layer:1", "x/a,y/a,z/a,w/b")]
    assert folders == ["out/layer-1-a", "out/layer-1-a-2", "out/layer-1-a-3", "out/layer-1-b"]
    for hooks, coders in (("a,b", "x,y,z"), ("", "x"), ("a", ",")):
        with pytest.raises(UsageError, match="hooks and"):
            pairs(hooks, coders, OUT)


def test_a_folder_with_a_comma_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert len(pairs("layer:1", str(tmp_path / "a,b"), OUT)) == 1


def test_several_caches_from_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(20, (5, 60)))
    words = (
        f"cache --subject planted-esm --hook layer:1,layer:2 --coder neurons --corpus {corpus.path} --out {tmp_path}/c"
    )
    assert main([*words.split(), "--level", "sequence", "--pooling", "max"]) == 0
    shown = capsys.readouterr().out
    for layer in (1, 2):
        cache = ActivationCache.open(tmp_path / f"c/layer-{layer}-neurons")
        assert (cache.level, cache.manifest["pooling"]) == ("sequence", "encode, then max")
        assert cache.manifest["subject"]["hook"] == f"layer:{layer}"
        assert str(cache.path) in shown
