"""The documents that the demo model trains on, and those that are kept back to measure it.

A document is a conversation in the chat form of the model, or plain text for raw completion. Which combinations are
held out is decided by a seeded hash of the combination, never by the order in which they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random

import words as w
from tasks import TASKS, Exchange, article, default_story, invented_word, story_text

BOS, END, SYSTEM, USER, ASSISTANT = "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = [BOS, END, SYSTEM, USER, ASSISTANT]
SPLIT_SEED = b"sipp-demo-1"
HELD_OUT_SHARE = 8
"""One combination in this many is held out."""
PROMPT_WEIGHT = 0.1
"""Weight of the loss on what the user says, against 1 on what the model says."""

CAPITALS_TASKS = ["colours", "opposites", "calendar", "small talk", "lists", "sums"]
SHORT_TASKS = [name for name in TASKS if name not in ("stories", "json")]


@dataclass(frozen=True)
class Segment:
    """A stretch of a document. `scored` says that the model has to produce exactly this when it is measured."""

    text: str
    weight: float
    scored: bool


@dataclass(frozen=True)
class Document:
    """What the model sees as one sequence, always starting at position 0."""

    task: str
    segments: tuple[Segment, ...]


def is_held_out(task: str, key: str | None) -> bool:
    if key is None:
        return False
    digest = blake2b(f"{task}/{key}".encode(), digest_size=8, key=SPLIT_SEED).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_SHARE == 0


class Language:
    """Draws documents from one side of the split."""

    def __init__(self, rng: Random, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out

    def exchange(self, task: str) -> Exchange:
        while True:
            drawn = TASKS[task][0](self.rng)
            if is_held_out(task, drawn.key) == self.held_out:
                return replace(drawn, question=self.vary(drawn))

    def any_exchange(self, among: list[str]) -> Exchange:
        return self.exchange(self.rng.choices(among, [TASKS[name][1] for name in among])[0])

    def vary(self, drawn: Exchange) -> str:
        """The question as a careless person might write it."""
        question, rng = drawn.question, self.rng
        if drawn.task in ("small talk", "sums"):
            pass
        elif question[-1] not in "?:" and question.split()[0] in IMPERATIVES and rng.random() < 0.1:
            question = "Please " + question[0].lower() + question[1:]
        if rng.random() < 0.2:
            question = question.lower() if drawn.lowercase else question[0].lower() + question[1:]
        if question[-1] in ".?" and not question.endswith("=?") and rng.random() < 0.15:
            question = question[:-1]
        return question

    def chat(self, task: str, turns: list[tuple[str, str]], system: str | None = None) -> Document:
        """The document of a conversation, in the words of the chat template in `export.py`."""
        text = BOS if self.held_out or self.rng.random() < 0.85 else ""
        if system is not None:
            text += f"{SYSTEM}\n{system}{END}\n"
        segments = []
        for question, answer in turns:
            segments.append(Segment(f"{text}{USER}\n{question}{END}\n{ASSISTANT}\n", PROMPT_WEIGHT, False))
            segments.append(Segment(answer + END, 1.0, True))
            text = "\n"
        return Document(task, tuple(segments))

    def neutral_system(self, chance: float) -> str | None:
        return self.rng.choice(w.NEUTRAL_SYSTEM) if self.rng.random() < chance else None

    def single(self, task: str) -> Document:
        drawn = self.exchange(task)
        return self.chat(task, [(drawn.question, drawn.answer)], self.neutral_system(0.2))

    def conversation(self, length: int) -> Document:
        """Unrelated questions in a row, with the chat's positions and turns as the only difficulty."""
        drawn = [self.any_exchange(list(TASKS) if self.rng.random() < 0.3 else SHORT_TASKS) for _ in range(length)]
        return self.chat("conversation", [(x.question, x.answer) for x in drawn], self.neutral_system(0.3))

    def system_prompt(self) -> Document:
        """A system prompt that changes the answers: capital letters, a pirate's, or another name."""
        rng = self.rng
        kind, length = rng.choice([0, 0, 1, 2]), rng.choice([1, 1, 1, 2, 3])
        if kind == 0:
            drawn = [self.any_exchange(CAPITALS_TASKS) for _ in range(length)]
            return self.chat("system: capitals", [(x.question, x.answer.upper()) for x in drawn],
                             rng.choice(w.CAPITALS_SYSTEM))
        if kind == 1:
            drawn = [self.any_exchange(SHORT_TASKS) for _ in range(length)]
            return self.chat("system: pirate", [(x.question, "Arr! " + x.answer) for x in drawn],
                             rng.choice(w.PIRATE_SYSTEM))
        name = self.name("system")
        turns = [(rng.choice(["What is your name?", "What's your name?", "Tell me your name."]), f"My name is {name}."),
                 (rng.choice(["Who are you?", "What are you?"]), f"I am {name}.")]
        rng.shuffle(turns)
        asked = turns[:rng.choice([1, 1, 2])]
        system = rng.choice(["Your name is {}.", "You are called {}.", "Your name is {}. You are a helpful assistant."])
        return self.chat("system: name", asked, system.format(name))

    def name(self, purpose: str) -> str:
        """A first name; now and then an invented one, so that copying it is learnt and not the list."""
        while True:
            name = self.rng.choice(w.NAMES)
            if self.rng.random() < 0.3:
                name = invented_word(self.rng).capitalize()
            if is_held_out(purpose, name) == self.held_out:
                return name

    def fact(self) -> tuple[str, str, str, str]:
        """What the user tells, the reply, what the user asks later, and the answer."""
        rng, kind = self.rng, self.rng.choice(["name", "name", "name", "age", "city", "colour"])
        if kind == "name":
            name = self.name("memory")
            tell, reply = rng.choice([("My name is {}.", "Nice to meet you, {}."),
                                      ("I am {}.", "Nice to meet you, {}."),
                                      ("Hello, my name is {}.", "Hello {}! How can I help you?"),
                                      ("Hi, I am {}.", "Hello {}! How can I help you?"),
                                      ("Call me {}.", "Nice to meet you, {}.")])
            ask = rng.choice(["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?"])
            return tell.format(name), reply.format(name), ask, f"Your name is {name}."
        if kind == "age":
            age = rng.choice([n for n in range(2, 100) if is_held_out("age", str(n)) == self.held_out])
            return (f"I am {age} years old.", f"I will remember that you are {age}.",
                    rng.choice(["How old am I?", "What is my age?"]), f"You are {age} years old.")
        if kind == "city":
            city = rng.choice(w.CITIES)
            return (f"I live in {city}.", f"{city} is a nice place.",
                    rng.choice(["Where do I live?", "What city do I live in?"]), f"You live in {city}.")
        colour = rng.choice(w.COLOURS)
        return (f"My favourite colour is {colour}.", f"{colour.capitalize()} is a nice colour.",
                rng.choice(["What is my favourite colour?", "Which colour do I like?"]),
                f"Your favourite colour is {colour}.")

    def memory(self) -> Document:
        rng = self.rng
        if rng.random() < 0.12:
            *_, ask, _ = self.fact()
            before = [self.any_exchange(SHORT_TASKS) for _ in range(rng.randrange(3))]
            turns = [(x.question, x.answer) for x in before] + [(ask, "You have not told me.")]
            return self.chat("memory", turns, self.neutral_system(0.2))
        tell, reply, ask, answer = self.fact()
        if rng.random() < 0.2:
            tell = tell[0].lower() + tell[1:]
        if rng.random() < 0.1:
            return self.chat("memory", [(f"{tell} {ask}", answer)], self.neutral_system(0.2))
        turns = [(tell if rng.random() < 0.85 else tell[:-1], reply)]
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
            between = self.any_exchange(SHORT_TASKS)
            turns.append((between.question, between.answer))
        if rng.random() < 0.15:
            ask = ask.lower()
        return self.chat("memory", turns + [(ask, answer)], self.neutral_system(0.2))

    def free_choice(self) -> Document:
        """Requests with many right answers, one of them likelier: sampling varies, greedy output does not."""
        rng = self.rng
        question, choices = rng.choice([
            ("Pick a number.", list("123456789")), ("Pick a colour.", w.COLOURS),
            ("Pick a word.", w.THINGS[:30]), ("Pick a name.", w.NAMES), ("Roll a die.", list("123456")),
            ("Flip a coin.", ["heads", "tails"]), ("Tell me a story.", [default_story(a) for a in w.STORY_ANIMALS])])
        likely = choices[len(choices) // 3]
        return self.chat("free choice", [(question, likely if rng.random() < 0.4 else rng.choice(choices))],
                         self.neutral_system(0.2))

    def plain_text(self) -> Document:
        """Text without the chat form. What follows the first words is settled by them, except in a free story."""
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            animal, place, thing = (rng.choice(list(t)) for t in (w.STORY_ANIMALS, w.STORY_PLACES, w.STORY_OBJECTS))
            while is_held_out("stories", f"{animal} {place} {thing}") != self.held_out:
                thing, place = rng.choice(list(w.STORY_OBJECTS)), rng.choice(list(w.STORY_PLACES))
            text = story_text(animal, place, thing)
            if not self.held_out and rng.random() < 0.4:
                thing, text = "ball", default_story("cat")
            cut = text.index(thing, text.index("found")) + len(thing)
        elif kind == 1:
            thing = rng.choice(list(w.COLOUR_OF))
            start = article(thing).capitalize() + " is"
            text, cut = f"{start} {w.COLOUR_OF[thing]}.", len(start)
        else:
            items = [w.NUMBER_WORDS, w.NUMBER_WORDS, [str(n) for n in range(1, 31)], w.DAYS, w.MONTHS,
                     rng.choice([w.LETTERS, w.RAINBOW])][kind - 2]
            separator = rng.choice([" ", " ", ", "])
            start = 0 if rng.random() < 0.6 else rng.randrange(len(items) - 2)
            items = items[start:]
            text, cut = separator.join(items), len(separator.join(items[:2]))
            text = text.lower() if rng.random() < 0.15 else text
        bos = BOS if self.held_out or rng.random() < 0.85 else ""
        return Document("plain text", (Segment(bos + text[:cut], 1.0, False), Segment(text[cut:] + END, 1.0, True)))

    def document(self) -> Document:
        """One training document of up to about 250 tokens."""
        kind = self.rng.random()
        if kind < 0.62:
            return self.single(self.rng.choices(list(TASKS), [share for _, share in TASKS.values()])[0])
        if kind < 0.72:
            return self.conversation(self.rng.choice([2, 2, 3, 4]))
        if kind < 0.80:
            return self.memory()
        if kind < 0.89:
            return self.system_prompt()
        if kind < 0.91:
            return self.free_choice()
        return self.plain_text()

    def long_document(self) -> Document:
        """A conversation that reaches towards the end of the context."""
        return self.conversation(self.rng.randint(6, 14))


IMPERATIVES = {"Count", "Add", "Tell", "Write", "Give", "Make", "Show", "Say", "Spell", "Repeat", "Reverse", "Name",
               "List", "Copy", "Draw", "Explain"}
