"""A font of this system that holds given characters, so that pictures never show empty boxes for class names."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is loaded only where something is drawn
    from matplotlib.font_manager import FontProperties
    from matplotlib.ft2font import FT2Font

# Families made for running text in Chinese, Japanese and Korean, in order of preference; parts of file names.
PREFERRED = (
    "notosanscjk",
    "notosanssc",
    "sourcehansans",
    "wqy-microhei",
    "wqy-zenhei",
    "pingfang",
    "hiragino",
    "msyh",
    "simhei",
    "droidsansfallback",
    "arialunicode",
    "arial unicode",
)
# Hold every character, but as boxes, or as colour bitmaps that matplotlib cannot draw.
UNFIT = ("lastresort", "emoji", "adobeblank")


def font_for(text: str | Iterable[str]) -> "FontProperties | None":
    """A font with a glyph for every character of `text` (one string or many), or None if the system has none.

    matplotlib's own font is preferred, then the sans-serif families made for CJK text. Font files are searched
    afresh in each process (matplotlib's list on disk misses fonts installed later) and opened once.
    """
    from matplotlib.font_manager import FontProperties

    characters = frozenset(char for part in ([text] if isinstance(text, str) else text) for char in part)
    path = _file_for(frozenset(char for char in characters if char not in "\n\r\t"))
    return None if path is None else FontProperties(fname=path)


def font_for_most(texts: Sequence[str], always: str = "") -> "tuple[FontProperties, list[bool]]":
    """The font that holds all characters of the most of `texts`, and which of them; of equal ones the preferred.

    always: characters that it must hold too. matplotlib's own font is taken where none holds any.
    """
    from matplotlib.font_manager import FontProperties

    characters = [frozenset(map(ord, text)) for text in texts]
    best, most = None, [False] * len(texts)
    for path in _files():
        has = _codes(path)
        held = [codes <= has for codes in characters]
        if sum(held) > sum(most) and has.issuperset(map(ord, always)):
            best, most = path, held
            if all(held):
                break
    return (FontProperties() if best is None else FontProperties(fname=best)), most


@lru_cache(maxsize=256)
def _file_for(characters: frozenset[str]) -> str | None:
    codes = sorted(map(ord, characters), reverse=True)  # the rarest come last in Unicode: reject early
    return next(
        (path for path in _files() if (font := _open(path)) and all(map(font.get_char_index, codes))), None
    )


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    from matplotlib import get_data_path
    from matplotlib.font_manager import findSystemFonts

    own = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return (str(own), *sorted(findSystemFonts(), key=_preference))


def _preference(path: str) -> tuple[int, int, str]:
    """Known families first, in their order; within a family the regular weight first."""
    name = Path(path).name.lower()
    family = next((i for i, part in enumerate(PREFERRED) if part in name), len(PREFERRED))
    styled = any(
        part in name for part in ("bold", "italic", "oblique", "light", "thin", "black", "medium", "mono")
    )
    return family, int(styled), path


@lru_cache(maxsize=64)
def _codes(path: str) -> frozenset[int]:
    """The characters that a font has glyphs for."""
    font = _open(path)
    return frozenset(font.get_charmap()) if font else frozenset()


@lru_cache(maxsize=64)
def _open(path: str) -> "FT2Font | None":
    from matplotlib.ft2font import FT2Font

    if any(part in Path(path).name.lower() for part in UNFIT):
        return None
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError, UnicodeError):  # damaged, or no right to read it
        return None
    return font if font.scalable else None
