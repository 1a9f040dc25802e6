"""Training of language models: tokenizer, token streams, networks, loop, what they write."""
