"""Make up titles, styles and lyrics of songs."""

import random
from typing import Any, Final

_PLACES: Final = (
    "Harbour",
    "Orchard",
    "Station",
    "Lantern",
    "Meadow",
    "Signal",
    "Copper",
    "Northern",
    "Paper",
    "Glass",
)
_THINGS: Final = ("Lights", "Letters", "Weather", "Machine", "Sunday", "Rivers", "Parade", "Echo", "Window", "Ferry")
STYLES: Final = ("Pop", "Folk", "electronic,house", "Jazz", "Indie Rock", "Ambient", "R&B", "Synthwave")

_LINES: Final = (
    "The ferry left at seven with the radio turned low",
    "And every lamp along the quay was learning how to glow",
    "I kept your number folded in the lining of my coat",
    "A compass made of paper for a captain with no boat",
    "The bakery was open and the street was smelling sweet",
    "A brass band lost its drummer so the rain supplied the beat",
    "You said the map was broken, I said maps are only sky",
    "We measured out the morning in the trains that we let by",
    "Somewhere there's a signal blinking green across the snow",
    "Somewhere there's a kettle and a record spinning slow",
    "Hold on to the railing, count the windows as they pass",
    "There's a garden on the rooftop growing underneath the glass",
    "Oh, the weather has a memory, it hums it in the wires",
    "It sings about the summers and the end-of-season fires",
    "My neighbour plays the cello to the pigeons on the wall",
    "They never say they love it but they never miss a call",
    "So bring me back the orchard in a bottle or a tune",
    "A pocketful of gravel and a slice of afternoon",
    "The tide came in on tiptoe and it never said its name",
    "It wrote it on the window and it washed it off again",
    "We danced between the puddles till the puddles learned to dance",
    "The traffic lights were yellow and they gave us one more chance",
    "Carry me, slow river, past the mill and past the town",
    "Past the clock that's always early and the bridge that's falling down",
    "The stars are only freckles on the shoulder of the night",
    "The dark is only somebody forgetting where is light",
    "I built a little engine out of spoons and broken springs",
    "It doesn't go to heaven but you should hear how it sings",
    "Leave the key beneath the flowerpot, leave the porch light on",
    "I'll be home before the coffee, I'll be home before you're gone",
    "Étoile on the corner sells umbrellas to the sun",
    "我们在雨里唱完最后一首歌",
)
_TAGS: Final = {0: "[verse]", 8: "[chorus]", 16: "[verse]", 24: "[outro]"}

LINE_COUNT: Final = 30
_LINE_S: Final = 2.5
"""From one line to the next, at most."""


def make_title(rng: random.Random) -> str:
    """Two words."""
    return f"{rng.choice(_PLACES)} {rng.choice(_THINGS)}"


def make_lyrics(rng: random.Random) -> str:
    """About thirty lines with tags, one line each."""
    first = rng.randrange(len(_LINES))
    chosen = [_LINES[(first + number) % len(_LINES)] for number in range(LINE_COUNT)]
    return "\n".join(f"{_TAGS[number]}\n{line}" if number in _TAGS else line for number, line in enumerate(chosen))


def in_milliseconds(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Aligned lyrics in the other form in which they were seen: ``start_ms`` and ``end_ms``."""
    return [
        {"start_ms": round(section["start"] * 1000), "end_ms": round(section["end"] * 1000), "text": section["text"]}
        for section in sections
    ]


def make_sections(lyrics: str, duration_s: float, rng: random.Random) -> list[dict[str, Any]]:
    """The lyrics aligned with the sound: start and end in seconds; a tag stays with the line that it announces. The
    first of them lie within the few seconds that there are to hear.

    Source: the vendor's reference (a text may start with a newline and carry tags).
    """
    texts: list[str] = []
    tag = ""
    for line in lyrics.splitlines():
        if line.startswith("["):
            tag = f"\n{line}\n"
        elif line.strip():
            texts.append(tag + line)
            tag = ""
    step = min(duration_s / (len(texts) + 1), _LINE_S)
    return [
        {
            "start": round(step * (number + rng.uniform(0.4, 0.6)), 2),
            "end": round(step * (number + rng.uniform(1.2, 1.4)), 2),
            "text": text,
        }
        for number, text in enumerate(texts)
    ]
