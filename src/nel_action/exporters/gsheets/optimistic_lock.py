"""Whose turn it is to write: two exports at one time must not both add the same row, or heads over each other's values.

The sheet keeps a number that people do not see (developer metadata). Every write takes the next one in the same batch
as its changes. Two exports that read the same state want the same number, whose id Google gives only once; the one
that comes second is refused as a whole, and reads again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["next_turn", "turn_of"]

_KEY: Final = "nel-action.turn"
_FIRST_ID: Final = 0x6E656C00
"""Ids are positive and of 32 bits; ours start where hardly anybody else's are."""


def turn_of(book: Mapping[str, Any]) -> int:
    """Return the number of the last write, 0 where there was none.

    Args:
        book: what `spreadsheets.get` answered.
    """
    turns = [one["metadataValue"] for one in book.get("developerMetadata", ()) if one.get("metadataKey") == _KEY]
    return max((int(turn) for turn in turns if turn.isdecimal()), default=0)


def next_turn(turn: int) -> list[dict[str, Any]]:
    """Return the requests that take the turn after `turn`."""
    new = {
        "metadataId": _FIRST_ID + turn + 1,
        "metadataKey": _KEY,
        "metadataValue": str(turn + 1),
        "location": {"spreadsheet": True},
        "visibility": "DOCUMENT",
    }
    old = {"developerMetadataLookup": {"metadataKey": _KEY, "metadataValue": str(turn)}}
    taken = [{"deleteDeveloperMetadata": {"dataFilter": old}}] if turn else []
    return [*taken, {"createDeveloperMetadata": {"developerMetadata": new}}]
