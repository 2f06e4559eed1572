// What changes the credentials of a process: before it has fewer rights it must leave what it
// shares with processes that keep theirs (lifecycle/sharing.h).
#include <sys/types.h>
#include <unistd.h>

#include "hooks/hook.h"
#include "lifecycle/sharing.h"
#include "os/libc.h"

namespace libc = nextaddr::libc;
using nextaddr::leave_sharing;

NEXTADDR_HOOK int setuid(uid_t user) noexcept {
  leave_sharing();
  return libc::setuid(user);
}

NEXTADDR_HOOK int seteuid(uid_t effective) noexcept {
  leave_sharing();
  return libc::seteuid(effective);
}

NEXTADDR_HOOK int setreuid(uid_t real, uid_t effective) noexcept {
  leave_sharing();
  return libc::setreuid(real, effective);
}

NEXTADDR_HOOK int setresuid(uid_t real, uid_t effective, uid_t saved) noexcept {
  leave_sharing();
  return libc::setresuid(real, effective, saved);
}

NEXTADDR_HOOK int setgid(gid_t group) noexcept {
  leave_sharing();
  return libc::setgid(group);
}

NEXTADDR_HOOK int setegid(gid_t effective) noexcept {
  leave_sharing();
  return libc::setegid(effective);
}

NEXTADDR_HOOK int setregid(gid_t real, gid_t effective) noexcept {
  leave_sharing();
  return libc::setregid(real, effective);
}

NEXTADDR_HOOK int setresgid(gid_t real, gid_t effective, gid_t saved) noexcept {
  leave_sharing();
  return libc::setresgid(real, effective, saved);
}

// No header of libc declares it.
NEXTADDR_HOOK int capset(void* header, const void* data) noexcept {
  leave_sharing();
  return libc::capset(header, data);
}
