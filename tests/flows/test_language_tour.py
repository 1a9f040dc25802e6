"""The README's language models, run as they stand there but for the number of steps: demo, chat, curl, OpenAI's client."""

from __future__ import annotations

import json
import re
import sys

import pytest
from checkout import blocks, read, section
from test_tour import environment, run

__all__ = ["environment"]


@pytest.mark.timeout(900)
def test_a_language_model_is_made_and_talked_with_as_the_readme_says(tmp_path, environment):
    told = section(read("README.md"), "Language models")
    demo, _, over_http = blocks(told, "sh")
    first, second = demo.text.splitlines()
    assert first == "modeltap demo --language"
    said = run(["bash", "-euc", f"{first} --steps 3"], tmp_path, environment)
    commands = re.findall(r"^ +\$ modeltap (\w+)", said, re.MULTILINE)
    assert commands[:5] == ["data", "train", "compress", "deploy", "chat"]
    assert "perplexity" in said and "int8 against pydoc@1" in said and 'The "for" statement' in said

    chatted = run(["bash", "-euc", second], tmp_path, environment)
    assert chatted.strip()

    (python,) = blocks(told, "python")
    (page,) = blocks(read("docs/language.md"), "python")
    for code in (python.text, page.text):
        (tmp_path / "code.py").write_text(code)
        answer, _, written = run(
            ["bash", "-euc", f"{over_http.text}\necho\necho ---\n{sys.executable} code.py"], tmp_path, environment
        ).partition("\n---\n")
        assert json.loads(answer)["usage"]["completion_tokens"] == 20
        assert written.strip()
