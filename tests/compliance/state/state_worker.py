"""A process that works on a database until it is killed: run as a script.

    python state_worker.py hammer ADDRESS NAME COUNT   appends `NAME n` to the journal `book`
    python state_worker.py group ADDRESS NAME COUNT    the same, with a document in one commit
    python state_worker.py stop ADDRESS NAME COUNT     stands still before the commit of the last

What is confirmed is told on standard output, a line each.
"""

import sys
import time

from compliance.state.database import open_state


def tell(what):
    """Write a line at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def hammer(state, name, numbers):
    """Append record after record; each decision is made on all there is."""
    journal, known = state.journal("book"), 0
    for number in numbers:
        with journal.exclusive() as records:
            known += len(records)
            journal.append(b"%s %d %d" % (name.encode(), number, known))
            known += 1
        tell(number)


def group(state, name, numbers):
    """Append, and count in a document, in one commit."""
    journal, documents = state.journal("book"), state.documents("counts")
    for number in numbers:
        with state.transaction():
            with journal.exclusive():
                journal.append(b"%s %d 0" % (name.encode(), number))
            count = int(documents.get("all") or b"0")
            documents.put("all", b"%d" % (count + 1))
        tell(number)


def stop(state, name, numbers):
    """Append all but the last durably; hold that one open until the process is killed."""
    *first, last = numbers
    hammer(state, name, first)
    with state.transaction():
        journal = state.journal("book")
        with journal.exclusive():
            journal.append(b"%s %d 0" % (name.encode(), last))
            state.documents("counts").put("all", b"never")
            tell("open")
            time.sleep(600)


if __name__ == "__main__":
    command, address, name, count = sys.argv[1:]
    with open_state(address) as opened:
        tell("ready")
        {"hammer": hammer, "group": group, "stop": stop}[command](opened, name, range(int(count)))
