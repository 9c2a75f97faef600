"""Small talk: a friendly paragraph back."""

from __future__ import annotations

from ..law import log_normal
from .base import Family

TEMPLATES = (
    "Hey! {t}. How is your day going?",
    "Guess what: {t}!",
    "So, {t}. I just wanted to tell somebody.",
    "You will not believe it, but {t}.",
    "Good morning! {t}, and I am in a great mood.",
    "Well, {t}. What do you make of that?",
    "I am bored, let us chat. {t}.",
    "Honestly, {t}. Have you ever heard of such a thing?",
    "Funny story: {t}.",
    "Hi there, {t}. Say something nice to me.",
    "It has been a long week, and {t}. Cheer me up a bit.",
    "Hello again! Since we last talked {t}.",
    "Oh dear, {t}. Am I the only one?",
    "Between you and me, {t}. Any thoughts?",
    "Evening! {t}. Just saying hello.",
    "Can you believe that {t}? I am still laughing.",
)

TOPICS = (
    "I finally finished painting the kitchen",
    "my cat wakes me at five every single morning",
    "we adopted a very old and very grumpy dog",
    "I burned the pancakes twice today",
    "my best friend is moving back to our town",
    "the neighbours have started to learn the trumpet",
    "I slept through my alarm and missed the bus",
    "my grandmother beat me at chess again",
    "it rained on the only day I hung out the washing",
    "I found a love letter in a second-hand book",
    "my sourdough starter has a name now",
    "my brother showed up in the same shirt as mine",
    "I signed up for a half marathon by mistake",
    "somebody left a pumpkin on our doorstep",
    "I have been humming the same tune all day",
    "our office plant is taller than my boss",
    "I waved at a stranger who was waving at someone else",
    "my son wants to become a lighthouse keeper",
    "we got lost on the way to our own street party",
    "I bought a typewriter and have no idea why",
    "a pigeon sat next to me through my whole lunch",
    "my sister called just to tell me a joke",
    "the barista spelled my name right for once",
    "I taught my parrot to say good night",
)

SMALL_TALK = Family(
    name="small-talk", weight=0.14, law=log_normal(40, 0.50), templates=TEMPLATES, topics=TOPICS
)
