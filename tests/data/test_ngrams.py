"""N-grams of words and characters, against sets that are written out by hand."""

from __future__ import annotations

from modeltap.data.ngrams import NGramReader, fit_ngrams


def test_the_vocabulary_is_what_enough_texts_have_the_most_frequent_first() -> None:
    texts = ["Good film!", "good Good day", "bad film"]
    fitted = fit_ngrams(texts, words=2, characters=(), vocabulary=10, min_count=2, max_ids=8)
    assert fitted.vocabulary == ("wfilm", "wgood")
    few = fit_ngrams(texts, words=2, characters=(), vocabulary=1, min_count=1, max_ids=8)
    assert few.vocabulary == ("wfilm",)


def test_a_text_has_each_known_ngram_once_words_first() -> None:
    fitted = fit_ngrams(["a b", "a b"], words=2, characters=(2,), vocabulary=100, min_count=1, max_ids=100)
    reader = NGramReader(fitted)
    names = {name: place for place, name in enumerate(fitted.vocabulary, start=1)}
    assert set(names) == {"wa", "wb", "wa b", "c a", "ca ", "c b", "cb "}
    assert reader.read(["A B a unknown", ""]) == [[names[n] for n in ("wa", "wb", "wa b", "c a", "ca ", "c b", "cb ")], []]
    assert reader.size == 8


def test_a_long_text_is_cut_in_ids_and_in_characters() -> None:
    fitted = fit_ngrams(["a b c d e"], words=1, characters=(), vocabulary=9, min_count=1, max_ids=2)
    assert [len(ids) for ids in NGramReader(fitted).read(["e d c b a", "a " * 100_000 + "b"])] == [2, 1]
