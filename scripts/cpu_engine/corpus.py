"""English sentences for training the tiny tokenizer, composed from the word lists below."""

from __future__ import annotations

import random
from collections.abc import Iterator


def phrases(text: str) -> list[str]:
    """What bars and line ends separate, without the space around it."""
    return [part.strip() for line in text.splitlines() for part in line.split("|") if part.strip()]


PEOPLE = phrases(
    """
    the teacher | a doctor | our neighbour | the engineer | a young student | the captain
    my sister | the committee | a careful reader | the gardener | an old friend | the manager
    a traveller | the scientist | the customer | a new colleague | the author | the mayor
    every parent | the musician | a nurse | the company | the government | the visitor
    a programmer | the editor | most people | nobody | someone | the whole team
    """
)
VERBS = phrases(
    """
    explains | describes | remembers | changes | compares | writes about | improves | studies
    prepares | chooses | discusses | questions | understands | summarises | translates
    finishes | measures | protects | repairs | presents | considers | discovers | builds
    collects | organises | returns to | looks for | thinks about | learns | works on | pays for
    plans | reports on | believes in | supports | opens | reviews | calculates | tests
    """
)
THINGS = phrases(
    """
    the history of the city | a simple recipe | the weather in winter | an important letter
    the price of bread | a function in the program | the result of the experiment
    the meaning of the word | a long journey by train | the second chapter
    the difference between two ideas | the water in the river | a list of numbers
    the last email | the garden behind the house | the structure of the sentence
    a problem in mathematics | the story of a small village | the answer to the question
    public transport | the main reason | a new language | the data in the table | the human body
    the light of the moon | music | the first step | an essay on education | energy and industry
    the rules of the game | health and food | the source code | a message to the customer
    the number of hours | the total cost | the animals of the forest | a political decision
    the development of science | an example from practice | the quality of the air
    the summary of the meeting | a short poem | the system | the computer | the market
    the world | the law
    """
)
REASONS = phrases(
    """
    because it is useful | although there is little time | when the others have left
    in a few words | step by step | as clearly as possible | after a long discussion
    before the end of the week | without any help | with great care | for the first time
    in spite of the rain | if nothing goes wrong | so that everyone can follow
    while the children play outside | more than once | at the same time | which was not expected
    and then starts again | but only for a moment | under these conditions
    in order to save money | since the beginning of the year | wherever it is possible
    for several years
    """
)
REQUESTS = phrases(
    """
    please explain | write a short story about | give three examples of
    summarise in one paragraph | what is | how does one describe | why do we need
    could you tell me about | translate into French | calculate | write a Python function for
    list the advantages of | what happened to | think carefully about
    correct the following text on | compare with | who was the first to study | where can I find
    make a plan for | is it true that there is | when should one mention | help me to understand
    """
)
CODE = phrases(
    """
    def solve(values): |     for item in values: |     if count > 0: |         return result
        total += 1 | import math | class Node: | print("done") |     while left < right:
    x = [1, 2, 3] | SELECT name FROM users; | {"name": "value", "size": 10}
    function add(a, b) { return a + b; } | # 12.5% of 2024 is about 253
    """
)


def sentences(count: int, seed: int = 0) -> Iterator[str]:
    """``count`` lines: three in four statements, the others questions, code and numbers."""
    rng = random.Random(seed)
    for number in range(count):
        if number % 8 == 3:
            yield rng.choice(CODE)
        elif number % 8 == 7:
            yield f"{rng.choice(REQUESTS).capitalize()} {rng.choice(THINGS)}?"
        else:
            who, what = rng.choice(PEOPLE), rng.choice(THINGS)
            text = f"{who} {rng.choice(VERBS)} {what} {rng.choice(REASONS)}"
            yield text[0].upper() + text[1:] + rng.choice([".", ".", ",", "!", f" ({number})."])
