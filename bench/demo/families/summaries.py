"""Summaries of texts that come with the prompt: long input, middling output."""

from __future__ import annotations

from ..law import log_normal
from .base import Family
from .documents import make_document

TEMPLATES = (
    "Summarise the following text about {t}.\n\n{document}",
    "Please condense these notes on {t} into one paragraph.\n\n{document}",
    "{document}\n\nSum up what was said above about {t}.",
    "{document}\n\nWhat are the main points of this report on {t}?",
    "TL;DR of this piece on {t}, please:\n\n{document}",
    "Give me the gist of the text below, which deals with {t}.\n\n{document}",
    "I have no time to read all of this about {t}. What does it say?\n\n{document}",
    "Write an abstract for the following account of {t}.\n\n{document}",
    "{document}\n\nBoil this article on {t} down to the essentials.",
    "{document}\n\nBrief me on the text above; I have a meeting on {t}.",
    "Below are minutes on {t}. List the key decisions in a few lines.\n\n{document}",
    "Read this and summarise it for a colleague who knows nothing of {t}:\n\n{document}",
    "Shorten the text on {t} to its most important statements.\n\n{document}",
    "Provide an executive summary of this document on {t}.\n\n{document}",
    "{document}\n\nIn your own words, what is this text on {t} about?",
    "{document}\n\nCan you recap the report on {t}?",
)

TOPICS = (
    "the new tram line",
    "the restoration of the town hall",
    "the wind farm on the ridge",
    "the merger of the two hospitals",
    "the summer music festival",
    "the school canteen",
    "the fish market by the harbour",
    "the community garden",
    "the flood barrier",
    "the digital land register",
    "the youth football league",
    "the mountain rescue service",
    "the film studio in the old mill",
    "the cheese cooperative",
    "the airport night curfew",
    "the botanical collection",
    "the public swimming pool",
    "the recycling centre",
    "the ferry connection to the islands",
    "the apprenticeship programme",
    "the observatory on the hill",
    "the rural bus service",
    "the textile museum",
    "the beaver reserve",
)

SUMMARIES = Family(
    name="summaries",
    weight=0.12,
    law=log_normal(90, 0.30),
    templates=TEMPLATES,
    topics=TOPICS,
    document=make_document,
)
