"""A process that labels (``labels.crew``); started by the job alone."""

from __future__ import annotations

import os
import pickle
import sys
from multiprocessing.connection import Connection

from spectra_app.errors import ModelError, SpectraAppError
from spectra_app.labels.sources import Source
from spectra_app.labels.tasks import Event, Work, perform


def main() -> None:
    """Work until nobody gives any more."""
    pipe = Connection(int(sys.argv[1]))
    try:
        source: Source
        source, folder = pickle.loads(pipe.recv_bytes())
        calculator, home = None, os.getcwd()
        while True:
            number, work = pickle.loads(pipe.recv_bytes())
            work_now: Work = work
            if calculator is None:  # at first, and after a failure: what a failed one has kept may be nonsense
                os.chdir(home)  # where the words of its arguments mean files
                try:
                    calculator = source.make()
                except SpectraAppError as error:
                    _tell(pipe, Event(number, "unable", (type(error).__name__, str(error))))
                    continue
                except Exception as error:  # of somebody else's program: any
                    text = f"calculator {source.text}: got {type(error).__name__}: {error}"
                    _tell(pipe, Event(number, "unable", (ModelError.__name__, text)))
                    continue
                os.chdir(folder)
            _tell(pipe, Event(number, "begun"))
            for event in perform(number, work_now, calculator):
                _tell(pipe, event)
                if event.kind == "failed":
                    calculator = None
            sys.stdout.flush()
    except (EOFError, OSError):  # the job has ended
        os._exit(0)


def _tell(pipe: Connection, event: Event) -> None:
    pipe.send_bytes(pickle.dumps(event))


if __name__ == "__main__":
    main()
