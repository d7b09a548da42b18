"""A model of your own. It writes verses out of word lists, so that it runs at once; put your own in their place.

    $ unspool serve FILE

It prints an API key. In another terminal, with UNSPOOL_API_KEY set to that:

    $ unspool run acme/NAME subject=rain
    $ unspool readme acme/NAME
"""

import random
import time
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from unspool import ModelError, Run, model


# The id is the path of the model: POST /api/v3/acme/NAME. Put your own name in place of acme.
# slots=4 lets one process work on four predictions at once, each in a thread; replicas=2 would be two processes.
@model("acme/NAME", category="text-to-text", slots=4)
class Verses:
    """Writes verses about anything.

    This text is markdown and becomes the model's README.
    """

    def setup(self) -> None:
        """Called once in each process, before the first prediction: the place to load weights."""
        self.moods = {
            "calm": ["sleeps", "drifts", "waits", "listens"],
            "wild": ["burns", "runs", "breaks", "sings"],
        }

    # Each parameter is an input. Its type and its Field are what is checked before this is called, what the form of
    # the playground is made of, and what `unspool readme` lists. One without a default is required. `run` is no input:
    # it is how the model speaks with those who watch.
    def __call__(
        self,
        run: Run,
        subject: Annotated[
            str, Field(min_length=1, max_length=100, description="What it is about.", examples=["rain"])
        ],
        lines: Annotated[int, Field(ge=1, le=100, description="How many lines.")] = 6,
        mood: Annotated[Literal["calm", "wild"], Field(description="How it feels.")] = "calm",
        seed: Annotated[int | None, Field(ge=0, description="The same seed writes the same verses.")] = None,
    ) -> Iterator[str]:
        if not subject.strip():
            # Clients get the message of a ModelError as it is. Of any other error they learn only that there was one;
            # its traceback is in the server's log.
            raise ModelError("subject is blank. Name something, as in subject=rain.")
        chance = random.Random(seed)
        run.log(f"writing {lines} lines")  # print() and logging do the same

        # run.track reports progress, steps and the time left. A tqdm bar does the same.
        for line in run.track(range(lines), stage="write"):
            for word in (subject, chance.choice(self.moods[mood]), "and\n" if line % 2 == 0 else "again\n"):
                # Yielded text is streamed, piece by piece. yield, run.track and all that a run says are also where the
                # model stops when somebody cancels. In a long loop that says nothing, call run.check(), or look at
                # run.cancelled and leave the loop.
                yield word if word.endswith("\n") else word + " "
                time.sleep(0.05)  # stands for work

        # Numbers for the last event. How long it took is measured for you.
        run.report(usage={"lines": lines})
