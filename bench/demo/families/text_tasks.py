"""Translation, extraction and labelling of a sentence or two: an answer as long as its input."""

from __future__ import annotations

from ..law import log_normal
from .base import Family

TEMPLATES = (
    'Translate into French: "{t}"',
    'Put this into Spanish, keeping the tone: "{t}"',
    'Give me the German for the following sentence. "{t}"',
    'How would you say this in Italian? "{t}"',
    'Extract every date, name and amount from this text: "{t}"',
    'List the people and places that are mentioned here: "{t}"',
    'Is the mood of this message positive, neutral or negative? "{t}"',
    'Classify the following as complaint, question or praise: "{t}"',
    'Correct the spelling and grammar, change nothing else: "{t}"',
    'Rewrite in the passive voice: "{t}"',
    'Turn this sentence into a polite question: "{t}"',
    'Make this shorter without losing the point: "{t}"',
    'Return the key facts as JSON with fields who, what and when: "{t}"',
    'Pull the order details out of this note as a table row: "{t}"',
    'Portuguese translation, please: "{t}"',
    'Dutch version of this line for our website: "{t}"',
)

TOPICS = (
    "The parcel that Mrs. Okafor ordered on the third of May has still not left the depot in Leeds",
    "We would like to move our table for six to Saturday evening if you have room",
    "Your technician arrived two hours late and then left without repairing the dishwasher",
    "The committee approved Daniel's budget of forty thousand euros on Tuesday afternoon",
    "I have never slept better in a hotel, and the breakfast with the view was wonderful",
    "The train to Basel leaves from platform nine because of works on the main line",
    "Could somebody tell me whether the museum is open on the first Monday of the month",
    "Jun Tanaka will present the new turbine in Rotterdam in the second week of September",
    "The soup was cold, the waiter was rude, and we still had to pay a service charge",
    "Please send twelve boxes of the blue folders to our office in Porto by Friday",
    "After the storm the harbour master closed the ferry to the island until further notice",
    "Our neighbour kindly watered the tomatoes while we visited my sister in Bergen",
    "The lease ends in October, and the landlord wants an answer before the summer",
    "Amira and Paul signed the contract with the bakery on the corner last Thursday",
    "The app closes by itself whenever I try to attach a photograph to a report",
    "She thanked the night nurse on ward four for her patience with our grandfather",
    "The school trip to the observatory costs eighteen pounds and includes lunch",
    "My flight from Lisbon was cancelled and nobody at the desk could help me",
    "A new bridge over the river will shorten the way to the hospital by ten minutes",
    "The choir rehearses in the old library every Wednesday at half past seven",
    "Could I return the grey jacket, which I bought in your shop in Ghent on Sunday",
    "The beekeeper sold his last jars of heather honey at the market in Inverness",
    "Doctor Silva wrote that the results are fine and that the next visit is in March",
    "The heating in flat twelve has not worked since the weekend and it is freezing",
)

TEXT_TASKS = Family(
    name="text-tasks", weight=0.16, law=log_normal(24, 0.45), templates=TEMPLATES, topics=TOPICS
)
