"""Names beside dots, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

CHARACTER, LINE = 6.6, 13.0
"""Size of the letters, in drawing units."""

Box = tuple[float, float, float, float]


def place(
    dots: Sequence[tuple[float, float, str]],
    *,
    left: float,
    right: float,
    top: float,
    bottom: float,
) -> list[tuple[float, float]]:
    """Where the text of each dot starts (x, base line y): the first free place around it.

    Args:
        dots: position and text.
        left, right, top, bottom: the limits that no text may cross.
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in dots]
    places = []
    for x, y, text in dots:
        width = CHARACTER * len(text)
        candidates = [
            (x + dx if dx > 0 else x + dx - width if dx < 0 else x - width / 2, y + dy)
            for reach in (1.0, 2.0, 3.0, 4.5)
            for dx, dy in (
                (9 * reach, 4), (-9 * reach, 4), (0, -8 * reach), (0, 17 * reach),
                (8, -9 * reach), (8, 17 * reach), (-8, -9 * reach), (-8, 17 * reach),
            )
        ]  # fmt: skip
        boxes = [(at[0], at[1] - LINE + 3, at[0] + width, at[1] + 3) for at in candidates]
        limits = (left, top, right, bottom)
        free = [k for k, box in enumerate(boxes) if _inside(box, limits)]
        clear = [k for k in free if not any(_overlap(boxes[k], other) for other in taken)]
        best = (clear or free or [0])[0]
        taken.append(boxes[best])
        places.append(candidates[best])
    return places


def _inside(box: Box, limits: Box) -> bool:
    return (
        box[0] >= limits[0] and box[1] >= limits[1] and box[2] <= limits[2] and box[3] <= limits[3]
    )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
