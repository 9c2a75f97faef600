"""Essays, stories and reports: the longest answers."""

from __future__ import annotations

from ..law import log_normal
from .base import Family

TEMPLATES = (
    "Write a detailed essay about {t}.",
    "I would like a long article on {t}, with an introduction and a conclusion.",
    "Compose a thoughtful blog post on {t}.",
    "Give me a comprehensive report that covers all sides of {t}.",
    "Write a speech of several minutes about {t}.",
    "Draft a feature story for a magazine about {t}, rich in detail.",
    "Prepare an in-depth discussion paper on {t}.",
    "Please write a chapter for a popular book on {t}.",
    "Write an argumentative essay for my seminar on {t}.",
    "Develop a full-length opinion column about {t}.",
    "Elaborate at length on {t}, with examples from several countries.",
    "Create a long-form newsletter about {t} for curious readers.",
    "Tell a long short story that revolves around {t}.",
    "Write an extended encyclopaedia entry on {t}.",
    "Write five or six paragraphs that explore {t}.",
    "I need a thorough background piece of many paragraphs about {t}.",
)

TOPICS = (
    "the history of lighthouses and those who kept them",
    "the ethics of keeping animals in zoos",
    "the effect of remote work on small towns",
    "how the printing press changed religion",
    "the future of public libraries",
    "the role of silence in music",
    "why empires decline",
    "the return of night trains in Europe",
    "what friendship means in the age of social networks",
    "the economics of urban farming",
    "the discovery of penicillin and its consequences",
    "how maps shape the way we think",
    "the place of handwriting in modern schools",
    "the rise and fall of the department store",
    "the beauty and the danger of deep caves",
    "migration as a force in world literature",
    "the case for and against a universal basic income",
    "the cultural life of coffee houses",
    "the restoration of rivers in old industrial valleys",
    "the search for life on icy moons",
    "the influence of weather on famous battles",
    "the changing idea of childhood",
    "the craft of translation",
    "the lost cities of the desert trade",
)

ESSAYS = Family(
    name="essays", weight=0.10, law=log_normal(380, 0.35), templates=TEMPLATES, topics=TOPICS
)
