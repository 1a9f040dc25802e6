"""A language model's tokenizer: text ⇄ ids, messages → ids. It needs no torch and no transformers.

A special token that is written in a text is a text like any other: its ids are those of its characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from modeltap.data.chat_template import ChatTemplate
from modeltap.errors import Broken, InvalidInput, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
BEGINS_TEXTS = ("LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GemmaTokenizerFast")
"""Classes of transformers that set by their own options, not by tokenizer.json, what is put around a text."""
ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
BREAK = "\n"


def open_tokenizer(files: Mapping[str, Path], *, clock: Callable[[], datetime] = datetime.now) -> Tokenizer:
    """The tokenizer in these files, called as in a Hugging Face directory, which may lie under any path.

    `clock`: what a chat template is told that asks for the date. Raises Broken if a file is missing or damaged, MissingExtra.
    """
    try:
        from tokenizers import Tokenizer as RustTokenizer
    except ModuleNotFoundError as problem:
        raise MissingExtra(what="tokenizers", extra="llm") from problem
    if TOKENIZER not in files:
        raise Broken(f"the model has no {TOKENIZER}; convert its tokenizer to that form first")
    try:
        content = files[TOKENIZER].read_text(encoding="utf-8")
        rust = RustTokenizer.from_str(content)
    except OSError as problem:
        raise Broken(f"{TOKENIZER} cannot be read: {problem.strerror or 'the disk refused'}") from None
    except Exception as problem:  # noqa: BLE001 - the library raises nothing narrower
        raise Broken(f"{TOKENIZER} cannot be read: {str(problem)[:300]}") from None
    configs = {name: _json_file(files, name) for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS, CONFIG, GENERATION_CONFIG)}
    try:
        template = files[CHAT_TEMPLATE].read_text(encoding="utf-8") if CHAT_TEMPLATE in files else None
    except (OSError, UnicodeDecodeError):
        raise Broken(f"{CHAT_TEMPLATE} cannot be read") from None
    return Tokenizer(rust, configs, template, clock=clock)


class Tokenizer:
    """Safe to use from several threads."""

    def __init__(
        self,
        rust: RustTokenizer,
        configs: Mapping[str, dict[str, Any]],
        template: str | None,
        *,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._rust = rust
        rust.no_truncation()
        rust.no_padding()
        rust.encode_special_tokens = True
        self._lock = Lock()
        """Held while special tokens are read as such: that is a setting of the whole tokenizer."""
        added = rust.get_added_tokens_decoder()
        self._added = {number: token.content for number, token in added.items()}
        self._named = _named_tokens(configs)
        self._special = {number: token.content for number, token in added.items() if token.special}
        self._shunned = {number for number, text in self._special.items() if text != self._named.get("unk_token")}
        self._set_edges(configs[TOKENIZER_CONFIG])
        self.end_ids = self._find_ends(configs)
        said = self._named.get("eos_token")
        self.end_id: int | None = rust.token_to_id(said) if said else min(self.end_ids, default=None)
        """What is put behind a text to learn from."""
        self.special_ids = frozenset(self._special)
        self.vocabulary = int(configs[CONFIG].get("vocab_size") or rust.get_vocab_size(with_added_tokens=True))
        """Ids are below this; the last ones may stand for no text."""
        self._templates = self._read_templates(configs[TOKENIZER_CONFIG], template, clock)

    def encode(self, text: str) -> list[int]:
        """With what the model wants around a text, such as the token that begins it."""
        return self._encode(text, edges=True)

    def encode_bare(self, text: str) -> list[int]:
        """The text alone."""
        return self._encode(text, edges=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Without special tokens; bytes that are no whole character become U+FFFD."""
        text: str = self._rust.decode(list(ids), skip_special_tokens=True)
        return text

    def token_text(self, token: int) -> str:
        """The token by itself; a special one by its name."""
        return self.token_bytes(token).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """What the token stands for; nothing where the id stands for no text."""
        if token in self._added:
            return bytes(self._added[token], "utf-8")
        piece: str | None = self._rust.id_to_token(token)
        if piece is None:
            return b""
        if self._is_byte_level:
            try:
                return bytes(_BYTES[letter] for letter in piece)
            except KeyError:
                return piece.encode()
        if found := ONE_BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return piece.replace("▁", " ").encode()

    @property
    def has_chat_template(self) -> bool:
        return bool(self._templates)

    @property
    def takes_tools(self) -> bool:
        return any(template.takes_tools for template in self._templates.values())

    def has_special(self, text: str) -> bool:
        """Whether this is one of its special tokens."""
        return text in self._special.values()

    def chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] | None = None, is_answered: bool = False
    ) -> list[int]:
        """The ids that ask for the answer to these messages; `is_answered`: the last one is the answer, nothing is asked.

        Special tokens come from the template alone. Raises InvalidInput without a template, for tools where it takes none,
        and for messages that it refuses.
        """
        if not self._templates:
            raise InvalidInput("the model has no chat template; send one text to complete instead of messages")
        if tools and not self.takes_tools:
            raise InvalidInput("the model's chat template takes no tools; leave them out")
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        template = self._templates.get(name) or next(iter(self._templates.values()))
        pieces = template.render(messages, tools=tools, is_answered=is_answered)
        ids = self._encode_special(pieces[0])
        for piece in pieces[1:]:
            ids += self._after_break(piece)
        return ids

    def _encode(self, text: str, *, edges: bool) -> list[int]:
        with self._lock:
            ids = self._ids(text, edges=edges)
            if self._shunned.isdisjoint(ids) or (edges and self._shunned.isdisjoint(self._ids(text, edges=False))):
                return ids
        raise InvalidInput("the text spells a special token in a way that this tokenizer cannot read as plain text")

    def _encode_special(self, text: str) -> list[int]:
        """Special tokens read as such."""
        with self._lock:
            self._rust.encode_special_tokens = False
            try:
                return self._ids(text, edges=False)
            finally:
                self._rust.encode_special_tokens = True

    def _after_break(self, text: str) -> list[int]:
        """As it is read in the middle of a text: without the space that some tokenizers put before one."""
        begin = self._encode_special(BREAK)
        ids = self._encode_special(BREAK + text)
        return ids[len(begin) :] if ids[: len(begin)] == begin else self._encode_special(text)

    def _ids(self, text: str, *, edges: bool) -> list[int]:
        try:
            ids: list[int] = self._rust.encode(text, add_special_tokens=edges).ids
        except (TypeError, UnicodeError):
            raise InvalidInput("the text holds a lone surrogate, which is no character") from None
        return ids

    @cached_property
    def _is_byte_level(self) -> bool:
        return "ByteLevel" in json.dumps(json.loads(self._rust.to_str()).get("decoder"))

    def _set_edges(self, config: Mapping[str, Any]) -> None:
        if config.get("tokenizer_class") not in BEGINS_TEXTS:
            return
        from tokenizers.processors import TemplateProcessing

        bos = self._named.get("bos_token") if config.get("add_bos_token", True) else None
        eos = self._named.get("eos_token") if config.get("add_eos_token", False) else None
        numbered = [(token, self._rust.token_to_id(token)) for token in (bos, eos) if token]
        if any(number is None for _, number in numbered):
            raise Broken(f"{TOKENIZER_CONFIG} names a token that {TOKENIZER} does not have")
        form = " ".join(part for part in (bos, "$A", eos) if part)
        self._rust.post_processor = TemplateProcessing(single=form, pair=f"{form} $B:1", special_tokens=numbered)

    def _find_ends(self, configs: Mapping[str, Mapping[str, Any]]) -> frozenset[int]:
        said = configs[GENERATION_CONFIG].get("eos_token_id", configs[CONFIG].get("eos_token_id"))
        ends = {number for number in (said if isinstance(said, list) else [said]) if isinstance(number, int)}
        if eos := self._named.get("eos_token"):
            number = self._rust.token_to_id(eos)
            ends |= set() if number is None else {number}
        return frozenset(ends)

    def _read_templates(
        self, config: Mapping[str, Any], text: str | None, clock: Callable[[], datetime]
    ) -> dict[str, ChatTemplate]:
        given: Any = text if text is not None else config.get("chat_template")
        if not given:
            return {}
        named = {"default": given} if isinstance(given, str) else {one["name"]: one["template"] for one in given}
        more = [_content(token) for token in config.get("additional_special_tokens") or ()]
        variables = {**self._named, "additional_special_tokens": more}
        return {
            name: ChatTemplate(one, special=set(self._special.values()), variables=variables, clock=clock)
            for name, one in named.items()
        }


def _json_file(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    try:
        content = json.loads(files[name].read_bytes())
    except (OSError, ValueError):
        raise Broken(f"{name} cannot be read") from None
    if not isinstance(content, dict):
        raise Broken(f"{name} holds no object")
    return content


def _named_tokens(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for name in NAMED_TOKENS:
        for config in (configs[TOKENIZER_CONFIG], configs[SPECIAL_TOKENS]):
            if (text := _content(config.get(name))) and name not in found:
                found[name] = text
    return found


def _content(token: Any) -> str:
    """A special token's text, which is written plainly or as an object."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else ""


def _byte_letters() -> Iterable[tuple[str, int]]:
    """The letter that a byte-level tokenizer writes each byte as: itself where it can be seen, else one from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    further = 0x100
    for byte in range(256):
        yield (chr(byte) if byte in seen else chr(further)), byte
        further += byte not in seen


_BYTES = dict(_byte_letters())
_LETTERS = {byte: letter for letter, byte in _BYTES.items()}


def letters_of(content: bytes) -> str:
    """The bytes as a byte-level tokenizer writes them."""
    return "".join(_LETTERS[byte] for byte in content)
