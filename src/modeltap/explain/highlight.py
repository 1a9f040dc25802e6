"""A text with its words coloured by their scores, as a piece of HTML that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence

from modeltap.explain.answer import WordScore

FOR, AGAINST = "200,30,45", "30,90,200"
STRONGEST = 0.75


def highlighted(text: str, words: Sequence[WordScore]) -> str:
    """One paragraph; each word has its score as its title."""
    most = max((abs(word.score) for word in words), default=0.0)
    pieces, at = [], 0
    for word in words:
        strength = STRONGEST * abs(word.score) / most if most else 0.0
        color = FOR if word.score > 0 else AGAINST
        style = f"background:rgba({color},{strength:.2f});color:inherit"
        shown = html.escape(text[word.start : word.end])
        pieces.append(html.escape(text[at : word.start]))
        pieces.append(f'<mark style="{style}" title="{word.score:+.4f}">{shown}</mark>')
        at = word.end
    pieces.append(html.escape(text[at:]))
    return f'<p style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9">{"".join(pieces)}</p>'
