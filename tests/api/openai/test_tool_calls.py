"""Calls of tools, found in what a model writes."""

from __future__ import annotations

import pytest

from modeltap.api.openai.tool_calls import ToolCall, ToolReader, read_whole, split_pieces

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
NAMES = frozenset({"weather", "time"})


def told(calls: list[ToolCall]) -> list[tuple[str, str]]:
    return [(one.name, one.arguments) for one in calls]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_text_and_calls_are_told_apart_however_they_arrive(step: int) -> None:
    text = f"I look.\n{CALL}\n{CALL.replace('weather', 'time')}"
    reader = ToolReader(NAMES)
    pieces = [piece for start in range(0, len(text), step) for piece in reader.feed(text[start : start + step])]
    said, calls = split_pieces([*pieces, *reader.finish()])
    assert said == "I look."
    assert told(calls) == [("weather", '{"city":"Bern"}'), ("time", '{"city":"Bern"}')]
    assert calls[0].id != calls[1].id


def test_a_text_that_only_begins_as_a_call_is_handed_on_at_once() -> None:
    reader = ToolReader(NAMES)
    assert reader.feed("a <tool") == ["a"]
    assert reader.feed("box> b") == [" <toolbox> b"]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>no json</tool_call>",
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": "weather", "arg',
    ],
)
def test_what_is_no_call_stays_a_text(text: str) -> None:
    assert read_whole(ToolReader(NAMES), [text]) == (text, [])


def test_a_call_that_was_not_closed_counts_if_it_is_whole() -> None:
    said, calls = read_whole(ToolReader(NAMES), [CALL.removesuffix("</tool_call>")])
    assert (said, told(calls)) == ("", [("weather", '{"city":"Bern"}')])


def test_only_one_call_where_no_more_were_wanted() -> None:
    said, calls = read_whole(ToolReader(NAMES, only_one=True), [CALL + CALL])
    assert (said, len(calls)) == ("", 1)


def test_without_tools_a_mark_is_a_text() -> None:
    assert read_whole(ToolReader(frozenset()), [CALL]) == (CALL, [])
