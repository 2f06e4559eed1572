// What the result of one connection attempt means: move on to the next address, or tell the
// program; park the address, or not. The one place that says so, and that has words for errors.
// Pure.
#pragma once

#include <cerrno>
#include <string_view>

namespace nextaddr {

// Stands for the outcome of an address that was not asked, because it is parked.
inline constexpr int kParked = ECANCELED;

// True for the errors after which the next address is asked at once: the address failed
// (ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN) or cannot be reached from here
// (ENETUNREACH, ENETDOWN, EADDRNOTAVAIL; EACCES and EPERM are a firewall's reject, EINVAL a
// blackhole route: ip-route(8)). Every other error is about the call or the machine, and the
// program's own.
bool moves_on(int error);

// True for those of them that are about the address itself, so that it is asked last for a while.
bool parks(int error);

// A word for the log: "refused", "host unreachable"; the errno's name for a rare one.
std::string_view outcome_word(int error);

// "ECONNREFUSED"; "errno" for one that connect(2) does not document.
std::string_view error_name(int error);

// True for an error that a connect can fail with. False for those that only tell how it stands
// (EINPROGRESS, EALREADY, EISCONN, EINTR), and for kParked.
bool is_failure(int error);

// The error with this name that a connect can fail with; 0: none.
int error_number(std::string_view name);

}  // namespace nextaddr
