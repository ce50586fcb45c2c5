"""Vocabulary of the world, by meaning. Short lists of words that sound apart also after a telephone line."""

from __future__ import annotations

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
NAMES = (
    "anna", "peter", "maria", "david", "laura", "thomas",
    "helen", "robert", "julia", "kevin", "sarah", "oscar",
)  # fmt: skip
SPELLED = (
    "cat", "dog", "sun", "pen", "cup", "box", "bus", "map", "key", "egg", "ice", "owl",
    "pig", "zoo", "jam", "leg", "arm", "sky", "fox", "ear",
)  # fmt: skip
REPEATED = (
    "blue", "red", "green", "yellow", "black", "white", "orange", "purple", "dog", "bird", "horse", "fish",
    "tiger", "rabbit", "house", "river", "garden", "window", "table", "apple", "lemon", "coffee", "winter", "paper",
)  # fmt: skip
COLORS = {
    "sky": "blue", "grass": "green", "snow": "white", "sun": "yellow", "night": "black", "fire": "red",
}  # fmt: skip
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("fast", "slow"),
    ("happy", "sad"), ("left", "right"), ("open", "closed"), ("rich", "poor"),
)  # fmt: skip
