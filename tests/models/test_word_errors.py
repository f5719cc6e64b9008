"""Word errors in data/: complete, of the texts that the benchmark speaks, and what the page beside them says."""

from __future__ import annotations

import json

import speech

from qviz import models


def test_the_table_is_of_the_texts_that_are_spoken():
    table = models.word_errors()
    words = tuple(len(speech.words(text)) for text in speech.TEXTS) * 2
    for name, heard in table.formats.items():
        assert heard.format == name
        assert heard.words == words
        assert len(heard.errors) == len(words)
    sizes = [heard.nbytes for heard in table.formats.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert table.formats["F16"].other == 0
    assert table.formats["F16"].nbytes == models.KNOWN["whisper-tiny.en"].nbytes


def test_shares_are_of_all_words_together():
    stored = json.loads((models.data_dir() / "whisper-word-errors.json").read_text("utf-8"))
    q4 = models.word_errors().formats["Q4_0"]
    assert q4.share == sum(stored["formats"]["Q4_0"]["errors"]) / sum(stored["words"])


def test_the_page_of_provenance_is_right_about_one_recording():
    formats = models.word_errors().formats
    more = [a - b for a, b in zip(formats["Q4_0"].errors, formats["F16"].errors, strict=True)]
    assert max(more) > sum(more) / 2
    assert "More than half" in (models.data_dir() / "PROVENANCE.md").read_text("utf-8")
