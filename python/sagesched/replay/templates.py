"""Prompts of the generated workloads: per cluster a task on a topic, in many wordings.

A length predictor that compares texts can find out a cluster: its prompts share a task and a
topic, while names, numbers and wording vary.
"""

from __future__ import annotations

import random

TASKS: dict[str, tuple[str, ...]] = {
    "label": (
        (
            "Classify this customer message about {subject} as complaint, question or praise. "
            "Answer with one word. Message from {name}: ticket {number}."
        ),
        (
            "Which label fits best, positive, negative or neutral? Review by {name} of "
            "{subject}, rated {small} of 10. Reply with the label only."
        ),
        "Yes or no: does the note no. {number} that {name} left concern {subject}? Just the label.",
        (
            "Tag the following support request on {subject} with a single category. Sender: "
            "{name}, reference {number}."
        ),
    ),
    "extract": (
        (
            "Extract all names, dates and amounts from the record on {subject} filed by {name} "
            "under {number} and return them as JSON."
        ),
        (
            "List the key fields (person, date, price) found in invoice {number} for {subject}, "
            "issued to {name}, as JSON keys."
        ),
        (
            "Parse this form about {subject}: fill a JSON object with person = {name}, id = "
            "{number} and every amount that you can find."
        ),
        (
            "From the {small} pages on {subject} that {name} scanned, pull out the dates and "
            "totals in JSON."
        ),
    ),
    "explain": (
        (
            "Explain to a beginner how {subject} works, with an analogy. {name} asked it in "
            "lesson {small}."
        ),
        (
            "I do not understand {subject}. What are the main ideas, and why does it matter? "
            "Keep it simple, I am {number} days into the subject. Thanks, {name}"
        ),
        "Why is {subject} the way it is? Teach {name} the reasons in {small} steps.",
        "What should everybody know about {subject}? Explain like a patient teacher to {name}.",
    ),
    "letter": (
        (
            "Write a polite email to {name} asking to postpone our meeting about {subject} by "
            "{small} days, with a greeting and a closing line."
        ),
        (
            "Draft a formal letter from {name} to the manager regarding {subject}, case "
            "{number}, with a friendly tone."
        ),
        (
            "Compose a message to my colleague {name} that thanks them for their help with "
            "{subject} and proposes a call at {small} o'clock."
        ),
        "Please write a cover letter for {name}, who applies for position {number} in {subject}.",
    ),
    "essay": (
        (
            "Write a long, detailed essay on the history and future of {subject}, with an "
            "introduction, {small} chapters, examples and a conclusion. Author: {name}."
        ),
        (
            "Produce a comprehensive report of {number} words on {subject} for {name}: "
            "background, methods, comparison, risks, outlook."
        ),
        (
            "Create an in-depth chapter about {subject} with {small} sections, each with "
            "several paragraphs, for a book edited by {name}."
        ),
        (
            "I need an extensive article on {subject} covering all aspects thoroughly, at least "
            "{number} words, to be published by {name}."
        ),
    ),
}
"""Five tasks, those with short answers first, in four phrasings each."""

TOPICS: dict[str, tuple[str, ...]] = {
    "cooking": ("sourdough bread", "a vegetable curry", "roasting chicken", "pasta sauce"),
    "travel": ("a train trip to Rome", "hotel booking", "airport transfers", "hiking in the Alps"),
    "health": ("blood pressure", "sleep hygiene", "knee pain therapy", "the flu vaccine"),
    "finance": ("mortgage interest", "index funds", "income tax returns", "a household budget"),
    "software": ("a Python web server", "SQL joins", "unit testing in Java", "git merge conflicts"),
    "garden": ("pruning roses", "growing tomatoes", "composting leaves", "lawn irrigation"),
    "music": ("jazz piano chords", "violin practice", "choir singing", "guitar tuning"),
    "space": ("the Mars rover", "black holes", "satellite orbits", "the moon landing"),
}
"""Eight topics with the subjects that fill in for them."""

_NAMES = (
    "Ana",
    "Bo",
    "Chen",
    "Dara",
    "Elif",
    "Femi",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kim",
    "Lea",
    "Milan",
    "Noor",
    "Olga",
    "Priya",
)
_TASK_NAMES, _TOPIC_NAMES = tuple(TASKS), tuple(TOPICS)


def cluster_name(cluster: int) -> str:
    """Name of a cluster, such as ``07 label space``; numbers ascend with the median length."""
    task, topic = divmod(cluster, len(_TOPIC_NAMES))
    return f"{cluster:02d} {_TASK_NAMES[task]} {_TOPIC_NAMES[topic]}"


def prompt_text(cluster: int, choice: random.Random) -> str:
    """A prompt of a cluster: a phrasing of its task, then what it is about."""
    task, topic = divmod(cluster, len(_TOPIC_NAMES))
    first, second = choice.sample(TOPICS[_TOPIC_NAMES[topic]], 2)
    request = choice.choice(TASKS[_TASK_NAMES[task]]).format(
        subject=first,
        name=choice.choice(_NAMES),
        number=choice.randrange(100, 10_000),
        small=choice.randrange(2, 10),
    )
    return f"{request} Field: {_TOPIC_NAMES[topic]}, {second}."
