"""Chat templates, as transformers renders them; templates that mean harm end in a sentence."""

import functools
import json

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qviz.errors import LlamaError
from qviz.transformer import Tokenizer
from qviz.transformer.tokenizer import sandbox
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


@pytest.mark.parametrize(
    "template",
    [
        "{% for k, v in messages[0] | dictsort %}{{ loop.index ~ k ~ v ~ loop.last }}{% else %}none{% endfor %}",
        "{% set ns = namespace(n=0, s='') %}{% for m in messages[::-1] %}{% set ns.n = ns.n + m.content | length %}"
        "{% set ns.s = ns.s ~ m.role %}{% endfor %}{{ ns.n }}{{ ns.s }}",
        "{% macro turn(m, end='.') %}<{{ m['role'] | upper }}>{{ m.content.strip().split()[-1] }}{{ end }}"
        "{{ caller() }}{% endmacro %}{% for m in messages %}{% call turn(m, end='!') %}"
        "{{ loop.index0 }}{% endcall %}{% endfor %}",
        "{{ messages | map(attribute='content') | map('trim') | select('ne', '') | join(', ') }}",
        "{{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}{{ ['a', 'b'] + ['c'] }}",
        "{{ '%s-%02d' % ('a', 5) }}{{ '{}{:>4}'.format('b', 7) }}{{ 'a,b'.replace(',', ';') }}{{ ('ab' * 3)[1:-1] }}",
        "{%- set x %}{{ messages | length }}{% endset -%}{{ x | int + 1 }}{{ {'a': (1, 2.5)} }}"
        "{{ messages | tojson(indent=2) }}",
        "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}{{ 10 | round(1) }}",
    ],
)
def test_texts_as_jinja_renders_them(template):
    """The limits change nothing of what is below them."""
    chat = [*USER, {"role": "assistant", "content": "Who is there?"}]
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    plain.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    assert render(template, chat, special={}) == plain.from_string(template).render(messages=chat)


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


DOUBLED = (
    "{%% macro f(x) %%}{{ x }}{{ x }}{%% endmacro %%}{%% set ns = namespace(x='aaaa') %%}"
    "{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x }}"
)


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
        "{{ lipsum }}{{ 'a'.encode().center(9) }}",
        # what is doubled again and again: a text by each way to put texts together, lists, dicts, namespaces, numbers
        DOUBLED % "ns.x ~ ns.x",
        DOUBLED % "ns.x + ns.x",
        DOUBLED % "'%s%s' % (ns.x, ns.x)",
        DOUBLED % "'{0}{0}'.format(ns.x)",
        DOUBLED % "[ns.x, ns.x] | join",
        DOUBLED % "''.join([ns.x, ns.x])",
        DOUBLED % "ns.x | replace('', ns.x)",
        DOUBLED % "f(ns.x)",
        DOUBLED % "(ns.x | length) * 9 ** 30",
        # a width, or a number of digits
        "{{ 'a' | center(999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ '\t'.expandtabs(999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:>{w}}'.format(1, w=999999999) }}",
        "{{ (5).to_bytes(999999999, 'big') }}",
        "{{ 1 | round(999999999, 'floor') }}",
        "{{ [1] | batch(999999999, 'x') | list }}",
        "{{ 'a' | indent(999999999, true) }}",
        "{{ messages | tojson(indent=999999999) }}",
        # each of many with something long
        "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
        "{{ ('a' * 99999).join('b' * 99999) }}",
        "{{ ('b' * 999) | map('upper') | join('a' * 9999) }}",
        "{{ 'ab'.translate({97: 'x' * 999999}) * 9 }}",
        "{{ [['a'] * 99] * 99 | sum(start=[]) }}",
        # loops over anything, and what calls itself twice
        "{{ range(10 ** 18) | length }}",
        # what Python cannot compile, or is too long to try
        "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
    ],
)
def test_templates_that_mean_harm(template):
    with pytest.raises(LlamaError, match="cannot render these messages"):
        render(template, USER, special={})


@pytest.mark.parametrize(
    "template",
    [
        DOUBLED % "[ns.x, ns.x]",
        DOUBLED % "(ns.x, ns.x)",
        DOUBLED % "{'a': ns.x, 'b': ns.x}",
        DOUBLED % "namespace(a=ns.x, b=ns.x)",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in 'a' * 999 %}{% for b in 'b' * 999 %}{% for c in 'c' * 999 %}{% endfor %}{% endfor %}{% endfor %}",
    ],
)
def test_templates_that_grow_or_run_until_a_limit(template, monkeypatch):
    """A second passes before the real limit is reached."""
    monkeypatch.setattr(sandbox, "_MOST", 1 << 14)
    with pytest.raises(LlamaError, match="more than"):
        render(template, USER, special={})


@pytest.mark.parametrize("messages", ["Hi", [], None, [{"content": "x"}], ["Hi"], {"role": "user"}, [{"role": 3}]])
def test_messages_that_are_none(messages):
    with pytest.raises(LlamaError, match="'role' and 'content' is wanted"):
        render(CHATML, messages, special={})
