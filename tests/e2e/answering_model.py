"""A tiny language model that was taught two things: one answer to whatever it is asked, and how a tale goes on.

So a client can insist on an answer of a certain form, which nonsense would not end in time.
"""

from __future__ import annotations

from pathlib import Path

from tiny_language import ASSISTANT, END, SYSTEM, TEXT, USER, make_tiny_llama

ANSWER = '{"setup": "Why cats?", "punchline": "Milk."}'
TALE = TEXT[0]
STEPS = 150
BATCH = 8
LONGEST = 110
"""Tokens of what it was asked in its lessons."""


def make_answering_llama(folder: Path) -> Path:
    """The Hugging Face directory. The same on every call."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    make_tiny_llama(folder, initializer_range=0.05)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(END)
    users = tokenizer.encode(f"{USER}\n"), tokenizer.encode(f"{SYSTEM}\n")
    closing, answer = tokenizer.encode(f"{END}\n{ASSISTANT}\n"), [*tokenizer.encode(ANSWER), end]
    tale = [*tokenizer.encode(TALE), end]
    draw = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    def lesson(place: int) -> tuple[list[int], list[int]]:
        """What is read, and what of it is learned."""
        if place % 3 == 0:
            return tale, tale
        asked = torch.randint(len(tokenizer.all_special_ids), len(tokenizer), (number(2, LONGEST),), generator=draw).tolist()
        read = [*users[number(0, 2)], *asked, *closing]
        return [*read, *answer], [*[-100] * len(read), *answer]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps this small are slower on several, where others run too
    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        lessons = [lesson(place) for place in range(BATCH)]
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
