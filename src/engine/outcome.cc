#include "engine/outcome.h"

#include <cerrno>

#include "engine/text.h"

namespace nextaddr {
namespace {

struct Meaning {
  int error;
  bool moves_on;
  bool parks;
  ShortText<14> name;
  ShortText<20> word;
};

constexpr Meaning kMeanings[] = {
    {0, false, false, {"0"}, {"connected"}},
    {ECONNREFUSED, true, true, {"ECONNREFUSED"}, {"refused"}},
    {ETIMEDOUT, true, true, {"ETIMEDOUT"}, {"timed out"}},
    {EHOSTUNREACH, true, true, {"EHOSTUNREACH"}, {"host unreachable"}},
    {EHOSTDOWN, true, true, {"EHOSTDOWN"}, {"host down"}},
    {ECONNRESET, false, false, {"ECONNRESET"}, {"reset"}},
    {ENETUNREACH, true, false, {"ENETUNREACH"}, {"network unreachable"}},
    {ENETDOWN, true, false, {"ENETDOWN"}, {"network down"}},
    {EADDRNOTAVAIL, true, false, {"EADDRNOTAVAIL"}, {"no local address"}},
    {EACCES, true, false, {"EACCES"}, {"forbidden"}},
    {EPERM, true, false, {"EPERM"}, {"not permitted"}},
    {EINVAL, true, false, {"EINVAL"}, {"blackhole route"}},
    {EINPROGRESS, false, false, {"EINPROGRESS"}, {"silent"}},
    {EALREADY, false, false, {"EALREADY"}, {"silent"}},
    {EINTR, false, false, {"EINTR"}, {"interrupted"}},
    {ECONNABORTED, false, false, {"ECONNABORTED"}, {"aborted"}},
    {kParked, false, false, {"ECANCELED"}, {"parked"}},
    {EBADF, false, false, {"EBADF"}, {"closed"}},
    {EAFNOSUPPORT, false, false, {"EAFNOSUPPORT"}, {"EAFNOSUPPORT"}},
    {EAGAIN, false, false, {"EAGAIN"}, {"EAGAIN"}},
    {EADDRINUSE, false, false, {"EADDRINUSE"}, {"EADDRINUSE"}},
    {EISCONN, false, false, {"EISCONN"}, {"EISCONN"}},
    {ENOBUFS, false, false, {"ENOBUFS"}, {"ENOBUFS"}},
    {ENOMEM, false, false, {"ENOMEM"}, {"ENOMEM"}},
};

constexpr Meaning kUnknown{-1, false, false, {"errno"}, {"failed"}};

const Meaning& meaning(int error) {
  for (const Meaning& candidate : kMeanings) {
    if (candidate.error == error) return candidate;
  }
  return kUnknown;
}

}  // namespace

bool moves_on(int error) { return meaning(error).moves_on; }
bool parks(int error) { return meaning(error).parks; }
bool is_failure(int error) {
  return error != 0 && error != EINPROGRESS && error != EALREADY && error != EISCONN &&
         error != EINTR && error != kParked;
}
std::string_view outcome_word(int error) { return meaning(error).word.view(); }
std::string_view error_name(int error) { return meaning(error).name.view(); }

int error_number(std::string_view name) {
  for (const Meaning& candidate : kMeanings) {
    if (candidate.name.view() == name && is_failure(candidate.error)) return candidate.error;
  }
  return 0;
}

}  // namespace nextaddr
