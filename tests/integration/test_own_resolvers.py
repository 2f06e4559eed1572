# Real programs that ask a name server themselves, or by libresolv, in a network namespace with a name server: names
# whose first addresses refuse, are silent or cannot be reached.
# A program that is not installed must be skipped by its name, and no test may pass when the library does nothing.
import pytest

from clients import MAILERS, RESOLVING
from lab import SCENARIOS
from test_real_programs import assert_got_through, assert_refusal_is_final, every, run

EVERY = RESOLVING + MAILERS
IN_ORDER = [client for client in EVERY if not client.any_order]


@every(IN_ORDER)
@pytest.mark.parametrize("kind", [kind for kind in SCENARIOS if kind != "all-refused"])
def test_gets_through(name_served, client, kind):
    if kind in client.unhelped:
        pytest.skip(f"{client.name} is not helped there, as the test of that shows")
    with name_served.scenario(kind, client.protocol) as scenario:
        assert_got_through(scenario, client, run(scenario, client))


@every([client for client in EVERY if client.any_order])
@pytest.mark.parametrize("kind", ["silent-first", "refused-first"])
def test_gets_through_from_wherever_it_begins(name_served, client, kind):
    """Of so many addresses the one that is live is seldom taken by chance."""
    with name_served.scenario(kind, client.protocol, count=12) as scenario:
        assert_got_through(scenario, client, run(scenario, client))


@every([client for client in IN_ORDER if client.first_only])
def test_without_failover_a_refusal_is_final(name_served, client):
    assert_refusal_is_final(name_served, client)


@every(IN_ORDER)
def test_without_failover_silence_is_waited_for(name_served, client):
    with name_served.scenario("silent-first", client.protocol) as scenario:
        result = run(scenario, client, failover=False, timeout=2 + client.seconds)
        assert result.timed_out, result
        assert scenario.connections(scenario.live[0]) == 0


@every([client for client in IN_ORDER if client in RESOLVING])
def test_they_look_nothing_up_by_libc(name_served, client):
    """With another port for name servers nothing is learnt."""
    with name_served.scenario("silent-first", client.protocol) as scenario:
        result = run(scenario, client, options=["--dns-ports", "5353"], timeout=2 + client.seconds)
        assert result.timed_out, result


@every([client for client in EVERY if client.unhelped])
def test_a_name_looked_up_for_ipv6_alone_stays_there(name_served, client):
    with name_served.scenario("ipv6-silent", client.protocol) as scenario:
        result = run(scenario, client, timeout=2 + client.seconds)
        assert result.timed_out, result
        assert scenario.connections(scenario.live[0]) == 0
