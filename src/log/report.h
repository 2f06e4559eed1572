// What the log says about what happened, as text or as JSON (libnextaddr(7), "LOG"): how each event
// is worded is said here, but for report_problem() and report_debug(), whose callers give the
// words. Each says nothing below its level. Must never write anything but whole lines.
// Async-signal-safe, no allocation, errno left alone.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/attempt_log.h"
#include "engine/fault_rules.h"
#include "engine/host_table.h"

namespace nextaddr {

// info: a connect that took more than one attempt has ended with `error` (0: connected), after
// `took_ms`.
void report_connect(const DestinationList& list, const Endpoint& requested, const AttemptLog& log,
                    int error, std::uint64_t took_ms);

// debug: a connect to a host that was looked up has ended with its only attempt, after `took_ms`,
// or (`error` EINPROGRESS) goes on without us. Healthy connects are such.
void report_only_attempt(const Endpoint& requested, const Fault& fault, int error,
                         std::uint64_t took_ms);

// True when every connect has to be looked at for report_only_attempt(). One load.
bool reports_every_connect();

// debug: what is remembered of a host after a lookup. Each is told, also of one that tells nothing
// new.
bool reports_every_lookup();
void report_lookup(std::string_view host, const AddressList& addresses);

// info: a fault is made of a connection attempt, or (`to` null) of a lookup. `host` may be empty.
void report_fault(std::string_view rule, const Fault& fault, std::string_view host,
                  const Endpoint* to);

// In a child of fork(2), which may have been made while another thread had a line in hand.
void begin_report_in_child();

// error: no attempt of the whole run ever came to this rule.
void report_unmatched(std::string_view rule);

// info: what NEXTADDR_SEED has to be to have this run again.
void report_seed(std::uint64_t seed);

// error: why the rules are ignored.
void report_bad_faults(const FaultSyntaxError& error);

// error: something is ignored, or not done.
void report_problem(std::string_view what, std::string_view subject);

// debug: what the library does, `subject` being what it does that to.
void report_debug(std::string_view what, std::string_view subject);

}  // namespace nextaddr
