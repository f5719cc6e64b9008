"""Chat templates, as transformers renders them; templates that mean harm end in a sentence."""

import pytest

from qviz.errors import LlamaError
from qviz.transformer import Tokenizer
from qviz.transformer.tokenizer.chat import render

# ChatML, Gemma's and Llama 3's way, with what each counts on
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = """{{ bos_token }}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (message['content'] | trim) + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""
TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}[{{ m.content }}]{% endfor %}"
)
USER = [{"role": "user", "content": "Hi "}]


def test_texts_by_hand():
    assert render(CHATML, USER, special={}) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\n"
    )
    chat = [*USER, {"role": "assistant", "content": "Yes"}]
    want = "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>\n"
    assert render(GEMMA, chat, reply=False, special={"bos_token": "<bos>"}) == want
    chat = [{"role": "x", "content": "no"}, *USER]
    assert render(TOOLS, chat, special={}, tools=[{"é": 1}]) == '[{"é": 1}][Hi ]'


def test_through_a_tokenizer():
    letters = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", *(chr(33 + i) for i in range(94)), "\u0120", "\u010a"]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": letters,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * 96,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": CHATML,
        "tokenizer.chat_template.short": "{{ bos_token }}{{ messages[0].content }}",
    }
    tokenizer = Tokenizer(metadata)
    ids = tokenizer.chat(USER)
    assert tokenizer.decode(ids, special=True) == tokenizer.chat_text(USER)
    assert ids[0] == 2
    assert ids.count(3) == 2  # what the template spells is a token
    assert tokenizer.chat(USER, name="short")[0] == 0
    with pytest.raises(LlamaError, match=r"no tokenizer.chat_template.tool_use"):
        tokenizer.chat(USER, name="tool_use")
    with pytest.raises(LlamaError, match=r"no tokenizer.chat_template; give its prompt"):
        Tokenizer({k: v for k, v in metadata.items() if "chat" not in k}).chat(USER)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}{{ ().__class__.__bases__[0].__subclasses__()[0]() }}",
        "{{ messages.append(1) }}",
        "{{ messages.__init__.__globals__ }}",
        "{% for i in range(10000000) %}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 999999999 }}",
        "{{ 9 ** 99999999 }}",
        "{{ [0] * 99999999 }}",
        "{{ 1 / 0 }}",
        "{{ raise_exception('no') }}",
        "{% if %}",
        "{{ undefined_thing.x.y }}",
        "{{ messages | tojson(indent='x') | foo }}",
        "{{ nothing | tojson }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'x' %}",
        "{{ lipsum() }}",
    ],
)
def test_templates_that_mean_harm(template):
    with pytest.raises(LlamaError, match="cannot render these messages"):
        render(template, USER, special={})


@pytest.mark.parametrize("messages", ["Hi", [], None, [{"content": "x"}], ["Hi"], {"role": "user"}, [{"role": 3}]])
def test_messages_that_are_none(messages):
    with pytest.raises(LlamaError, match="'role' and 'content' is wanted"):
        render(CHATML, messages, special={})
