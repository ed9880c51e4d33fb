"""Words to sing, by language: syllables that a speech program can say one at a time."""

from __future__ import annotations

import numpy as np

# Words by language of the speech program; a hyphen joins the syllables of a word.
WORDS = {
    "en": "love night day you me sun rain home time go know see way heart sky fall run light long"
    " blue road dream song more low near gone down wind moon new line rose man may sea boy girl"
    " o-ver lone-ly ri-ver a-way to-night sum-mer mor-ning ne-ver ho-ney ba-by dan-cing for-ev-er"
    " stay with all my the in and when I we're like say what if feel hold on roll-ing win-dow",
    "it": "a-mo-re so-le ma-re lu-na not-te cuo-re vi-ta bel-la stel-la vo-la can-ta con te per me"
    " che sei tu so-lo sem-pre gior-no vien-to ca-ro pa-ne la-go",
    "es": "a-mor so-ña lu-na sol no-che vi-da co-ra-zón ma-no cie-lo ca-sa por ti mi que no más"
    " siem-pre to-do mun-do can-ta bai-la a-gua ni-ña",
    "de": "lie-be nacht tag mond licht herz him-mel le-ben wind meer lied für dich mein wir sind"
    " wei-ter schö-ne son-ne trau-men im-mer heu-te al-lein",
    "fr": "a-mour nuit jour lune ciel cœur vie mer vent chan-son pour toi mon je suis tou-jours"
    " ma-tin le bleu en-core so-leil",
    "pt": "a-mor mar sol lu-a noi-te vi-da co-ra-ção céu ca-sa vem pra mim tu não mais sem-pre"
    " can-ta sau-da-de ven-to",
    "sv": "kär-lek natt dag sol må-ne hav vind hjär-ta sång vi du jag him-mel liv all-tid mor-gon"
    " blå hem lju-set",
    "nl": "lief-de nacht dag zon maan zee wind hart lied jij en ik al-tijd mor-gen le-ven he-mel"
    " blauw thuis",
    "pl": "mi-łość noc dzień słoń-ce ser-ce wia-tr mo-rze ty ja dom nie-bo pieśń za-wsze ra-no",
    "ja": "ko-ko-ro so-ra u-mi ha-na yo-ru ka-ze a-me hi-ka-ri ki-mi to no de mo yu-me so-no",
}
HUMS = ("mm",)
NONSENSE = ("la", "da", "na", "oh", "ooh", "ah", "doo", "yeah")
MELISMA = "-"  # the vowel of the syllable before goes on
LANGUAGES = tuple(WORDS)
_ENGLISH_SHARE = 0.4


def random_language(rng: np.random.Generator) -> str:
    """A language of `WORDS`; English more often, as in what will be sung to the model."""
    if rng.random() < _ENGLISH_SHARE:
        return "en"
    return str(rng.choice(LANGUAGES[1:]))


def vocabulary(language: str, rng: np.random.Generator) -> list[list[str]]:
    """The words of one song as syllables: humming, a nonsense syllable or two, or some words."""
    kind = rng.random()
    if kind < 0.08:
        return [[HUMS[0]]]
    if kind < 0.24:
        return [[str(one)] for one in rng.choice(NONSENSE, size=rng.integers(1, 3), replace=False)]
    words = WORDS[language].split()
    chosen = rng.choice(words, size=min(len(words), int(rng.integers(7, 12))), replace=False)
    return [str(word).split("-") for word in chosen]


def line(words: list[list[str]], count: int, rng: np.random.Generator) -> list[str]:
    """`count` syllables of words in a row; the last word is whole where it fits."""
    syllables: list[str] = []
    while len(syllables) < count:
        fitting = [word for word in words if len(word) <= count - len(syllables)]
        word = (fitting or words)[rng.integers(len(fitting or words))]
        syllables += word[: count - len(syllables)]
    return syllables
