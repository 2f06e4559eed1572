# What a connect of the soak may come to, by what the addresses of its host were meanwhile.
# It must never excuse what the library could have done better, nor ask for what the contract does not promise: a
# result is only expected where the addresses were steady for all of the connect.
import collections
import dataclasses

MARGIN = 0.1  # between the clock of a program and what happened in its connect
# Programs that go through the addresses themselves make as many attempts as before: a connect to an address of a host,
# another one of which has failed with all others this long before, is taken for a part of such a loop.
LOOP_SECONDS = 10
# How long a program has to wait before it is owed a connection: until all addresses have been asked, and for so many
# round trips of the farthest of its host: one until it is overdue, half as long again, and a handshake made twice.
SEARCH_SECONDS, ROUND_TRIPS = 0.1, 3.5
# Who was silent for a second is spared for so long (kSilentForMs of src/engine/schedule.h): a refusal is told without
# asking it, and where there is none it is asked after a second. It is noted at the end of its own second.
KNOWN_SILENT_SECONDS, LOST_SECONDS, SPARED_SECONDS = 30, 5, 1
OWN_TIMER_SECONDS = 0.25  # of programs that give up each address but the last by themselves


@dataclasses.dataclass
class Connect:
    program: str
    pid: int  # 0: not known
    begin: float
    end: float
    host: str
    asked: str | None  # None: the program may have asked them all
    outcome: str  # the address that answered, or "!" and what went wrong


class Judge:
    def __init__(self, hosts, network, distances=None):
        """`distances` has the longest round trip of each address in seconds; without it all are near."""
        self.hosts = hosts
        self.network = network
        self.distances = distances or {}
        self.counts = collections.Counter()
        self._failed = collections.defaultdict(list)  # by program: (END, ASKED) of connects that nobody answered

    def related(self, asked, known):
        """The addresses that may be gone to when this one is asked, of a program that knows these hosts."""
        lists = [self.hosts[host] for host in known if asked in self.hosts[host]]
        return [address for address in lists[0] if all(address in each for each in lists)]

    def complaint(self, connect, known):
        """What is wrong with it, or None. Those of one program must come in the order in which they ended."""
        self.counts["connects"] += 1
        addresses = self.hosts[connect.host]
        allowed = self.related(connect.asked or addresses[0], known)
        begin, end = connect.begin - MARGIN, connect.end + MARGIN
        during = {address: self.network.addresses[address].states(begin, end) for address in addresses}
        if not connect.outcome.startswith("!"):
            return self._complaint_of_success(connect, allowed, during)
        if connect.outcome == "!abandoned":
            self.counts["abandoned"] += 1
            return None
        self.counts["failures of all"] += 1
        steady = [address for address in allowed if during[address] == {"live"}]
        if connect.outcome.startswith("!no answer") or "answered" in connect.outcome:
            return "connected, and not answered by who it is connected to"
        if connect.outcome == "!own timer after a stall" or steady and (
            self._is_of_a_loop(connect, addresses) or not self._has_waited(connect, addresses)
        ):
            self.counts["not judged"] += 1
            return None
        spared = all(self._was_silent(address, begin) for address in steady)
        gave_up = connect.outcome in ("!timeout", "!own timer")
        if steady and spared and not (gave_up and self._has_waited(connect, addresses, SPARED_SECONDS)):
            self.counts["failed, what is live was silent a moment ago"] += 1
            return None
        if steady:
            return f"not connected, though {steady[0]} was live all the time"
        if connect.outcome != "!timeout":
            self._failed[connect.program].append((connect.end, connect.asked))
        return self._complaint_of_failure(connect, addresses, allowed, during)

    def _complaint_of_success(self, connect, allowed, during):
        address = connect.outcome
        # Who goes through the addresses itself may come to any of its host.
        if address not in (allowed if connect.asked else during):
            return f"connected to the stranger {address}"
        if during[address] <= {"refused", "silent"}:
            return f"answered by {address}, which was {' and '.join(during[address])} all the time"
        if any(states == {"live"} for states in during.values()):
            self.counts["with one live all the time"] += 1
        return None

    def _has_waited(self, connect, addresses, more=0):
        """Long enough for what is live to be found, or for all to refuse, if it gave up by itself."""
        farthest = max(self.distances.get(address, 0) for address in addresses)
        waited = {"!own timer": OWN_TIMER_SECONDS, "!timeout": connect.end - connect.begin}.get(connect.outcome)
        return waited is None or waited >= SEARCH_SECONDS + ROUND_TRIPS * farthest + more

    def _was_silent(self, address, until):
        """For a moment of late, whatever it is now: a lost packet is sent again after a second, which is silence."""
        states = self.network.addresses[address].states(until - KNOWN_SILENT_SECONDS - LOST_SECONDS, until)
        return not states <= {"live", "refused"}

    def _is_of_a_loop(self, connect, addresses):
        before = [(end, asked) for end, asked in self._failed[connect.program] if end > connect.begin - LOOP_SECONDS]
        self._failed[connect.program] = before
        return any(asked != connect.asked and (asked is None or asked in addresses) for _, asked in before)

    def _complaint_of_failure(self, connect, addresses, allowed, during):
        if connect.outcome in ("!timeout", "!own timer"):
            self.counts["time up"] += 1
            # Who goes through the addresses itself comes to those as well that we may not ask.
            refused = all(during[address] == {"refused"} for address in (allowed if connect.asked else during))
            if refused and self._has_waited(connect, addresses):
                return "not ended, though all refused all the time"
            return None
        if connect.outcome == "!":  # a program that says no more
            return None
        self.counts["refused by all"] += 1
        asked = [connect.asked] if connect.asked else addresses
        if connect.outcome != "!ECONNREFUSED":
            return "not the error of the address it asked for"
        if not any({"refused", "changing"} & during[address] for address in asked):
            return "refused, but not by the address it asked for"
        return None
