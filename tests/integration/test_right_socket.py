# Each step that changes a socket changes that of the connect, and no other: whatever gets a number that was closed is left
# alone, and teaches nothing; and a server that was left while it answered has no connection from it.
# Nothing here may use a number after it has been given away, but to look at what has got it.
import os

import pytest

from programs.events import hosts
from programs.harness import (
    AS_NOBODY, HOST, LIBRARY, address_lab, copies_for_nobody, preload, public, several, start, start_bare, start_shim,
)  # fmt: skip
from programs.moments import late_calls
from test_memory import Memory

# How the number is taken, and what from.
HOWS = ["close", "dup2", "dup3", "close_range", "closefrom"]
WAYS = ["poll", "epoll", "blocking"]
FIVE_REFUSED = ("refused",) * 5 + ("live",)


@pytest.mark.parametrize("what", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_number_taken_while_its_connect_is_moved_on(several, way, what):
    # The first connect(2) of each thread is on time, those that follow are 10 ms late: in each of ten such windows.
    host = several(*FIVE_REFUSED)
    before = late_calls("connect", 10, counted="2+")
    cases = [{"way": way, "how": how, "what": what, "rounds": 12, "span": 110_000, "step": 9000} for how in HOWS]
    started = [start_shim(host, "number_taken", before=before, **case) for case in cases]
    for run in [run.finish() for run in started]:
        assert run.values("touched", "traces") == ("0", "none"), run
        # Of twelve rounds, on a machine that may be late itself.
        assert int(run.first["missed"]) < 12, run


@pytest.mark.parametrize("how", HOWS)
def test_a_number_taken_just_when_a_blocking_connect_is_refused(several, how):
    # Before it is known which socket was refused.
    run = start_shim(several(*FIVE_REFUSED), "number_taken", way="blocking", how=how, what="tcp", seconds=3, span=60).finish()
    assert run.values("touched", "traces") == ("0", "none"), run


@pytest.mark.parametrize("way", WAYS)
def test_without_the_library_nothing_is_touched(several, way):
    # Of the test above.
    host = several("refused")
    before = late_calls("connect", 10, counted="2+")
    started = [
        start_bare(host, "number_taken", before=before, way=way, how=how, rounds=4, span=40_000, step=10_000)
        for how in HOWS
    ]
    for run in [run.finish() for run in started]:
        assert run.values("touched", "traces") == ("0", "none"), run


@pytest.mark.parametrize("way", ["poll", "epoll"])
def test_a_number_taken_at_any_moment(several, way):
    run = start_shim(several(*FIVE_REFUSED), "number_taken", way=way, seconds=2, span=200).finish()
    assert run.values("touched", "traces") == ("0", "none"), run
    assert int(run.first["rounds"]) > 50, run


# ---- What a number teaches that is another's by now ----


@hosts(("silent", "live"), ("silent", "silent"))
def test_a_readable_pipe_is_no_connection(several, tmp_path, kinds):
    for wait in ("poll", "select", "epoll"):
        host = several(*kinds)
        memory = Memory(tmp_path / wait)
        run = start_shim(host, "pipe_instead", env=memory.env(), after=20, wait=wait).finish()
        assert run.first == {"readable": "1"}, run
        records = memory.records() if memory.path.exists() else {}
        record = records.get(host.addresses[0])
        assert record is None or record.rtt == 0, records


# ---- Ghosts ----

# Each connect(2) takes effect so much later than it is called. With these attempt delays the answer, 1 s after the first packet,
# comes while an attempt is being taken back: by a library that leaves an address for its silence, and by one that has
# asked the next one before.
LATENESS = 400
MOMENTS = [1150, 750]


@pytest.mark.parametrize("user", ["as it is", "nobody"])
def test_no_connection_is_left_where_an_attempt_was_taken_back(several, public, user):
    host = several("silent", "live")
    library, program, who = LIBRARY, "answered_late", None
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can run a program as nobody")
        program, library = copies_for_nobody(public, program)
        who = AS_NOBODY
    runs = []
    for moment in MOMENTS:
        for wait in ("poll", "epoll"):
            late = host.lab.unused()
            env = {
                **preload(library),
                "NEXTADDR_DELAY": str(moment),
                "NEXTADDR_RESOLVE": f"{HOST}={late},{','.join(host.addresses)}",
            }
            arguments = {"late": late, "answers": LATENESS + 400, "joins": moment + 30, "wait": wait}
            before = late_calls("connect", LATENESS)
            run = start(host.lab, program, env, before, who, host=HOST, port=host.port, **arguments)
            runs.append((late, run))
    for late, run in runs:
        end = run.finish().lines[-1]
        assert end["so_error"] == "0" and end["peer"] in (late, *host.live), run
        assert end["accepted"] == ("1" if end["peer"] == late else "0"), run
