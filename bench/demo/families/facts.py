"""Short factual questions: a few words in answer."""

from __future__ import annotations

from ..law import log_normal
from .base import Family

TEMPLATES = (
    "What is {t}?",
    "Tell me {t}, please.",
    "Quick question: {t}?",
    "Do you happen to know {t}?",
    "I need {t}, nothing else.",
    "Could you look up {t} for me? One line will do.",
    "For a pub quiz: {t}?",
    "My crossword asks for {t}. Any idea?",
    "In a word or two, what would be {t}?",
    "I keep forgetting {t}. Remind me.",
    "Fact check: I have to state {t}. What should I put?",
    "Answer briefly. The question is {t}.",
    "Just the answer: {t}.",
    "We are arguing over {t}. Settle it for us.",
    "My daughter wants to know {t}. What do I tell her?",
    "State {t} without any explanation.",
)

TOPICS = (
    "the capital of Mongolia",
    "the chemical symbol for tungsten",
    "the year in which the Suez Canal opened",
    "the longest river in South America",
    "the boiling point of ethanol at sea level",
    "the author of the novel Middlemarch",
    "the number of bones in an adult human hand",
    "the currency used in Vietnam",
    "the planet with the shortest day",
    "the inventor of the safety razor",
    "the official language of Brazil",
    "the highest mountain in Africa",
    "the speed of sound in dry air",
    "the composer of the opera Carmen",
    "the freezing point of water in Fahrenheit",
    "the country with the most time zones",
    "the atomic number of silver",
    "the first woman to win a Nobel Prize",
    "the city that hosted the 1992 Summer Olympics",
    "the largest lake by volume",
    "the name of the strait between Spain and Morocco",
    "the gas that makes up most of our atmosphere",
    "the painter of the Night Watch",
    "the smallest country in the world",
)

FACTS = Family(
    name="facts", weight=0.22, law=log_normal(12, 0.40), templates=TEMPLATES, topics=TOPICS
)
