"""Programming tasks: a function with comments."""

from __future__ import annotations

from ..law import log_normal
from .base import Family

TEMPLATES = (
    "Write {t} in Python with type hints.",
    "Implement {t} in Rust and comment the tricky lines.",
    "I need {t} in JavaScript. Show the complete code.",
    "Please code {t} in Go, with a small example of its use.",
    "Show me {t} in C++ that compiles without warnings.",
    "Can you program {t} in Java? Handle bad input too.",
    "Give me a clean TypeScript version of {t}.",
    "How do I implement {t} in Kotlin? Full source, please.",
    "Write unit tests and the code for {t}, Python 3.",
    "Draft {t} in C, no library beyond the standard one.",
    "My homework is to program {t} in Haskell. Show a solution.",
    "Produce {t} as a Ruby method with documentation comments.",
    "Refactor-ready code wanted: {t}, in Swift.",
    "Write a class in C# that provides {t}.",
    "Code only, in Scala: {t}.",
    "I am stuck on {t} in PHP; write it for me.",
)

TOPICS = (
    "a binary search over a rotated sorted array",
    "a least recently used cache",
    "a function that merges two sorted linked lists",
    "a parser for comma separated values with quoted fields",
    "a rate limiter based on a token bucket",
    "a breadth first search on a grid with walls",
    "a thread-safe bounded queue",
    "a function that validates e-mail addresses",
    "an iterator that flattens nested lists",
    "a converter from Roman numerals to integers",
    "a small event emitter with subscribe and unsubscribe",
    "a topological sort of a dependency graph",
    "a trie that suggests completions for a prefix",
    "a routine that rotates a square matrix in place",
    "a retry helper with exponential back-off",
    "a function that finds the longest palindrome in a string",
    "a priority queue on a binary heap",
    "a command line tool that counts the words of a file",
    "a union-find structure with path compression",
    "a debounce helper for user input",
    "a solver for sudoku by backtracking",
    "a function that diffs two dictionaries",
    "a streaming reader that yields lines from a socket",
    "a simple hash map with open addressing",
)

CODE = Family(
    name="code", weight=0.14, law=log_normal(170, 0.45), templates=TEMPLATES, topics=TOPICS
)
