"""What a host does with what it hears when it is behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.host import _together
from unspool.types import Spoken
from unspool.worker.protocol import Turn

spoken = st.builds(
    Spoken.of,
    st.sampled_from(["a", "b", "c"]),
    st.integers(1, 2),
    st.lists(st.binary(min_size=1, max_size=3).map(bytes.hex).map(str.encode), min_size=1, max_size=3),
)
turns = st.lists(st.lists(spoken, max_size=4).map(Turn), min_size=1, max_size=5)


def by_run(all_of_it: list[Spoken]) -> dict[tuple[str, int], list[bytes]]:
    found: dict[tuple[str, int], list[bytes]] = {}
    for one in all_of_it:
        events = one.packed.split(b"\n")
        assert len(events) == one.number
        found.setdefault((one.id, one.attempt), []).extend(events)
    return found


@given(turns, st.integers(0, 10))
def test_nothing_that_a_run_said_in_several_turns_is_lost_or_out_of_order(heard: list[Turn], runs: int) -> None:
    assert by_run(_together(heard, runs)) == by_run([one for turn in heard for one in turn.events])


@given(turns)
def test_who_is_behind_has_one_piece_of_each_run(heard: list[Turn]) -> None:
    pieces = _together([Turn([]), *heard], 0)
    assert len({(one.id, one.attempt) for one in pieces}) == len(pieces)
