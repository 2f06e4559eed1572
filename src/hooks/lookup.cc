// The lookups: getaddrinfo(3), gethostbyname(3) and their variants. Only observed, except for names
// that --resolve gives addresses to, and those that --fault lets fail.
#include <netdb.h>

#include <cerrno>

#include "connect/pending_connects.h"
#include "fault/faults.h"
#include "hooks/hook.h"
#include "lookup/learn.h"
#include "lookup/static_hosts.h"
#include "os/libc.h"
#include "process/process.h"

namespace libc = nextaddr::libc;
using nextaddr::MayWait;
using nextaddr::name_is_given;

namespace {

// A program of one thread with connects pending is an event loop, which must not wait for the
// table. Its lookup is one of those that need no network (or it is not much of a loop).
MayWait may_wait() {
  const bool in_a_loop = nextaddr::any_pending() && !nextaddr::has_other_threads();
  return in_a_loop ? MayWait::kNo : MayWait::kYes;
}

void observe_hostent(const char* name, const hostent* entry) {
  if (entry != nullptr) nextaddr::observe_hostent(name, entry, may_wait());
}

hostent* static_failure(int error) {
  h_errno = error;
  return nullptr;
}

// Fails as glibc's gethostbyname_r(3) does: what it sets, and what it returns.
int reentrant_failure(int host_error, hostent** result, int* error) {
  *result = nullptr;
  *error = host_error;
  return host_error == TRY_AGAIN ? EAGAIN : 0;
}

}  // namespace

NEXTADDR_HOOK int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                              addrinfo** result) {
  if (const auto fault = nextaddr::fault_of_getaddrinfo(node)) return *fault;
  const int error = name_is_given(node) ? nextaddr::given_getaddrinfo(node, service, hints, result)
                                        : libc::getaddrinfo(node, service, hints, result);
  if (error == 0) {
    nextaddr::observe_addrinfo(node, hints, *result, may_wait());
  }
  return error;
}

NEXTADDR_HOOK int getaddrinfo_a(int mode, gaicb* list[], int count, sigevent* event) {
  const int error = libc::getaddrinfo_a(mode, list, count, event);
  if (error == 0 && mode == GAI_WAIT) {
    for (int i = 0; i < count; ++i) {
      if (list[i] != nullptr && libc::gai_error(list[i]) == 0) {
        nextaddr::observe_request(list[i], MayWait::kYes);
      }
    }
  }
  return error;
}

// Programs ask this whether a GAI_NOWAIT lookup is done, before they may read the result.
NEXTADDR_HOOK int gai_error(gaicb* request) noexcept {
  const int error = libc::gai_error(request);
  if (error == 0) nextaddr::observe_request(request, MayWait::kNo);
  return error;
}

NEXTADDR_HOOK hostent* gethostbyname(const char* name) {
  if (const auto fault = nextaddr::fault_of_gethostbyname(name)) return static_failure(*fault);
  hostent* entry = name_is_given(name) ? nextaddr::given_static_hostent(name, AF_INET)
                                       : libc::gethostbyname(name);
  observe_hostent(name, entry);
  return entry;
}

NEXTADDR_HOOK hostent* gethostbyname2(const char* name, int family) {
  if (const auto fault = nextaddr::fault_of_gethostbyname(name)) return static_failure(*fault);
  hostent* entry = name_is_given(name) ? nextaddr::given_static_hostent(name, family)
                                       : libc::gethostbyname2(name, family);
  observe_hostent(name, entry);
  return entry;
}

NEXTADDR_HOOK int gethostbyname_r(const char* name, hostent* entry, char* buffer, size_t size,
                                  hostent** result, int* error) {
  if (const auto fault = nextaddr::fault_of_gethostbyname(name))
    return reentrant_failure(*fault, result, error);
  const int failed =
      name_is_given(name)
          ? nextaddr::given_hostent(name, AF_INET, entry, buffer, size, result, error)
          : libc::gethostbyname_r(name, entry, buffer, size, result, error);
  if (failed == 0) observe_hostent(name, *result);
  return failed;
}

NEXTADDR_HOOK int gethostbyname2_r(const char* name, int family, hostent* entry, char* buffer,
                                   size_t size, hostent** result, int* error) {
  if (const auto fault = nextaddr::fault_of_gethostbyname(name))
    return reentrant_failure(*fault, result, error);
  const int failed = name_is_given(name)
                         ? nextaddr::given_hostent(name, family, entry, buffer, size, result, error)
                         : libc::gethostbyname2_r(name, family, entry, buffer, size, result, error);
  if (failed == 0) observe_hostent(name, *result);
  return failed;
}
