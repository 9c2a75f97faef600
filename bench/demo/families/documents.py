"""Long texts for the summaries: minutes and reports composed from sentences written here."""

from __future__ import annotations

import random

SHORT_WORDS = (80, 220)
LONG_WORDS = (300, 900)
LONG_SHARE = 0.5

OPENINGS = (
    "This report looks back on a full year of work on {t}.",
    "The meeting opened shortly after nine with a long item on {t}.",
    "Few projects in the region have been discussed as much as {t}.",
    "What follows is an account of how {t} came to be where it stands today.",
)

FRAMES = (
    "{actor} explained that {thing} would have to wait until {time}.",
    "According to {actor}, {thing} had cost far more than anybody expected {time}.",
    "There was a lively debate about {thing}, in which {actor} and {actor2} took opposite sides.",
    "{actor} asked for {thing} to be examined by an outside expert before {time}.",
    "Some residents fear that {t} will bring noise, while {actor} pointed to the new jobs.",
    "{time_cap} {actor} visited the site and spoke with {actor2} about {thing}.",
    "A letter from {actor} praised the patience of all who had worked on {thing}.",
    "Nobody could say who was responsible for {thing} when it was first delayed {time}.",
    "{actor} presented three ways to pay for {thing}, none of which found a majority.",
    "The figures on {thing} were checked twice, and {actor2} found two small mistakes.",
    "In the end {actor} proposed to postpone the decision on {thing} until {time}.",
    "It was {actor} who noticed that {thing} and {t} were being counted twice in the budget.",
    "For many in the audience {t} is a matter of pride, as {actor} put it {time}.",
    "{actor} doubted that {thing} could be ready {time} and asked {actor2} for a plan.",
    "By then {thing} had already become a symbol for everything that people disliked about {t}.",
    "A survey among the visitors showed that {thing} mattered more to them than the price.",
    "{actor} recalled how {t} began in a borrowed room with one desk and no telephone.",
    "The contract for {thing} was given to a firm from the neighbouring valley {time}.",
    "When {actor} left, the work on {thing} went on under the eye of {actor2}.",
    "{time_cap} the weather turned, and {thing} suffered more than the experts had predicted.",
    "There is agreement on one point: without {thing} there would be no {t} at all.",
    "{actor} warned against hurry, since {thing} could not be undone once it was begun.",
    "The local paper wrote about {thing} for weeks, often with quotes from {actor}.",
    "Volunteers looked after {thing} {time}, and {actor2} thanked them with a supper.",
)

CLOSINGS = (
    "The next review of {t} is due {time}.",
    "With that, {actor} closed the discussion and thanked everybody for coming.",
    "Whatever happens next, {t} will keep the region busy for years.",
    "A full list of measures is to follow {time}.",
)

ACTORS = (
    "the mayor", "the head of planning", "Professor Lindqvist", "a spokeswoman of the union",
    "the treasurer", "the site engineer", "a group of parents", "the oldest member of the board",
    "the county inspector", "Mrs. Adeyemi", "the architect", "an auditor from the capital",
    "the director of the museum", "two students", "the chair of the farmers' club",
    "the new project manager", "a retired judge", "the harbour pilot", "the school nurse",
    "the deputy minister",
)  # fmt: skip

THINGS = (
    "the access road", "the heating system", "the second phase of the plan", "the annual fee",
    "the training of the staff", "the drainage under the main hall", "the agreement of last spring",
    "the archive of photographs", "the supply of clean water", "the bicycle path",
    "the software for the tickets", "the fire regulations", "the old chestnut trees",
    "the grant from the foundation", "the fence along the railway", "the opening ceremony",
    "the monthly newsletter", "the insurance against flooding", "the roof of the east wing",
    "the timetable",
)  # fmt: skip

TIMES = (
    "before the summer break", "in the last week of November", "within two years",
    "after the elections", "early in the morning", "during the first winter",
    "by the end of the quarter", "on the day of the inspection", "at short notice",
    "in the following spring", "shortly before midnight", "after months of silence",
)  # fmt: skip


def make_document(rng: random.Random, topic: str) -> str:
    """A text about ``topic`` of 80-220 or, as often, 300-900 words."""
    low, high = LONG_WORDS if rng.random() < LONG_SHARE else SHORT_WORDS
    target = rng.randint(low, high)
    sentences = [_fill(rng, rng.choice(OPENINGS), topic)]
    words = len(sentences[0].split())
    frames: list[str] = []
    while words < target - 12:
        frames = frames or rng.sample(FRAMES, len(FRAMES))
        sentences.append(_fill(rng, frames.pop(), topic))
        words += len(sentences[-1].split())
    return " ".join([*sentences, _fill(rng, rng.choice(CLOSINGS), topic)])


def _fill(rng: random.Random, frame: str, topic: str) -> str:
    actor, actor2 = rng.sample(ACTORS, 2)
    time = rng.choice(TIMES)
    sentence = frame.format(
        t=topic,
        actor=actor,
        actor2=actor2,
        thing=rng.choice(THINGS),
        time=time,
        time_cap=time.capitalize() + ",",
    )
    return sentence[0].upper() + sentence[1:]
