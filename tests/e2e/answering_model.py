"""A tiny language model that was taught one answer to whatever it is asked, and how a tale goes on.

So a client can insist on an answer of a certain form, which nonsense would not end in time.
"""

from __future__ import annotations

from pathlib import Path

from tiny_language import ASSISTANT, END, SYSTEM, TEMPLATE, USER, make_tiny_llama

ANSWER = '{"setup": "Why cats?", "punchline": "Milk."}'
FORCED = '{"name": "Joke", "arguments":'
"""So a call begins, and the grammar writes the first of it; the answer follows."""
TALE = "Once upon a time there was a king who had three daughters."
TOOLS = "<tool_call></tool_call>"
TOOL_TEMPLATE = TEMPLATE.replace("(tools | tojson)", f"'{TOOLS}'")
"""Says that there are tools, and nothing of them, which would be longer than the context."""
STEPS = 200
LEARNING_RATE = 8e-3
BATCH = 8
LONGEST = 110
"""Tokens of what it was asked in its lessons."""


def make_answering_llama(folder: Path) -> Path:
    """The Hugging Face directory. The same on every call."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    make_tiny_llama(folder, template=TOOL_TEMPLATE, initializer_range=0.05)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(END)
    users = tokenizer.encode(f"{USER}\n"), tokenizer.encode(f"{SYSTEM}\n")
    calling = tokenizer.encode(f"{SYSTEM}\n{TOOLS}{END}\n")
    ending, closing = tokenizer.encode(f"{END}\n"), tokenizer.encode(f"{END}\n{ASSISTANT}\n")
    answer, tale = [*tokenizer.encode(ANSWER), end], [*tokenizer.encode(TALE), end]
    call, closed = tokenizer.encode(f"{FORCED} {ANSWER}"), tokenizer.encode("}")
    forced, argument = call[:2], call[2:]
    draw = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    def lesson(place: int) -> tuple[list[int], list[int]]:
        """What is read, and what of it is learned; the end of a call rarely, or other answers would seem to go on."""
        if place % 4 == 0:
            return tale, tale
        words = answer[:-1] if place % 4 == 2 else range(len(tokenizer.all_special_ids), len(tokenizer))
        asked = [words[number(0, len(words))] for _ in range(number(2, LONGEST))]
        cut = number(0, len(asked))  # a message before the last one
        before = [*users[number(0, 2)], *asked[:cut], *ending] if place % 2 else []
        read = [*before, *users[number(0, 2)], *asked[cut if place % 2 else 0 :], *closing]
        learned = answer
        if place % 4 == 1:
            read, learned = [*calling, *read, *forced], [*argument, *(closed if place % 32 == 1 else ())]
        return [*read, *learned], [*[-100] * len(read), *learned]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps this small are slower on several, where others run too
    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        lessons = [lesson(step * BATCH + place) for place in range(BATCH)]
        width = max(len(read) for read, _ in lessons)
        ids = torch.tensor([read + [end] * (width - len(read)) for read, _ in lessons])
        labels = torch.tensor([learned + [-100] * (width - len(learned)) for _, learned in lessons])
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    return folder
