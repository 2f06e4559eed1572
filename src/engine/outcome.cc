#include "engine/outcome.h"

#include <cerrno>

namespace nextaddr {
namespace {

struct Meaning {
  int error;
  bool moves_on;
  std::string_view name;
  std::string_view word;
};

constexpr Meaning kMeanings[] = {
    {0, false, "0", "connected"},
    {ECONNREFUSED, true, "ECONNREFUSED", "refused"},
    {ETIMEDOUT, true, "ETIMEDOUT", "timed out"},
    {EHOSTUNREACH, true, "EHOSTUNREACH", "host unreachable"},
    {EHOSTDOWN, true, "EHOSTDOWN", "host down"},
    {ECONNRESET, true, "ECONNRESET", "reset"},
    {ENETUNREACH, true, "ENETUNREACH", "network unreachable"},
    {ENETDOWN, true, "ENETDOWN", "network down"},
    {EADDRNOTAVAIL, true, "EADDRNOTAVAIL", "no local address"},
    {EACCES, true, "EACCES", "forbidden"},
    {EPERM, true, "EPERM", "forbidden"},
    {EINVAL, true, "EINVAL", "blackhole route"},
    {EINPROGRESS, false, "EINPROGRESS", "silent"},
    {EALREADY, false, "EALREADY", "silent"},
    {EINTR, false, "EINTR", "interrupted"},
    {ECONNABORTED, false, "ECONNABORTED", "aborted"},
    {EBADF, false, "EBADF", "closed"},
    {EAFNOSUPPORT, false, "EAFNOSUPPORT", "EAFNOSUPPORT"},
    {EAGAIN, false, "EAGAIN", "EAGAIN"},
    {EADDRINUSE, false, "EADDRINUSE", "EADDRINUSE"},
    {EISCONN, false, "EISCONN", "EISCONN"},
    {ENOBUFS, false, "ENOBUFS", "ENOBUFS"},
    {ENOMEM, false, "ENOMEM", "ENOMEM"},
};

constexpr Meaning kUnknown{-1, false, "errno", "failed"};

const Meaning& meaning(int error) {
  for (const Meaning& candidate : kMeanings) {
    if (candidate.error == error) return candidate;
  }
  return kUnknown;
}

}  // namespace

bool moves_on(int error) { return meaning(error).moves_on; }
std::string_view outcome_word(int error) { return meaning(error).word; }
std::string_view error_name(int error) { return meaning(error).name; }

}  // namespace nextaddr
