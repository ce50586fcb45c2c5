"""Training text of a small tokenizer: a few hundred simple English sentences of our own."""

from __future__ import annotations

import random

_COUNT, _SEED = 400, 20240918


def _phrases(text: str) -> list[str]:
    """Separated by spaces; an underscore is a space inside a phrase."""
    return [phrase.replace("_", " ") for phrase in text.split()]


_PEOPLE = _phrases(
    "anna ben the_teacher my_sister a_friend the_doctor our_neighbour the_child an_old_man the_driver grandmother "
    "the_captain a_student the_baker your_brother the_farmer nobody everyone the_painter a_stranger the_singer"
)
_ACTIONS = _phrases(
    "walks_to carries_a_bag_to waits_near looks_at dreams_about writes_about drives_to remembers sings_in paints sees "
    "travels_through hurries_past opens_the_door_of tells_stories_about returns_from lives_beside cleans hides_behind"
)
_PLACES = _phrases(
    "the_market the_river a_quiet_street the_school the_big_house an_empty_station the_garden the_harbour the_library "
    "the_mountain a_narrow_bridge the_kitchen the_forest that_village the_hospital the_airport an_island the_castle"
)
_TIMES = _phrases(
    "in_the_morning after_lunch before_the_rain at_night on_sunday every_day once_a_week when_it_is_cold during_winter "
    "since_yesterday until_midnight in_september while_others_sleep for_an_hour next_summer from_time_to_time"
)
_THINGS = _phrases(
    "bread coffee a_letter the_red_book a_small_clock warm_soup an_apple two_tickets a_blue_coat the_key fresh_cheese "
    "a_wooden_chair yellow_flowers the_newspaper a_glass_of_water sweet_oranges an_umbrella the_camera dark_chocolate"
)
_NUMBERS = _phrases("one two three four five six seven eight nine ten eleven twelve")
_WORDS = _phrases(
    "cat dog sun moon tree fish bird ship rain star lamp milk door hand snow horse cloud piano window pepper guitar "
    "button mirror pocket blanket lemon rabbit engine basket candle feather thunder jacket needle planet violin"
)
_FEELINGS = _phrases(
    "happy tired hungry curious quiet busy ready late lucky careful nervous proud gentle afraid thirsty grateful "
    "surprised cheerful lonely patient"
)
_GREETINGS = _phrases("Hello Hi Good_morning Good_evening Welcome Nice_to_meet_you Thank_you Goodbye See_you_soon")

_TEMPLATES = (
    "{person} {action} {place} {time}.",
    "{greeting}, how are you today?",
    "{greeting}. I am {feeling}, and you?",
    "What is {number} plus {other}?",
    "{number} plus {other} makes {third}, I think.",
    "Please spell the word {word}.",
    "The {word} and the {other_word} are in {place}.",
    "Would you like {thing} or {other_thing}?",
    "{person} is {feeling} and wants {thing}.",
    "Can you tell me where {place} is?",
    "It is {number} o'clock, so {person} {action} {place}.",
    "I'm sorry, I didn't hear you. Did you say {word}?",
    "Yes, of course. {person} has {thing}.",
    "No, we don't sell {thing} {time}.",
    "Let me think. There were {number} birds near {place}.",
    "Could you repeat that, please? I heard {number}, not {other}.",
    "Why does {person} bring {thing} {time}?",
    "That sounds wonderful! Tell me more about {place}.",
    "If the weather stays fine, we might visit {place} {time}.",
    "A {word} costs less than a {other_word}, doesn't it?",
)


def sentences() -> list[str]:
    """A few hundred sentences, the same every time, every template equally often."""
    chance = random.Random(_SEED)
    return [_filled(_TEMPLATES[index % len(_TEMPLATES)], chance) for index in range(_COUNT)]


def _filled(template: str, chance: random.Random) -> str:
    person, action, place, time, feeling, greeting = (
        chance.choice(words) for words in (_PEOPLE, _ACTIONS, _PLACES, _TIMES, _FEELINGS, _GREETINGS)
    )
    number, other, third = chance.sample(_NUMBERS, 3)
    word, other_word = chance.sample(_WORDS, 2)
    thing, other_thing = chance.sample(_THINGS, 2)
    sentence = template.format(
        person=person,
        action=action,
        place=place,
        time=time,
        feeling=feeling,
        greeting=greeting,
        number=number,
        other=other,
        third=third,
        word=word,
        other_word=other_word,
        thing=thing,
        other_thing=other_thing,
    )
    return sentence[0].upper() + sentence[1:]
