"""Step-by-step reasoning: the prompt does not tell whether the short way will be found."""

from __future__ import annotations

from ..law import LengthLaw, Mode
from .base import Family

TEMPLATES = (
    "Solve this step by step. {t}",
    "Think carefully before you answer. {t}",
    "{t} Explain your reasoning in full.",
    "{t} Show all the intermediate steps of the calculation.",
    "Here is a puzzle for you: {t} Work it out logically.",
    "A riddle from my maths teacher. {t} Prove your answer.",
    "Reason through the following problem. {t}",
    "{t} Derive the result, do not guess.",
    "{t} Take it one step at a time and check the result at the end.",
    "Work through this word problem and justify each step: {t}",
    "Let us think step by step. {t}",
    "{t} I would like to see the whole chain of thought.",
    "Competition problem: {t} Give the full solution.",
    "{t} Consider every case, then conclude.",
    "Logic exercise. {t} Argue from the premises to the conclusion.",
    "{t} How do you get there? Write out the argument.",
)

TOPICS = (
    "A tank fills in six hours and drains in nine; with both valves open, when is it full?",
    "Three friends share a bill so that each pays twice as much as the one before; who pays what?",
    "Two trains start towards each other, one half as fast as the other; where do they meet?",
    "Anna is older than Ben, Ben is younger than Carl, and Carl is not the oldest; who is oldest?",
    "A snail climbs three metres by day and slips two at night; how long does it need for a well?",
    "Five houses in a row all differ in colour, red left of green; which orders are possible?",
    "A shop first raises its prices by a fifth and then lowers them by a fifth; who gains?",
    "Of nine coins one is lighter; how few weighings on a balance find it?",
    "The sum of two numbers is forty and their difference is a prime; which numbers can they be?",
    "A farmer crosses a river with a fox, a goose and a sack of corn; in which order?",
    "How many handshakes take place when everybody in a class greets everybody else?",
    "A knight always lies or always speaks the truth; what single question finds the safe road?",
    "A rectangle keeps its area while its width grows by a half; what happens to its length?",
    "Two dice are thrown, and at least one shows a six; how likely is a double six?",
    "One candle burns for four hours, another for six; when is one twice as long as the other?",
    "Four people cross a bridge with one torch at different speeds; what is the fastest way?",
    "A clock loses five minutes every hour; when does it show the right time again?",
    "Three switches belong to one lamp in the next room; how do you find the right one?",
    "A frog jumps half of the remaining distance each time; does it ever reach the wall?",
    "The ages of a father and a son add up to sixty-six with digits reversed; how old are they?",
    "A box holds red and blue socks in the dark; how many must you draw to be sure of a pair?",
    "Every second guest leaves a party each hour; how many were there if one remains at the end?",
    "A wire is cut into a square and a circle of equal area; in which ratio?",
    "Seven pirates divide gold by a vote, the strictest first; what does the first one propose?",
)

REASONING = Family(
    name="reasoning",
    weight=0.12,
    law=LengthLaw((Mode(0.6, 60, 0.30), Mode(0.4, 420, 0.30))),
    templates=TEMPLATES,
    topics=TOPICS,
)
