"""The models of `talking`, for every test of this room."""

from talking import spoken, talker, tokenizer

__all__ = ["spoken", "talker", "tokenizer"]
