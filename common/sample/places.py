"""Places: what is behind people, as colour pictures: rooms, streets, parks, studios, lights at night."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def place(height: int, width: int, rng: np.random.Generator) -> Image:
    """Some place, somewhat out of focus: uint8 RGB (height, width, 3)."""
    painter = [_room, _room, _street, _park, _studio, _night][rng.integers(6)]
    page = painter(height, width, rng)
    return cv2.GaussianBlur(page, (0, 0), float(rng.uniform(0.4, 0.012 * height + 0.5))).astype(np.uint8)


def _room(height: int, width: int, rng: np.random.Generator) -> Image:
    wall = rng.uniform(110, 235) + rng.normal(0, 16, 3)
    page = _gradient(height, width, wall, wall * rng.uniform(0.75, 1.0))
    floor = int(height * rng.uniform(0.7, 1.1))
    page[floor:] = np.clip(rng.uniform(60, 150) + rng.normal(0, 20, 3), 0, 255)
    if rng.random() < 0.5:  # a window
        left, top = int(rng.uniform(-0.2, 0.8) * width), int(rng.uniform(0, 0.3) * height)
        right, bottom = left + int(rng.uniform(0.25, 0.5) * width), top + int(rng.uniform(0.25, 0.5) * height)
        cv2.rectangle(page, (left, top), (right, bottom), _colour(rng, 190, 255), -1)
        cv2.rectangle(page, (left, top), (right, bottom), (235, 232, 226), max(2, width // 60))
        cv2.line(
            page,
            ((left + right) // 2, top),
            ((left + right) // 2, bottom),
            (235, 232, 226),
            max(2, width // 80),
        )
    if rng.random() < 0.4:  # shelves of books
        left, shelf = int(rng.uniform(-0.1, 0.7) * width), int(0.22 * height)
        for top in range(int(0.05 * height), int(0.75 * height), shelf):
            for x in range(left, left + int(0.35 * width), max(3, width // 40)):
                size = int(shelf * rng.uniform(0.5, 0.85))
                book = ((x, top + shelf - size), (x + max(2, width // 45), top + shelf - 4))
                cv2.rectangle(page, *book, _colour(rng, 40, 220), -1)
    if rng.random() < 0.35:  # a standing lamp: thin, light and upright, as a cigarette can be
        x, top = int(rng.uniform(0.05, 0.95) * width), int(rng.uniform(0.1, 0.4) * height)
        cv2.line(page, (x, top), (x, height), (225, 222, 215), max(2, width // 70))
        shade = np.array([(x - width // 14, top + height // 12), (x + width // 14, top + height // 12),
                          (x + width // 28, top), (x - width // 28, top)])  # fmt: skip
        cv2.fillPoly(page, [shade], (255, 236, 180))
    if rng.random() < 0.4:  # a picture
        left, top = int(rng.uniform(0, 0.8) * width), int(rng.uniform(0.05, 0.4) * height)
        corner = (left + width // 6, top + height // 7)
        cv2.rectangle(page, (left, top), corner, _colour(rng, 60, 220), -1)
        cv2.rectangle(page, (left, top), corner, _colour(rng, 20, 90), max(2, width // 100))
    return page


def _street(height: int, width: int, rng: np.random.Generator) -> Image:
    page = _gradient(height, width, _colour(rng, 150, 235), np.array([225.0, 225, 230]))
    road = int(height * rng.uniform(0.65, 0.9))
    x = -int(rng.integers(0, width // 4))
    while x < width:
        wide, top = int(rng.uniform(0.15, 0.4) * width), int(rng.uniform(0, 0.5) * height)
        front = np.array(_colour(rng, 70, 210))
        cv2.rectangle(page, (x, top), (x + wide, road), tuple(front.tolist()), -1)
        step = max(8, wide // 5)
        for left in range(x + step // 3, x + wide - step // 2, step):
            for upper in range(top + step // 2, road - step, step + step // 3):
                pane = ((left, upper), (left + step // 2, upper + step * 2 // 3))
                cv2.rectangle(page, *pane, tuple((front * rng.uniform(0.4, 1.3)).clip(0, 255).tolist()), -1)
        x += wide
    page[road:] = rng.uniform(70, 130)
    return page


def _park(height: int, width: int, rng: np.random.Generator) -> Image:
    page = _gradient(height, width, np.array([140.0, 185, 230]), np.array([215.0, 230, 240]))
    ground = int(height * rng.uniform(0.45, 0.75))
    page[ground:] = (rng.uniform(70, 130), rng.uniform(120, 170), rng.uniform(50, 90))
    for _ in range(rng.integers(2, 7)):
        x, size = int(rng.uniform(0, 1) * width), rng.uniform(0.1, 0.28) * height
        trunk = (rng.uniform(70, 110), rng.uniform(50, 80), rng.uniform(30, 60))
        cv2.line(page, (x, int(ground - size)), (x, ground + 10), trunk, max(2, width // 40))
        leaf = np.array([rng.uniform(30, 90), rng.uniform(90, 160), rng.uniform(30, 80)])
        for _ in range(14):
            spot = (int(x + rng.normal(0, 0.5) * size), int(ground - 1.3 * size + rng.normal(0, 0.4) * size))
            cv2.circle(
                page,
                spot,
                int(size * rng.uniform(0.2, 0.4)),
                tuple((leaf * rng.uniform(0.7, 1.2)).tolist()),
                -1,
            )
    return page


def _studio(height: int, width: int, rng: np.random.Generator) -> Image:
    colour = np.array(_colour(rng, 30, 240))
    return _gradient(height, width, colour, colour * rng.uniform(0.5, 1.0))


def _night(height: int, width: int, rng: np.random.Generator) -> Image:
    page = _gradient(height, width, _colour(rng, 5, 50), _colour(rng, 15, 80))
    for _ in range(rng.integers(6, 22)):
        spot = (int(rng.uniform(0, 1) * width), int(rng.uniform(0, 1) * height))
        cv2.circle(page, spot, int(rng.uniform(0.015, 0.06) * height), _colour(rng, 90, 255), -1, cv2.LINE_AA)
    return page


def _gradient(height: int, width: int, top: object, bottom: object) -> Image:
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * np.asarray(top, float) + share * np.asarray(bottom, float)
    return np.ascontiguousarray(np.broadcast_to(rows.clip(0, 255).astype(np.uint8), (height, width, 3)))


def _colour(rng: np.random.Generator, least: int, most: int) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(least, most, 3).tolist()
    return red, green, blue
