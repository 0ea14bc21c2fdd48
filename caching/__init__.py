"""The caching stage: encode a corpus, spill blocks, compact them into feature shards."""
