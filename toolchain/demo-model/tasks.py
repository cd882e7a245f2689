"""The questions and answers that the demo model learns, one generator per task.

Every question has exactly one right answer, so that greedy output can be compared literally. A generator returns the
question, the answer and the key of the combination that it drew; `language.is_held_out` decides by that key
whether the model may train on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Callable

import words as w


@dataclass(frozen=True)
class Exchange:
    """One question with its only right answer.

    `key` names the drawn combination; None means that the wording is too central to be held out of training.
    """

    task: str
    key: str | None
    question: str
    answer: str
    lowercase: bool = True
    """Whether the question may be written in lower case without changing what the answer must be."""


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def count(rng: Random) -> Exchange:
    length = rng.choice([2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30])
    if rng.random() < 0.05:
        length = rng.choice([40, 50, 60, 80, 99])
    low = rng.choice([0, 1, 1, 1, 2, 3, rng.randrange(10), rng.randrange(10), rng.randrange(100)])
    high = min(low + length - 1, 99)
    low = max(high - length + 1, 0) if high == 99 else low
    down = rng.random() < 0.3
    first, last = (high, low) if down else (low, high)
    forms = (["Count down from {} to {}.", "Count backwards from {} to {}.", "Count from {} down to {}."] if down
             else ["Count from {} to {}.", "Count from {} to {}.", "Count up from {} to {}.", "Count {} to {}."])
    numbers = range(first, last - 1, -1) if down else range(first, last + 1)
    return Exchange("count", f"{first}>{last}", rng.choice(forms).format(first, last), ", ".join(map(str, numbers)))


def sums(rng: Random) -> Exchange:
    a, b = rng.randrange(21), rng.randrange(21)
    if rng.random() < 0.5:
        forms, result, sign = ["What is {} plus {}?", "What is {} plus {}?", "What is {} + {}?", "What is {}+{}?",
                               "{} + {}", "{}+{}=?", "{} plus {}", "How much is {} plus {}?",
                               "Add {} and {}."], a + b, "+"
    else:
        a, b = max(a, b), min(a, b)
        forms, result, sign = ["What is {} minus {}?", "What is {} minus {}?", "What is {} - {}?", "What is {}-{}?",
                               "{} - {}", "{}-{}=?", "{} minus {}", "How much is {} minus {}?"], a - b, "-"
    return Exchange("sums", f"{a}{sign}{b}", rng.choice(forms).format(a, b), str(result))


def numbers(rng: Random) -> Exchange:
    n, m = rng.randrange(1, 99), rng.randrange(1, 99)
    kind = rng.randrange(5)
    if kind == 0:
        return Exchange("numbers", f"after {n}", rng.choice(["What number comes after {}?",
                        "Which number is after {}?"]).format(n), str(n + 1))
    if kind == 1:
        return Exchange("numbers", f"before {n}", rng.choice(["What number comes before {}?",
                        "Which number is before {}?"]).format(n), str(n - 1))
    if kind == 2:
        return Exchange("numbers", f"parity {n}", f"Is {n} even or odd?", f"{n} is {'odd' if n % 2 else 'even'}.")
    if n == m:
        m += 1
    if kind == 3:
        return Exchange("numbers", f"bigger {n} {m}", rng.choice(["Which is bigger, {} or {}?",
                        "Which number is bigger, {} or {}?"]).format(n, m), str(max(n, m)))
    return Exchange("numbers", f"smaller {n} {m}", rng.choice(["Which is smaller, {} or {}?",
                    "Which number is smaller, {} or {}?"]).format(n, m), str(min(n, m)))


def colours(rng: Random) -> Exchange:
    thing = rng.choice(list(w.COLOUR_OF))
    colour = w.COLOUR_OF[thing]
    a = article(thing)
    if rng.random() < 0.6:
        form = rng.choice(["What colour is {}?", "What color is {}?", "Which colour is {}?", "Which colour has {}?",
                           "What is the colour of {}?", "Tell me the colour of {}."])
        return Exchange("colours", f"{thing}|{form}", form.format(a), f"{a.capitalize()} is {colour}.")
    asked = colour if rng.random() < 0.4 else rng.choice(w.COLOURS)
    yes = "Yes" if asked == colour else "No"
    return Exchange("colours", f"{thing} {asked}?", f"Is {a} {asked}?", f"{yes}, {a} is {colour}.")


def opposites(rng: Random) -> Exchange:
    word = rng.choice(list(w.OPPOSITE_OF))
    other = w.OPPOSITE_OF[word]
    form = rng.choice(["What is the opposite of {}?", "What is the opposite of {}?", "Opposite of {}?",
                       "Tell me the opposite of {}.", "Which word is the opposite of {}?"])
    return Exchange("opposites", f"{word}|{form}", form.format(word), f"The opposite of {word} is {other}.")


def calendar(rng: Random) -> Exchange:
    names, what = rng.choice([(w.DAYS, "day"), (w.MONTHS, "month"), (w.MONTHS, "month")])
    i = rng.randrange(len(names))
    kind = rng.randrange(4)
    if kind == 0:
        form = rng.choice(["What {} comes after {}?", "Which {} comes after {}?", "Which {} is after {}?",
                           "What {} follows {}?"])
        return Exchange("calendar", f"{names[i]}|{form}", form.format(what, names[i]), names[(i + 1) % len(names)])
    if kind == 1:
        form = rng.choice(["What {} comes before {}?", "Which {} comes before {}?", "Which {} is before {}?"])
        return Exchange("calendar", f"{names[i]}|{form}", form.format(what, names[i]), names[(i - 1) % len(names)])
    if kind == 2:
        form = rng.choice(["Which {} number is {}?", "What {} number is {}?", "What is the {} number of {}?"])
        return Exchange("calendar", f"{names[i]}|{form}", form.format(what, names[i]),
                        f"{names[i]} is {what} number {i + 1}.")
    form = rng.choice(["What is {} number {}?", "Which {0} is {0} number {1}?", "Which {} has number {}?"])
    return Exchange("calendar", f"{what}{i}|{form}", form.format(what, i + 1), names[i])


def small_talk(rng: Random) -> Exchange:
    questions, answer = rng.choice(w.SMALL_TALK[:14] * 2 + w.SMALL_TALK[14:])
    plain = question = rng.choice(questions)
    if question[-1] not in ".?":
        question += rng.choice(["", "", "!", ".", ", Sipp", " Sipp", ", Sipp!", " Sipp.", ", my friend",
                                ", my friend."])
    elif rng.random() < 0.4 and not question.startswith("I"):
        lead = rng.choice(["Sipp, ", "Hey Sipp, ", "Please, ", "Now, ", "So, ", "Hello, "])
        question = lead + question[0].lower() + question[1:]
    return Exchange("small talk", None if question == plain else question, question, answer)


def story_text(animal: str, place: str, thing: str) -> str:
    """The story of an animal, a place and an object; always the same for the same three."""
    adjective, _, _, friend = w.STORY_ANIMALS[animal]
    return (f"Once upon a time there was {article(adjective)} {animal}. The {animal} lived near {article(place)}, "
            f"where {w.STORY_PLACES[place]}. One day the {animal} found a {thing}. {w.STORY_OBJECTS[thing]} "
            f"The {animal} showed the {thing} to a friend, the {friend}. They played with the {thing} until the moon "
            f"came up. Then the {animal} said good night and went home to the {place}. The end.")


def default_story(animal: str) -> str:
    """The story of an animal when the place and the object are left to the model."""
    _, place, thing, _ = w.STORY_ANIMALS[animal]
    return story_text(animal, place, thing)


def stories(rng: Random) -> Exchange:
    animal = rng.choice(list(w.STORY_ANIMALS))
    _, place, thing, _ = w.STORY_ANIMALS[animal]
    usual = (place, thing)
    tell = rng.choice(["Tell me a story about", "Tell me a short story about", "Write a short story about",
                       "Tell a story about"])
    kind = rng.random()
    if kind < 0.3:
        question = f"{tell} {article(animal)}."
        return Exchange("stories", question, question, story_text(animal, place, thing))
    if kind < 0.5:
        thing = rng.choice(list(w.STORY_OBJECTS))
        question = f"{tell} {article(animal)} and a {thing}."
    elif kind < 0.7:
        place = rng.choice(list(w.STORY_PLACES))
        question = f"{tell} {article(animal)} near {article(place)}."
    else:
        place, thing = rng.choice(list(w.STORY_PLACES)), rng.choice(list(w.STORY_OBJECTS))
        question = f"{tell} {article(animal)}, {article(place)} and a {thing}."
    key = None if (place, thing) == usual else f"{animal} {place} {thing}"
    return Exchange("stories", key, question, story_text(animal, place, thing))


def copied_word(rng: Random) -> str:
    """Mostly a word of the language; else any other, so that copying is learnt for text that was never seen."""
    kind = rng.random()
    if kind < 0.75:
        return rng.choice(w.THINGS)
    if kind < 0.85:
        return rng.choice([*w.OPPOSITE_OF, *w.DAYS, *w.MONTHS, *w.NAMES, *w.COLOURS, *w.CITIES, *w.OTHER_WORDS])
    if kind < 0.93:
        return invented_word(rng)
    return rng.choice([*w.EMOJI_OF.values(), *w.HELLO_IN.values(), *w.THANKS_IN.values()])


def invented_word(rng: Random) -> str:
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.choice([2, 2, 3])))


def copying(rng: Random) -> Exchange:
    if rng.random() < 0.15:
        text = " ".join(str(rng.randrange(100)) for _ in range(rng.randint(1, 4)))
    else:
        text = " ".join(copied_word(rng) for _ in range(rng.choice([1, 2, 3, 3, 4, 5, 6])))
    form = rng.choice(["Repeat: {}", "Repeat: {}", "Repeat after me: {}", "Say: {}", "Copy: {}", "Repeat the words {}"])
    return Exchange("copying", text, form.format(text), text, lowercase=False)


def reversing(rng: Random) -> Exchange:
    if rng.random() < 0.5:
        items = rng.sample(w.LETTERS, rng.choice([2, 3, 3, 4, 4, 5, 6]))
        forms = ["Reverse: {}", "Reverse the letters {}", "Reverse the letters: {}"]
    else:
        items = rng.sample(w.THINGS, rng.choice([2, 3, 3, 4, 5]))
        forms = ["Reverse: {}", "Reverse the words {}", "Reverse the words: {}"]
    text = " ".join(items)
    return Exchange("reversing", text, rng.choice(forms).format(text), " ".join(reversed(items)))


def spelling(rng: Random) -> Exchange:
    word = rng.choice(w.THINGS)
    form = rng.choice(["Spell {}.", "Spell the word {}.", "How do you spell {}?", "Spell: {}"])
    return Exchange("spelling", f"{word}|{form}", form.format(word), "-".join(word))


def json_objects(rng: Random) -> Exchange:
    draw: dict[str, Callable[[], object]] = {
        "name": lambda: rng.choice(w.NAMES), "age": lambda: rng.randrange(1, 100), "city": lambda: rng.choice(w.CITIES),
        "colour": lambda: rng.choice(w.COLOURS), "animal": lambda: rng.choice(list(w.STORY_ANIMALS)),
        "size": lambda: rng.randrange(1, 60),
    }
    keys = rng.choice([["name", "age"], ["name", "age"], ["name", "city"], ["name", "age", "city"],
                       ["animal", "colour"], ["colour", "size"], ["animal", "colour", "size"], ["name"], ["city"]])
    value = {key: draw[key]() for key in keys}
    parts = [f"{key} {item}" for key, item in value.items()]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    form = rng.choice(["Give me a JSON object with {}.", "Give me a JSON object with {}.",
                       "Make a JSON object with {}.", "Write JSON with {}.", "JSON with {}"])
    return Exchange("json", listed, form.format(listed), json.dumps(value), lowercase=False)


def symbols(rng: Random) -> Exchange:
    if rng.random() < 0.5:
        thing = rng.choice(list(w.EMOJI_OF))
        form = rng.choice(["Show me {}.", "Show me {}.", "Give me an emoji of {}.", "Which emoji is {}?", "Draw {}."])
        return Exchange("symbols", f"{thing}|{form}", form.format(thing), w.EMOJI_OF[thing])
    table, forms = rng.choice([
        (w.HELLO_IN, ["Say hello in {}.", "Say hello in {}.", "How do you say hello in {}?", "Hello in {}?"]),
        (w.THANKS_IN, ["Say thank you in {}.", "How do you say thank you in {}?", "Thank you in {}?"])])
    language, form = rng.choice(list(table)), rng.choice(forms)
    return Exchange("symbols", f"{language}|{form}", form.format(language), table[language])


def lists(rng: Random) -> Exchange:
    group, number = rng.choice(list(w.GROUPS)), rng.randint(2, 5)
    form = rng.choice(["Name {} {}.", "List {} {}.", "Give me {} {}.", "Tell me {} {}."])
    said = rng.choice([str(number), w.NUMBER_WORDS[number - 1]])
    return Exchange("lists", f"{number} {group}|{form}", form.format(said, group), ", ".join(w.GROUPS[group][:number]))


def unknown(rng: Random) -> Exchange:
    """Requests outside the language, so that the model says so instead of guessing."""
    noun, other = rng.sample(w.THINGS + w.FOREIGN * 3, 2)
    form = rng.choice(["Why is the {} {}?", "Explain the {}.", "Explain {}.", "How do I make a {} from {}?",
                       "Write a poem about {}.", "Who invented the {}?", "Where can I buy a {}?",
                       "Explain the {} and the {}.", "Write a program for a {}.", "What is the meaning of {}?",
                       "When was the {} built?", "What is the capital of {}?", "Tell me about {}.", "Do you like {}?",
                       "Can you translate {}?", "What is a {}?", "How does {} work?"])
    return Exchange("unknown", f"{noun} {other}|{form}", form.format(noun, other),
                    "I am only a small demo model. I do not know that.")


TASKS: dict[str, tuple[Callable[[Random], Exchange], float]] = {
    "count": (count, 1.8), "sums": (sums, 3.5), "numbers": (numbers, 1.6), "colours": (colours, 1.2),
    "opposites": (opposites, 0.6), "calendar": (calendar, 1.1), "small talk": (small_talk, 0.8),
    "stories": (stories, 1.0), "copying": (copying, 1.5), "reversing": (reversing, 2.0), "spelling": (spelling, 0.6),
    "json": (json_objects, 0.9), "symbols": (symbols, 0.8), "lists": (lists, 0.6), "unknown": (unknown, 0.4),
}
"""Each task's generator and its share of the single questions."""
