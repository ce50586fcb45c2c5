"""Exchanges of the world: what callers ask and what Moshi answers. Text only: no sound, no time.

A question is a tuple of parts; a caller may hesitate between two parts, never within one. Which exchanges exist is
decided by `split`: combinations in `unseen` are asked in the evaluation only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.world.holdout import Split, held_out
from training.world.words import COLORS, DAYS, MONTHS, NAMES, NUMBERS, OPPOSITES, REPEATED, SPELLED

GREETING = "hello i am moshi"
COURTESIES = (
    ("how are you", "i am fine thank you"),
    ("what is your name", "my name is moshi"),
    ("thank you", "you are welcome"),
    ("good morning", "good morning"),
    ("hello", "hello"),
)
_COUNTED = NUMBERS[:11]
ANY_WORD = tuple(sorted({*REPEATED, *SPELLED, *NAMES, *_COUNTED[1:], *(word for pair in OPPOSITES for word in pair)}))


@dataclass(frozen=True)
class Exchange:
    """One question and its right answer, lower case, no punctuation."""

    kind: str
    question: tuple[str, ...]
    reply: str
    unseen: bool = False  # a combination that training leaves out


@dataclass
class Memory:
    """What Moshi has been told in this call."""

    name: str | None = None


def name_given(random: Random, split: Split, memory: Memory) -> Exchange:
    memory.name = random.choice(NAMES)
    lead = random.choice(("my name is", "i am"))
    return Exchange("name", (lead, memory.name), f"nice to meet you {memory.name}")


def name_asked(random: Random, split: Split, memory: Memory) -> Exchange:
    reply = f"your name is {memory.name}" if memory.name else "i do not know your name"
    return Exchange("name-asked", ("what is my name",), reply)


def plus(random: Random, split: Split, memory: Memory) -> Exchange:
    """Training leaves out some ordered pairs, never a pair and its mirror."""
    while True:
        a, b = random.randint(1, 6), random.randint(1, 6)
        unseen = a > b and held_out("plus", f"{a} {b}", one_in=4)
        if not unseen or split == "eval":
            break
    asked = f"{NUMBERS[a]} plus {NUMBERS[b]}"
    return Exchange("plus", ("what is", asked), f"{asked} is {NUMBERS[a + b]}", unseen)


def minus(random: Random, split: Split, memory: Memory) -> Exchange:
    b = random.randint(1, 5)
    a = random.randint(b + 1, b + 5)
    asked = f"{NUMBERS[a]} minus {NUMBERS[b]}"
    return Exchange("minus", ("what is", asked), f"{asked} is {NUMBERS[a - b]}")


def spell(random: Random, split: Split, memory: Memory) -> Exchange:
    word = random.choice(SPELLED)
    lead = random.choice(("spell", "how do you spell"))
    return Exchange("spell", (lead, word), f"{word} is {' '.join(word)}")


def repeat(random: Random, split: Split, memory: Memory) -> Exchange:
    """A third of the word tuples is left to the evaluation, which asks for nothing else.

    In training two of three tuples are drawn from many more words: few tuples could be learnt by heart, and then a pair
    that was left out would be taken for the beginning of a triple.
    """
    while True:
        more = split == "train" and random.random() < 2 / 3
        words = random.sample(ANY_WORD if more else REPEATED, random.choice((2, 2, 3)))
        said = " ".join(words)
        unseen = held_out("repeat", said, one_in=3)
        if unseen == (split == "eval"):
            break
    lead = random.choice(("repeat after me", "please say"))
    return Exchange("repeat", (lead, said), said, unseen)


def neighbour(random: Random, split: Split, memory: Memory) -> Exchange:
    cycle = random.choice((DAYS, DAYS, MONTHS, MONTHS, _COUNTED))
    # Days and months go round, numbers do not.
    position = random.randint(1, len(cycle) - 2) if cycle is _COUNTED else random.randrange(len(cycle))
    side, step = random.choice((("after", 1), ("before", -1)))
    asked, answer = cycle[position], cycle[(position + step) % len(cycle)]
    return Exchange("neighbour", ("what comes", f"{side} {asked}"), f"{side} {asked} comes {answer}")


def color(random: Random, split: Split, memory: Memory) -> Exchange:
    thing = random.choice(tuple(COLORS))
    return Exchange("color", ("what color is", f"the {thing}"), f"the {thing} is {COLORS[thing]}")


def opposite(random: Random, split: Split, memory: Memory) -> Exchange:
    pair = random.choice(OPPOSITES)
    asked, answer = random.choice((pair, pair[::-1]))
    return Exchange("opposite", ("what is the opposite of", asked), f"the opposite of {asked} is {answer}")


def courtesy(random: Random, split: Split, memory: Memory) -> Exchange:
    question, reply = random.choice(COURTESIES)
    return Exchange("courtesy", (question,), reply)


def long_list(random: Random, split: Split, memory: Memory) -> Exchange:
    """Answers of three seconds and more: what callers talk over."""
    question, reply = random.choice(
        (
            (("count", "to ten"), " ".join(NUMBERS[1:11])),
            (("tell me", "the days"), " ".join(DAYS)),
            (("tell me", "the months"), " ".join(MONTHS)),
        )
    )
    return Exchange("list", question, reply)


def farewell() -> Exchange:
    return Exchange("farewell", ("goodbye",), "goodbye")


Maker = Callable[[Random, Split, Memory], Exchange]
# Maker, how often it is asked in the evaluation, how often in training: there more often what is hard to hear, single
# words that nothing around them gives away.
MAKERS: tuple[tuple[Maker, int, int], ...] = (
    (name_given, 10, 16), (name_asked, 8, 12), (plus, 12, 14), (minus, 10, 8), (spell, 12, 16), (repeat, 18, 60),
    (neighbour, 14, 14), (color, 5, 4), (opposite, 8, 14), (courtesy, 9, 6), (long_list, 5, 4),
)  # fmt: skip


def ask(random: Random, split: Split, memory: Memory) -> Exchange:
    """A question that makes sense after what `memory` holds."""
    makers, in_evaluation, in_training = zip(*MAKERS, strict=True)
    maker: Maker = random.choices(makers, in_training if split == "train" else in_evaluation)[0]
    return maker(random, split, memory)
