"""Rehearse a crash: write a chat through HTTP, kill -9 in the middle, count what is left.

Three rounds, each on an embedded Valkey and a service of its own, with data of their own:

service   the service is killed and started again, and the writers go on: nothing may be lost
both      Valkey and the service are killed and started again: what the append-only file lost
control   the same without an append-only file: everything has to be lost, or we count wrongly
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import msgspec

from scripts.chat import ChatError, Message, make_chat, make_messages, read_chat
from scripts.stack import OK, READY_SECONDS, Client, Outcome, RehearsalError, running

MOST_PER_SESSION = 1_000
"""A session keeps no more than this by default, and one read gives no more."""

PROGRESS_SECONDS = 0.2
POLL_SECONDS = 0.02


@dataclass(slots=True)
class Ledger:
    """What the writers know; they are threads."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, message: Message, outcome: Outcome) -> None:
        """Keep the outcome of a message."""
        with self.lock:
            self.outcomes[message.id] = outcome

    def count(self, outcome: Outcome) -> int:
        """Count the messages of an outcome."""
        with self.lock:
            return sum(each is outcome for each in self.outcomes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A round's result, in messages. `wrong` = invented, doubled or changed."""

    name: str
    acknowledged: int
    unknown: int
    found: int
    lost: int
    wrong: int


class Stored(msgspec.Struct):
    """One message as the service gives it back; its text is kept to the byte."""

    message: msgspec.Raw


class Page(msgspec.Struct):
    """The newest messages of a session."""

    messages: list[Stored]


@contextmanager
def writing(
    port: int, messages: Sequence[Message], clients: int, is_over: threading.Event
) -> Iterator[Ledger]:
    """Write with several clients until all is written or it is over."""
    ledger = Ledger()

    def write(share: Sequence[Message]) -> None:
        client = Client(port)
        for message in share:
            outcome = client.append(message, is_over)
            if outcome:
                ledger.note(message, outcome)

    with ThreadPoolExecutor(clients) as pool:
        shares = [
            [m for m in messages if crc32(m.session.encode()) % clients == i]
            for i in range(clients)
        ]
        futures = [pool.submit(write, share) for share in shares]
        try:
            yield ledger
        except BaseException:
            is_over.set()
            raise
        for future in futures:
            future.result()


def wait_for(ledger: Ledger, count: int, what: str) -> None:
    """Return when so many messages are acknowledged; draw a line of progress meanwhile."""
    deadline = time.monotonic() + READY_SECONDS + count / 50
    while (done := ledger.count(Outcome.ACKNOWLEDGED)) < count:
        if time.monotonic() > deadline:
            raise RehearsalError(f"only {done} messages were acknowledged")
        show(f"{what}: {done:,} acknowledged")
        time.sleep(PROGRESS_SECONDS)


def rehearse_service(messages: Sequence[Message], clients: int) -> Tally:
    """Kill the service in the middle; the writers go on when it is back."""
    with running() as stack:
        with writing(stack.port, messages, clients, threading.Event()) as ledger:
            wait_for(ledger, len(messages) // 2, "service")
            stack.kill_service()
            show("service: killed with -9, starting again")
            stack.start_service()
        show("service: reading back")
        return count("service", stack.port, messages, ledger)


def rehearse_both(messages: Sequence[Message], clients: int, *, has_aof: bool) -> Tally:
    """Kill Valkey and the service in the middle, and read what is left."""
    name = "both" if has_aof else "control"
    with running(has_aof=has_aof) as stack:
        is_over = threading.Event()
        with writing(stack.port, messages, clients, is_over) as ledger:
            wait_for(ledger, len(messages) // 2, name)
            stack.valkey.kill()
            stack.kill_service()
            is_over.set()
        show(f"{name}: both killed with -9, starting again")
        stack.valkey.start()
        stack.start_service()
        return count(name, stack.port, messages, ledger)


def count(name: str, port: int, messages: Sequence[Message], ledger: Ledger) -> Tally:
    """Read every session back, and hold it against what was sent and acknowledged."""
    found = Counter(
        (session, text)
        for session in dict.fromkeys(message.session for message in messages)
        for text in read_back(port, session)
    )
    acknowledged = [m for m in messages if ledger.outcomes.get(m.id) is Outcome.ACKNOWLEDGED]
    intact = sum((message.session, message.text) in found for message in acknowledged)
    sent = {(m.session, m.text) for m in messages if m.id in ledger.outcomes}
    return Tally(
        name=name,
        acknowledged=len(acknowledged),
        unknown=ledger.count(Outcome.UNKNOWN),
        found=intact,
        lost=len(acknowledged) - intact,
        wrong=found.total() - len(found.keys() & sent),
    )


def read_back(port: int, session: str) -> list[bytes]:
    """Return the messages of a session, each to the byte."""
    reply = Client(port).get(f"/v1/sessions/{session}/messages?last={MOST_PER_SESSION}")
    if reply.status != OK:
        raise RehearsalError(f"the service answered {reply.status}: {reply.body!r}")
    page = msgspec.json.decode(reply.body, type=Page)
    return [bytes(stored.message) for stored in page.messages]


def show(progress: str) -> None:
    """Draw over the line before, on a terminal; elsewhere say nothing."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def print_table(tallies: Sequence[Tally]) -> None:
    """Print the results, one round a line."""
    names = ("acknowledged", "unknown outcome", "found", "lost", "invented or doubled")
    print(f"{'killed':<12}" + "".join(f"{name:>{len(name) + 3}}" for name in names))
    for it in tallies:
        numbers = (it.acknowledged, it.unknown, it.found, it.lost, it.wrong)
        cells = (f"{n:>{len(name) + 3},}" for name, n in zip(names, numbers, strict=True))
        print(f"{it.name:<12}" + "".join(cells))


def faults(service: Tally, both: Tally, control: Tally) -> list[str]:
    """Say what may not be."""
    rules = (
        (service.lost, "messages were lost though only the service was killed"),
        (service.wrong + both.wrong + control.wrong, "messages were invented, doubled or changed"),
        (control.found, "messages outlived a Valkey that keeps nothing: the count is wrong"),
    )
    return [f"FAILED: {number} {words}" for number, words in rules if number]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "chat", nargs="?", type=Path, help="lines of JSON {sender, text, ts}; default: made up"
    )
    parser.add_argument("--messages", type=int, default=10_000, help="to write (10000)")
    parser.add_argument("--sessions", type=int, default=100, help="to write them to (100)")
    parser.add_argument("--clients", type=int, default=16, help="that write at once (16)")
    arguments = parser.parse_args()
    if arguments.messages > arguments.sessions * MOST_PER_SESSION:
        parser.error(f"a session keeps {MOST_PER_SESSION} messages: take more sessions")
    return arguments


def main() -> int:
    """Rehearse and print; 1 if something was lost that may not be lost."""
    arguments = parse_arguments()
    started = time.monotonic()
    try:
        chat = read_chat(arguments.chat) if arguments.chat else make_chat(arguments.messages)
        messages = list(make_messages(chat, arguments.messages, arguments.sessions))
        tallies = (
            rehearse_service(messages, arguments.clients),
            rehearse_both(messages, arguments.clients, has_aof=True),
            rehearse_both(messages, arguments.clients, has_aof=False),
        )
    except (OSError, RehearsalError, ChatError) as error:
        print(f"scripts/crash: {error}", file=sys.stderr)
        return 2
    show("")
    print_table(tallies)
    seconds = time.monotonic() - started
    print(f"{arguments.messages:,} messages in the first round, until the kill in the others,")
    print(f"{seconds:.0f} s. The control has no append-only file: it must lose everything.")
    found = faults(*tallies)
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
